"""Intervals of 95 % that hold what they should with few runs too.

The percentile bootstrap is too narrow for few runs: resamples of ``n`` runs vary by ``sqrt(1 - 1/n)`` of what the runs
themselves vary by, and their spread is taken for known. ``tests/train/test_intervals.py`` counts how often the
intervals here hold the true figure, and ``docs/benchmark.md`` has the shares.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import stats

from train.report.resampling import Floats

CONFIDENCE = 0.95
_TAIL = (1.0 - CONFIDENCE) / 2.0
#: Standard errors on either side where the error is known.
_Z = float(stats.norm.ppf(1.0 - _TAIL))


def interval(value: Floats | np.float64, samples: Floats, n_runs: int) -> tuple[Floats, Floats]:
    """Return the bounds of a statistic of runs from its bootstrap: of two intervals, what either of them holds.

    One is Student's, ``value -+ t s``, with ``n_runs - 1`` degrees of freedom and as ``s`` the standard deviation of
    the resampled statistic, put right by ``sqrt(n / (n - 1))``; for the mean of three runs, of which none is left out,
    it is the textbook's interval. The other is the percentile interval, which follows skewed figures, and those that
    come in two kinds.

    Args:
        value: the statistic ``[...]``.
        samples: its resamples ``[RESAMPLES, ...]``.
        n_runs: how many independent runs were resampled; with one the bounds are the statistic itself.
    """
    if n_runs < 2:
        return np.asarray(value, dtype=np.float64), np.asarray(value, dtype=np.float64)
    low, high = np.percentile(samples, (100.0 * _TAIL, 100.0 * (1.0 - _TAIL)), axis=0)
    half = _quantile(n_runs - 1) * samples.std(axis=0) * np.sqrt(n_runs / (n_runs - 1.0))
    return np.minimum(low, value - half), np.maximum(high, value + half)


def deviation_interval(values: Floats) -> tuple[float, float]:
    """Return the bounds of the standard deviation of runs ``[n]``, at least two.

    Bonett, "Approximate confidence interval for standard deviation of nonnormal distributions" (2006): the error of the
    logarithm of the variance comes from the kurtosis, which is measured around a trimmed mean.
    """
    n, deviation = len(values), float(values.std(ddof=1))
    if deviation == 0.0:
        return 0.0, 0.0
    share = 1.0 / (2.0 * np.sqrt(n - 4.0)) if n > 4 else 0.0
    centre = float(stats.trim_mean(values, min(share, 0.49)))
    kurtosis = n * ((values - centre) ** 4).sum() / ((values - values.mean()) ** 2).sum() ** 2
    correction = n / (n - _Z)
    error = correction * np.sqrt(max(kurtosis - (n - 3.0) / n, 0.0) / (n - 1.0))
    middle = np.log(correction * deviation**2)
    low, high = (float(np.exp((middle + sign * _Z * error) / 2.0)) for sign in (-1.0, 1.0))
    return low, high


def mean_of_shares(shares: Floats, n_draws: Floats | int) -> tuple[Floats, Floats, Floats]:
    """Return the mean over worlds of shares measured there independently, and its bounds.

    In every world Wilson's interval ``[l, u]``; put together as Zou and Donner (2008) do, the mean is as far from its
    lower bound as ``sqrt(sum (p - l)^2)`` over the number of worlds.

    Args:
        shares: measured shares ``p [worlds, ...]``.
        n_draws: of how many draws in each world.
    """
    draws = np.reshape(np.asarray(n_draws, dtype=np.float64), (-1, *[1] * (shares.ndim - 1)))
    low, high = _wilson(shares, draws)
    mean, n_worlds = shares.mean(axis=0), len(shares)
    below, above = (np.sqrt(((shares - bound) ** 2).sum(axis=0)) / n_worlds for bound in (low, high))
    return mean, np.maximum(mean - below, 0.0), np.minimum(mean + above, 1.0)


def _wilson(shares: Floats, n_draws: Floats) -> tuple[Floats, Floats]:
    scale = 1.0 + _Z**2 / n_draws
    middle = shares + _Z**2 / (2.0 * n_draws)
    half = _Z * np.sqrt(shares * (1.0 - shares) / n_draws + _Z**2 / (4.0 * n_draws**2))
    return (middle - half) / scale, (middle + half) / scale


@functools.cache
def _quantile(degrees: int) -> float:
    return float(stats.t.ppf(1.0 - _TAIL, degrees))
