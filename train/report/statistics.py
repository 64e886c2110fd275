"""Statistics of runs: a thin wrapper around rliable (Agarwal et al., NeurIPS 2021)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rliable import library

#: Resamples of a bootstrap.
RESAMPLES = 2000
CONFIDENCE = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure of several runs with its 95 % interval; with a single run the interval is the figure itself."""

    value: float
    low: float
    high: float

    def overlaps(self, other: Estimate) -> bool:
        """Whether the intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


def iqm(scores: ArrayLike) -> float:
    """Return the interquartile mean of runs ``[n]``: without the lowest and the highest quarter (rounded down)."""
    return float(_iqm(np.asarray(scores, dtype=np.float64)))


def estimate_iqm(scores: ArrayLike) -> Estimate:
    """Return the interquartile mean of runs ``[n]`` with its stratified bootstrap interval."""
    return _estimate_iqm(tuple(np.asarray(scores, dtype=np.float64).tolist()))


@functools.cache  # the same figures are asked for by tables, plots and text
def _estimate_iqm(scores: tuple[float, ...]) -> Estimate:
    return _estimate(np.array(scores)[:, None], _iqm)


def estimate_spread(scores: ArrayLike) -> Estimate:
    """Return the standard deviation of runs ``[n]`` with its stratified bootstrap interval; 0 for a single run."""
    values = np.asarray(scores, dtype=np.float64)
    return Estimate(0.0, 0.0, 0.0) if len(values) < 2 else _estimate(values[:, None], _deviation)


def estimate_curve(scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return interquartile mean, lower and upper bound at every point of curves ``[n runs, points]``."""
    return _bootstrap(np.asarray(scores, dtype=np.float64), _iqm)


def probability_of_improvement(scores: ArrayLike, others: ArrayLike) -> Estimate:
    """Return the probability that a run of the first kind beats one of the second; ties count half."""
    pair = [np.asarray(values, dtype=np.float64)[:, None] for values in (scores, others)]
    return _estimate(pair, _share_of_wins)


# The next two are called thousands of times, and do what ``rliable.metrics`` does without scipy's checks around it.


def _iqm(scores: Floats) -> Floats:
    """Return the interquartile mean along the first axis, as ``rliable.metrics.aggregate_iqm`` has it."""
    cut = len(scores) // 4
    return np.asarray(np.sort(scores, axis=0)[cut : len(scores) - cut].mean(axis=0))


def _deviation(scores: Floats) -> Floats:
    return np.asarray(scores.std(axis=0, ddof=1))


def _share_of_wins(scores: Floats, others: Floats) -> Floats:
    """Return the share of pairs that the first wins, as ``rliable.metrics.probability_of_improvement`` has it."""
    return np.array([((scores > others.T) + 0.5 * (scores == others.T)).mean()])


def _estimate(scores: Floats | Sequence[Floats], function: Callable[..., Floats]) -> Estimate:
    value, low, high = _bootstrap(scores, function)
    return Estimate(float(value[0]), float(low[0]), float(high[0]))


def _bootstrap(scores: Floats | Sequence[Floats], function: Callable[..., Floats]) -> tuple[Floats, Floats, Floats]:
    with _seeded():
        points, intervals = library.get_interval_estimates(
            {"": scores}, function, reps=RESAMPLES, confidence_interval_size=CONFIDENCE
        )
    low, high = intervals[""]
    return np.asarray(points[""]), np.asarray(low), np.asarray(high)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Make rliable repeatable, which draws from numpy's global generator, and leave that as it was."""
    state: Any = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
