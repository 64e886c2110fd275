import pickle

import pytest

from agents.common.schedules import PiecewiseLinear, as_schedule, hold_then_fall, ramp


@pytest.mark.parametrize(("remaining", "value"), [(1.0, 0.0), (0.75, 0.5), (0.5, 1.0), (0.0, 1.0)])
def test_a_ramp_rises_over_its_share_of_the_training_and_stays(remaining, value):
    assert ramp(0.5)(remaining) == pytest.approx(value)


@pytest.mark.parametrize(("remaining", "value"), [(1.0, 0.2), (0.5, 0.2), (0.4, 0.1), (0.3, 0.0), (0.0, 0.0)])
def test_hold_then_fall_keeps_its_value_and_reaches_zero(remaining, value):
    assert hold_then_fall(0.2, hold=0.5, zero=0.7)(remaining) == pytest.approx(value)


def test_points_from_a_configuration_file_make_a_schedule():
    schedule = as_schedule("ent_coef", {"points": [[0.0, 1.0], [1.0, 3.0]]})
    assert schedule(0.25) == pytest.approx(2.5)


def test_a_number_is_a_constant_schedule_and_a_schedule_stays_itself():
    constant = as_schedule("performative_coef", 0.3)
    assert [constant(remaining) for remaining in (1.0, 0.3, 0.0)] == [0.3, 0.3, 0.3]
    assert as_schedule("performative_coef", constant) is constant


def test_a_schedule_survives_pickling():
    schedule = ramp(0.5)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(
    "points", [(), ((0.5, 1.0), (0.2, 2.0)), ((0.2, 1.0), (0.2, 2.0)), ((-0.1, 1.0),), ((0.0, 1.0), (1.5, 2.0))]
)
def test_points_outside_the_training_or_out_of_order_are_rejected(points):
    with pytest.raises(ValueError, match=r"progress|points"):
        PiecewiseLinear(points)


def test_a_misspelt_key_is_named_with_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'points'"):
        as_schedule("ent_coef", {"point": [[0.0, 1.0]]})
