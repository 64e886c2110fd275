"""Statistics of runs, as Agarwal et al. (NeurIPS 2021) and their rliable have them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from rliable import metrics

from train.report.resampling import Floats, draws, interval, shares


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
    """Return the interquartile mean of runs ``[n]`` with its bootstrap interval."""
    return _estimate_iqm(tuple(np.asarray(scores, dtype=np.float64).tolist()))


@functools.cache  # the same figures are asked for by tables, plots and text
def _estimate_iqm(scores: tuple[float, ...]) -> Estimate:
    values = np.array(scores)
    return _estimate(float(_iqm(values)), _iqm(values[draws(len(values))]))


def estimate_spread(scores: ArrayLike) -> Estimate:
    """Return the standard deviation of runs ``[n]`` with its bootstrap interval; 0 for a single run."""
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < 2:
        return Estimate(0.0, 0.0, 0.0)
    return _estimate(float(values.std(ddof=1)), values[draws(len(values))].std(axis=-1, ddof=1))


def estimate_curve(scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return interquartile mean, lower and upper bound at every point of curves ``[n runs, points]``."""
    curves = np.ascontiguousarray(scores, dtype=np.float64)
    return _estimate_curve(curves.shape, curves.tobytes())


@functools.lru_cache(maxsize=4096)  # drawn over steps and over deployments
def _estimate_curve(shape: tuple[int, int], data: bytes) -> tuple[Floats, Floats, Floats]:
    at_points = np.frombuffer(data).reshape(shape).T
    samples = _iqm(at_points[:, draws(shape[0])])  # [points, RESAMPLES, runs] before the mean
    return (_iqm(at_points), *interval(samples.T))


def probability_of_improvement(scores: ArrayLike, others: ArrayLike) -> Estimate:
    """Return the probability that a run of the first kind beats one of the second; ties count half."""
    return average_improvement([np.asarray(scores, dtype=np.float64)], [np.asarray(others, dtype=np.float64)])


def average_improvement(scores: Sequence[Floats], others: Sequence[Floats]) -> Estimate:
    """Return the same, averaged over worlds.

    Args:
        scores: runs ``[n]`` of the first kind in every world.
        others: runs of the second, in the same worlds. Numbers of runs may differ.
    """
    points, samples = [], []
    for world, (mine, theirs) in enumerate(zip(scores, others, strict=True)):
        wins = (mine[:, None] > theirs) + 0.5 * (mine[:, None] == theirs)
        points.append(wins.mean())
        left, right = shares(len(mine), 2 * world), shares(len(theirs), 2 * world + 1)
        samples.append(((left @ wins) * right).sum(-1))
    return _estimate(float(np.mean(points)), np.mean(samples, axis=0))


def aggregate(scores: Floats) -> Aggregate:
    """Return interquartile mean, median and optimality gap of normalised scores ``[runs, worlds]``.

    Intervals come from resampling the runs of every world on their own.
    """
    n_runs, n_worlds = scores.shape
    drawn = np.stack([scores[draws(n_runs, world), world] for world in range(n_worlds)], axis=-1)
    return Aggregate(
        _estimate(metrics.aggregate_iqm(scores), _iqm(drawn.reshape(len(drawn), -1))),
        _estimate(metrics.aggregate_median(scores), np.median(drawn.mean(axis=1), axis=-1)),
        _estimate(metrics.aggregate_optimality_gap(scores), 1.0 - np.minimum(drawn, 1.0).mean(axis=(1, 2))),
    )


def performance_profile(scores: Floats, thresholds: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the share of runs of ``[runs, worlds]`` that score above each threshold, and its bounds."""
    n_runs, n_worlds = scores.shape
    above = scores[:, :, None] > thresholds
    samples = [shares(n_runs, world) @ above[:, world].astype(np.float64) for world in range(n_worlds)]
    return (above.mean(axis=(0, 1)), *interval(np.mean(samples, axis=0)))


def _iqm(scores: Floats) -> Floats:
    """Return the interquartile mean along the last axis, as ``rliable.metrics.aggregate_iqm`` has it."""
    n = scores.shape[-1]
    cut = n // 4
    return np.asarray(np.sort(scores, axis=-1)[..., cut : n - cut].mean(axis=-1))


def _estimate(value: float, samples: Floats) -> Estimate:
    low, high = interval(samples)
    return Estimate(float(value), float(low), float(high))
