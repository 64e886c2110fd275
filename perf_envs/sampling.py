"""Drawing steps from dynamics: the one kernel under the scalar and the vector environment.

One uniform number in [0, 1) per step picks the outcome by inversion, so both environments walk the same trajectories
when they are given the same numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.dynamics import Dynamics


class StepSampler:
    """Cumulative outcome probabilities of given dynamics, ready to be drawn from."""

    def __init__(self, dynamics: Dynamics) -> None:
        self._cumulative = cumulative(dynamics.probs.detach().numpy())
        self._successors = dynamics.expanded_successors().numpy()
        paid = dynamics.rewards[..., None] if dynamics.outcome_rewards is None else dynamics.outcome_rewards
        self._rewards = torch.broadcast_to(paid.detach(), dynamics.probs.shape).numpy()

    def step(self, state: int, action: int, uniform: float) -> tuple[int, float, int]:
        """Return next state, reward and outcome of one step."""
        outcome = int(self._cumulative[state, action].searchsorted(uniform, side="right"))
        return int(self._successors[state, action, outcome]), float(self._rewards[state, action, outcome]), outcome

    def step_many(
        self, states: NDArray[np.int64], actions: NDArray[np.int64], uniforms: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Return next states, rewards and outcomes of ``n`` independent steps, each array ``[n]``."""
        outcomes = (self._cumulative[states, actions] <= uniforms[:, None]).sum(-1)
        where = (states, actions, outcomes)
        return self._successors[where], self._rewards[where], outcomes


def cumulative(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cumulative sums along the last axis that end at exactly 1."""
    sums = np.cumsum(probs, axis=-1)
    sums /= sums[..., -1:]
    return sums
