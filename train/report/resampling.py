"""The stratified bootstrap of rliable, with all resamples at once: tens of thousands of intervals in a minute."""

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
