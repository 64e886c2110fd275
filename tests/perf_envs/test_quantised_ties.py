"""Which of equal remainders a quantised world rounds up, and that rounding errors do not decide it."""

import numpy as np
import pytest
import torch

from perf_envs.perception import QuantisedResponse
from tests.perf_envs.worlds import random_pemdp


def seen(row, levels):
    response = QuantisedResponse(random_pemdp(0).response_map, levels)
    return response.perceive(torch.tensor([row], dtype=torch.float64))[0].tolist()


@pytest.mark.parametrize(
    ("row", "levels", "expected"),
    [
        ([1 / 3, 1 / 3, 1 / 3], 4, [0.5, 0.25, 0.25]),
        ([0.25, 0.25, 0.25, 0.25], 2, [0.5, 0.5, 0.0, 0.0]),
        ([0.125, 0.75, 0.125], 4, [0.25, 0.75, 0.0]),
        ([0.75, 0.125, 0.125], 4, [0.75, 0.25, 0.0]),
    ],
)
def test_the_first_of_equal_remainders_is_rounded_up(row, levels, expected):
    assert seen(row, levels) == expected


def test_differences_of_the_size_of_rounding_errors_are_ties():
    assert seen([0.125 - 1e-13, 0.125 + 1e-13, 0.75], 4) == [0.25, 0.0, 0.75]


def test_differences_that_are_more_than_rounding_errors_decide():
    assert seen([0.125 - 1e-8, 0.125 + 1e-8, 0.75], 4) == [0.0, 0.25, 0.75]


@pytest.mark.parametrize("levels", [3, 7, 10, 49, 100])
def test_a_table_on_the_grid_is_seen_as_it_is(levels):
    """Among them those whose multiples are not whole in floating point, such as 100 times 0.29."""
    for step in range(levels + 1):
        row = [step / levels, (levels - step) / levels]
        np.testing.assert_allclose(seen(row, levels), row, rtol=0, atol=1e-15)
