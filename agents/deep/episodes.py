"""Episodes in a rollout ``[T, n_envs]``: where they begin and end, and what they returned.

``starts[t, e]`` tells whether step ``t`` of sub-environment ``e`` is the first of an episode, ``done[e]`` whether its
last step ended one. A *segment* is the part of an episode that lies within the rollout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Segments:
    """The segments of a rollout.

    Attributes:
        index: the segment each step belongs to, ``[T, n_envs]``; segments of one sub-environment are numbered in order.
        finished: whether the episode ended within the rollout, ``[n_segments]``.
    """

    index: NDArray[np.int64]
    finished: NDArray[np.bool_]

    @property
    def n(self) -> int:
        """Number of segments."""
        return len(self.finished)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of every segment."""
        return np.asarray(np.bincount(self.index.ravel(), minlength=self.n), dtype=np.int64)

    def total(self, values: Array) -> Array:
        """Return the sum of ``values [T, n_envs]`` over every segment."""
        return np.asarray(np.bincount(self.index.ravel(), weights=values.ravel(), minlength=self.n))


def segments(starts: NDArray[np.bool_], done: NDArray[np.bool_]) -> Segments:
    """Number the segments of a rollout; the first step of a sub-environment begins one in any case."""
    starts = starts.astype(bool)
    first = starts.copy()
    first[0] = True
    count = first.sum(0)
    offset = np.concatenate([[0], np.cumsum(count)[:-1]])
    index = np.cumsum(first, axis=0) - 1 + offset
    # All but the last segment of a sub-environment were followed by another one.
    finished = np.ones(int(count.sum()), dtype=bool)
    finished[np.cumsum(count) - 1] = done.astype(bool)
    return Segments(index, finished)


def reward_to_go(rewards: Array, starts: NDArray[np.bool_], gamma: float) -> Array:
    """Return ``G[t] = sum_{k >= t} gamma^(k-t) r[k]`` to the end of the episode or the rollout, ``[T, n_envs]``."""
    result = np.empty_like(rewards)
    running = np.zeros(rewards.shape[1])
    for step in reversed(range(len(rewards))):
        running = rewards[step] + gamma * running
        result[step] = running
        running = np.where(starts[step], 0.0, running)
    return result
