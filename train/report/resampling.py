"""The stratified bootstrap, with all resamples at once: tens of thousands of intervals in a minute.

Its chance is that of fixed seeds, so that the same results have the same intervals everywhere and every time.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

#: Resamples of a bootstrap.
RESAMPLES = 2000

Floats = NDArray[np.float64]


@functools.lru_cache(maxsize=512)
def draws(n_runs: int, stream: int = 0) -> NDArray[np.intp]:
    """Return which runs each resample is made of ``[RESAMPLES, n_runs]``; streams are independent of one another."""
    drawn: NDArray[np.intp] = np.random.default_rng((n_runs, stream)).integers(n_runs, size=(RESAMPLES, n_runs))
    drawn.setflags(write=False)
    return drawn


def resampled(scores: Floats) -> Floats:
    """Return resamples of scores ``[runs, worlds]``, ``[RESAMPLES, runs, worlds]``: every world's runs on their own."""
    n_runs, n_worlds = scores.shape
    return np.stack([scores[draws(n_runs, world), world] for world in range(n_worlds)], axis=-1)
