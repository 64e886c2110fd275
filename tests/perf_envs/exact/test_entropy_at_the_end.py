"""Entropy ends with the episode: absorbing states, where actions mean nothing, have none."""

import numpy as np
import pytest
import torch

from perf_envs import Dynamics
from perf_envs.exact.values import evaluate

P, GAMMA = 0.7, 0.9


def until_it_ends():
    """Return a world in which action 0 stays in state 0 and action 1 ends the episode, and a policy for it."""
    dynamics = Dynamics(
        successors=torch.tensor([[[0], [1]], [[1], [1]]]),
        probs=torch.ones(2, 2, 1, dtype=torch.float64),
        rewards=torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64),
        absorbing=torch.tensor([False, True]),
        gamma=GAMMA,
    )
    return dynamics, torch.tensor([[P, 1 - P], [0.5, 0.5]], dtype=torch.float64)


# A geometric number of visits of state 0: each is followed by the next with probability P.
VISITS = 1 / (1 - GAMMA * P)
ENTROPY = -P * np.log(P) - (1 - P) * np.log(1 - P)


@pytest.mark.parametrize("entropy_coef", [0.0, 0.3])
def test_the_discounted_entropy_is_that_of_the_visits_before_the_end(entropy_coef):
    evaluation = evaluate(*until_it_ends(), entropy_coef=entropy_coef)
    start, end = torch.eye(2, dtype=torch.float64)
    assert evaluation.discounted_entropy(start) == pytest.approx(ENTROPY * VISITS, rel=1e-12)
    assert evaluation.discounted_entropy(end) == 0.0


def test_values_with_and_without_entropy_come_from_one_evaluation():
    evaluation = evaluate(*until_it_ends(), entropy_coef=0.3)
    plain = P * VISITS
    np.testing.assert_allclose(evaluation.plain_state_values(), [plain, 0.0], rtol=1e-12)
    np.testing.assert_allclose(evaluation.state_values, [plain + 0.3 * ENTROPY * VISITS, 0.0], rtol=1e-12)


def test_no_action_is_better_than_another_after_the_end():
    advantages = evaluate(*until_it_ends(), entropy_coef=0.3).advantages()
    np.testing.assert_array_equal(advantages[1], 0.0)
    value = (P + 0.3 * ENTROPY) * VISITS
    expected = [1 + GAMMA * value - 0.3 * np.log(P) - value, -0.3 * np.log(1 - P) - value]
    np.testing.assert_allclose(advantages[0], expected, rtol=1e-12)
