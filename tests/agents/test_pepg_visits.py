"""What PePG notes about a visit: its time within the episode, and the policy looked up at its state."""

import numpy as np
import pytest
import torch

from agents.pepg.batches import PolicyTable
from agents.pepg.rollouts import visit_times


def test_time_goes_on_from_the_last_rollout_and_starts_at_zero_with_every_episode():
    starts = np.array([[False, True], [False, False], [True, False], [False, True]])
    assert visit_times(starts, np.array([4, 9])).T.tolist() == [[5, 6, 0, 1], [0, 1, 2, 0]]


def test_pairs_are_looked_up_in_the_table():
    probs = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], dtype=torch.float64)
    found = PolicyTable(probs.log(), torch.tensor([3.0, -2.0])).at(torch.tensor([1, 0, 1]), torch.tensor([2, 1, 0]))
    assert found.values.tolist() == [-2.0, 3.0, -2.0]
    np.testing.assert_allclose(found.log_prob, np.log([0.8, 0.3, 0.1]), rtol=1e-12)
    entropies = [-sum(p * np.log(p) for p in row) for row in ((0.2, 0.3, 0.5), (0.1, 0.1, 0.8))]
    assert found.entropy.tolist() == pytest.approx([entropies[1], entropies[0], entropies[1]], rel=1e-12)
