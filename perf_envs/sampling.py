"""Drawing steps from dynamics: the one kernel under the scalar and the vector environment.

One uniform number in [0, 1) per step picks the outcome by inversion, so both environments walk the same trajectories
when they are given the same numbers.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from perf_envs.dynamics import Dynamics

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class StepSampler:
    """Cumulative outcome probabilities of given dynamics, ready to be drawn from.

    The tables are flat, one row of ``K`` outcomes after the other: looking up one index is several times faster than
    looking up three.
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self._n_actions, self._n_outcomes = dynamics.probs.shape[1:]
        self._cumulative: Floats = cumulative(dynamics.probs.detach().numpy()).ravel()
        self._shared_successors = dynamics.successors.dim() == 2
        self._successors: Ints = dynamics.successors.numpy().ravel()
        paid = dynamics.outcome_rewards
        self._paid_by_outcome = paid is not None
        rewards = dynamics.rewards if paid is None else paid.expand(dynamics.probs.shape)
        self._rewards: Floats = rewards.detach().numpy().ravel()

    @cached_property
    def _thresholds(self) -> array[float]:
        """The cumulative probabilities as Python's own array, whose single items are read faster than numpy's."""
        return array("d", self._cumulative.tobytes())

    def step(self, state: int, action: int, uniform: float) -> tuple[int, float, int]:
        """Return next state, reward and outcome of one step."""
        n_outcomes = self._n_outcomes
        row = state * self._n_actions + action
        first = row * n_outcomes
        cell = bisect_right(self._thresholds, uniform, first, first + n_outcomes)
        outcome = cell - first
        following = self._successors.item(state * n_outcomes + outcome if self._shared_successors else cell)
        return following, self._rewards.item(cell if self._paid_by_outcome else row), outcome

    def step_many(self, states: Ints, actions: Ints, uniforms: Floats) -> tuple[Ints, Floats, Ints]:
        """Return next states, rewards and outcomes of ``n`` independent steps, each a new array ``[n]``."""
        rows = states * self._n_actions
        rows += actions
        first = rows * self._n_outcomes
        cells = self._bisect(first, uniforms)
        outcomes = cells - first
        following = self._successors.take(states * self._n_outcomes + outcomes if self._shared_successors else cells)
        return following, self._rewards.take(cells if self._paid_by_outcome else rows), outcomes

    def _bisect(self, first: Ints, uniforms: Floats) -> Ints:
        """Return, for rows beginning at index ``first``, the index of the first threshold above each uniform number.

        All rows are searched side by side: the threshold in the middle of the outcomes still possible rules out those
        below it. The last threshold is 1 and need not be looked at.
        """
        cells, candidates = first, self._n_outcomes
        while candidates > 1:
            half = candidates // 2
            passed = self._cumulative[half - 1 :].take(cells) <= uniforms
            cells = cells + passed * half
            candidates -= half
        return cells


def draw(thresholds: Floats, uniforms: Floats) -> Ints:
    """Return one outcome per row ``[n]`` from cumulative probabilities ``[n, K]`` and uniform numbers ``[n]``."""
    outcomes: Ints = (thresholds <= uniforms[:, None]).sum(-1)
    return outcomes


def cumulative(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cumulative sums along the last axis that end at exactly 1."""
    sums = np.cumsum(probs, axis=-1)
    sums /= sums[..., -1:]
    return sums
