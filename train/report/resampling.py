"""The stratified bootstrap of rliable, with all resamples at once: tens of thousands of intervals in a minute."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

#: Resamples of a bootstrap.
RESAMPLES = 2000
CONFIDENCE = 0.95

Floats = NDArray[np.float64]


@functools.lru_cache(maxsize=512)
def draws(n_runs: int, stream: int = 0) -> NDArray[np.intp]:
    """Return which runs each resample is made of ``[RESAMPLES, n_runs]``; streams are independent of one another."""
    drawn: NDArray[np.intp] = np.random.default_rng((n_runs, stream)).integers(n_runs, size=(RESAMPLES, n_runs))
    drawn.setflags(write=False)
    return drawn


@functools.lru_cache(maxsize=512)
def shares(n_runs: int, stream: int = 0) -> Floats:
    """Return the share of every run in each resample ``[RESAMPLES, n_runs]``: a mean is then a product of matrices."""
    rows = np.arange(RESAMPLES)[:, None] * n_runs
    counts = np.bincount((draws(n_runs, stream) + rows).ravel(), minlength=RESAMPLES * n_runs)
    weights: Floats = counts.reshape(RESAMPLES, n_runs) / n_runs
    weights.setflags(write=False)
    return weights


def interval(samples: Floats) -> tuple[Floats, Floats]:
    """Return the bounds of the percentile interval of resampled statistics ``[RESAMPLES, ...]``."""
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(samples, (tail, 100.0 - tail), axis=0)
    return np.asarray(low), np.asarray(high)
