import numpy as np
import pytest
from rliable import metrics

from train.report.statistics import Estimate, estimate_curve, estimate_iqm, iqm, probability_of_improvement


def test_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    # Eight runs: two are dropped below, two above; (3 + 4 + 5 + 60) / 4.
    assert iqm([60.0, 1.0, 100.0, 3.0, 2.0, 4.0, 5.0, 1000.0]) == pytest.approx(18.0)
    # Five runs: a quarter is 1.25, rounded down to one.
    assert iqm([1.0, 2.0, 3.0, 4.0, 100.0]) == pytest.approx(3.0)
    # Three runs: nothing is left out.
    assert iqm([1.0, 2.0, 6.0]) == pytest.approx(3.0)


def test_interval_of_a_single_run_is_the_run() -> None:
    assert estimate_iqm([2.5]) == Estimate(2.5, 2.5, 2.5)


def test_interval_shrinks_with_the_number_of_runs() -> None:
    rng = np.random.default_rng(0)
    few, many = estimate_iqm(rng.normal(size=5)), estimate_iqm(rng.normal(size=400))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_estimates_repeat_and_leave_the_global_generator_alone() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert estimate_iqm([1.0, 5.0, 2.0, 4.0]) == estimate_iqm([1.0, 5.0, 2.0, 4.0])
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_curve_is_the_interquartile_mean_at_every_point() -> None:
    scores = np.random.default_rng(0).normal(size=(7, 3))
    middle, low, high = estimate_curve(scores)
    assert middle == pytest.approx([iqm(column) for column in scores.T])
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_probability_of_improvement_counts_winning_pairs_and_half_of_ties() -> None:
    # Of the six pairs, 3 > 1, 3 > 2, 2 > 1 win and 2 = 2 ties.
    assert probability_of_improvement([1.0, 2.0, 3.0], [1.0, 2.0]).value == pytest.approx((3 + 0.5 * 2) / 6)
    assert probability_of_improvement([1.0, 2.0], [1.0, 2.0]).value == 0.5


@pytest.mark.parametrize("n", range(1, 12))
def test_interquartile_mean_is_that_of_rliable(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=n)
    assert iqm(scores) == pytest.approx(metrics.aggregate_iqm(scores), rel=1e-12)


def test_probability_of_improvement_is_that_of_rliable() -> None:
    rng = np.random.default_rng(0)
    scores, others = rng.integers(0, 6, size=8).astype(float), rng.integers(0, 6, size=5).astype(float)
    expected = metrics.probability_of_improvement(scores[:, None], others[:, None])
    assert probability_of_improvement(scores, others).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("other", "overlap"), [((2.0, 3.0), True), ((2.1, 3.0), False), ((0.0, 0.9), False)])
def test_intervals_overlap_when_they_share_a_point(other: tuple[float, float], overlap: bool) -> None:
    assert Estimate(1.5, 1.0, 2.0).overlaps(Estimate(sum(other) / 2, *other)) is overlap
    assert Estimate(sum(other) / 2, *other).overlaps(Estimate(1.5, 1.0, 2.0)) is overlap


def test_intervals_that_touch_are_not_above_one_another() -> None:
    low, high = Estimate(1.0, 0.0, 2.0), Estimate(3.0, 2.0, 4.0)
    assert high.overlaps(low)
    assert not high.is_above(low)
    assert Estimate(3.0, 2.5, 4.0).is_above(low)
    assert not low.is_above(high)
