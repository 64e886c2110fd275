"""Statistics of runs: the figures are those of Agarwal et al. (NeurIPS 2021) and their rliable, which the tests call.

Their intervals are not: rliable's percentile intervals of 95 % hold the true value in 70 of 100 cases with three runs
and in 89 with five. See :mod:`train.report.intervals`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from train.report.intervals import deviation_interval, interval, mean_of_shares
from train.report.resampling import Floats, draws, resampled

#: With fewer runs nothing is decided. What less than half of the runs do may then be missing from all of them (of
#: outcomes that come up half the time, four runs show only one kind in one case of eight, five in one of sixteen), and
#: no interval covers what it has not seen.
SEEDS_TO_DECIDE = 5


@dataclass(frozen=True)
class Estimate:
    """A figure of several runs with its 95 % interval; with a single run the interval is the figure itself."""

    value: float
    low: float
    high: float

    def overlaps(self, other: Estimate) -> bool:
        """Whether the intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high

    def is_above(self, other: Estimate) -> bool:
        """Whether the whole interval lies above another."""
        return self.low > other.high


@dataclass(frozen=True)
class Lead:
    """How far one value lies above another: in reward, and in percent where both are positive."""

    difference: float
    percent: float | None

    @classmethod
    def of(cls, value: float, reference: float) -> Lead:
        """Compare a value with a reference."""
        difference = value - reference
        return cls(difference, 100.0 * difference / reference if min(value, reference) > 0.0 else None)


@dataclass(frozen=True)
class Aggregate:
    """What an algorithm came to over several worlds.

    Attributes:
        iqm: interquartile mean over all runs of all worlds.
        median: over worlds, of the mean over runs.
        optimality_gap: mean of what is missing to a score of 1, 0 where a run has more.
    """

    iqm: Estimate
    median: Estimate
    optimality_gap: Estimate


def iqm(scores: ArrayLike) -> float:
    """Return the interquartile mean of runs ``[n]``: without the lowest and the highest quarter (rounded down)."""
    return float(_iqm(np.asarray(scores, dtype=np.float64)))


def estimate_iqm(scores: ArrayLike) -> Estimate:
    """Return the interquartile mean of runs ``[n]`` with its interval."""
    return _estimate_iqm(tuple(np.asarray(scores, dtype=np.float64).tolist()))


@functools.cache  # the same figures are asked for by tables, plots and text
def _estimate_iqm(scores: tuple[float, ...]) -> Estimate:
    values = np.array(scores)
    return _estimate(float(_iqm(values)), _iqm(values[draws(len(values))]), len(values))


def estimate_spread(scores: ArrayLike) -> Estimate:
    """Return the standard deviation of runs ``[n]`` with the interval of Bonett (2006); 0 for a single run."""
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < 2:
        return Estimate(0.0, 0.0, 0.0)
    return Estimate(float(values.std(ddof=1)), *deviation_interval(values))


def estimate_curve(scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return interquartile mean, lower and upper bound at every point of curves ``[n runs, points]``."""
    curves = np.ascontiguousarray(scores, dtype=np.float64)
    return _estimate_curve(curves.shape, curves.tobytes())


@functools.lru_cache(maxsize=4096)  # drawn over steps and over deployments
def _estimate_curve(shape: tuple[int, int], data: bytes) -> tuple[Floats, Floats, Floats]:
    at_points = np.frombuffer(data).reshape(shape).T
    middle = _iqm(at_points)
    samples = _iqm(at_points[:, draws(shape[0])])  # [points, RESAMPLES, runs] before the mean
    return (middle, *interval(middle, samples.T, shape[0]))


def probability_of_improvement(scores: ArrayLike, others: ArrayLike) -> Estimate:
    """Return the probability that a run of the first kind beats one of the second; ties count half."""
    return average_improvement([np.asarray(scores, dtype=np.float64)], [np.asarray(others, dtype=np.float64)])


def average_improvement(scores: Sequence[Floats], others: Sequence[Floats]) -> Estimate:
    """Return the same, averaged over worlds.

    The variance of a share of winning pairs is at most ``p (1 - p) / min(n, m)``, that of as many draws as the smaller
    side has runs (van Dantzig 1951), and comes near it where the runs of the other side hardly differ. So the interval
    in a world is Wilson's for so many draws; it has a width where all pairs were won, too.

    Args:
        scores: runs ``[n]`` of the first kind in every world.
        others: runs of the second, ``[m]``, in the same worlds. Numbers of runs may differ.
    """
    wins, n_runs = [], []
    for mine, theirs in zip(scores, others, strict=True):
        wins.append(((mine[:, None] > theirs) + 0.5 * (mine[:, None] == theirs)).mean())
        n_runs.append(min(len(mine), len(theirs)))
    return Estimate(*(float(figure) for figure in mean_of_shares(np.array(wins), np.array(n_runs))))


def aggregate(scores: Floats) -> Aggregate:
    """Return interquartile mean, median and optimality gap of normalised scores ``[runs, worlds]``.

    Intervals come from resampling the runs of every world on their own: the worlds are those that are there, not a
    sample of others.
    """
    drawn, n_runs = resampled(scores), len(scores)
    return Aggregate(
        _estimate(_iqm_of_all(scores), _iqm_of_all(drawn), n_runs),
        _estimate(_median(scores), _median(drawn), n_runs),
        _estimate(_missing_to_one(scores), _missing_to_one(drawn), n_runs),
    )


def performance_profile(scores: Floats, thresholds: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the share of runs of ``[runs, worlds]`` that score above each threshold, and its bounds.

    The runs of a world above a threshold are draws; so the bounds are Wilson's, put together over the worlds.
    """
    return mean_of_shares((scores[:, :, None] > thresholds).mean(axis=0), len(scores))


def _iqm(scores: Floats) -> Floats:
    """Return the interquartile mean along the last axis."""
    n = scores.shape[-1]
    cut = n // 4
    return np.asarray(np.sort(scores, axis=-1)[..., cut : n - cut].mean(axis=-1))


# Of the figures over worlds, the scores ``[..., runs, worlds]`` are those of one experiment or of its resamples.


def _iqm_of_all(scores: Floats) -> Floats:
    return _iqm(scores.reshape(*scores.shape[:-2], -1))


def _median(scores: Floats) -> Floats:
    return np.asarray(np.median(scores.mean(axis=-2), axis=-1))


def _missing_to_one(scores: Floats) -> Floats:
    return np.asarray(1.0 - np.minimum(scores, 1.0).mean(axis=(-2, -1)))


def _estimate(value: Floats | float, samples: Floats, n_runs: int) -> Estimate:
    low, high = interval(np.float64(value), samples, n_runs)
    return Estimate(float(value), float(low), float(high))
