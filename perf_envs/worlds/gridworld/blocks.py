"""Many sparse systems of one size, such as the chains of all followers on a wide grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

Floats = NDArray[np.float64]


class BlockFactors:
    """LU factors of ``I - C_i``, block by block, by SuperLU.

    ``C_i`` is a discounted chain, so that ``I - C_i`` is diagonally dominant by rows and needs no pivoting: the
    symmetric ordering then fills in half as much as the general one would on all blocks at once.

    Args:
        successors: ``[S, M]`` the states that can follow.
        n_blocks: number of chains ``F``.
    """

    def __init__(self, successors: NDArray[np.int64], n_blocks: int) -> None:
        self._columns = successors.T
        self._rows = np.broadcast_to(np.arange(len(successors)), self._columns.shape)
        self._blocks: list[Any] = [None] * n_blocks

    def update(self, chains: Floats, changed: NDArray[np.bool_]) -> BlockFactors:
        """Factorise the blocks that have ``changed [F]``, from discounted probabilities ``[M, S, n_changed]``."""
        n_states = self._rows.shape[1]
        identity = sp.eye_array(n_states, format="csc")
        for index, chain in zip(np.flatnonzero(changed), chains.transpose(2, 0, 1), strict=True):
            used = chain != 0.0
            moves = sp.csc_array((chain[used], (self._rows[used], self._columns[used])), shape=(n_states, n_states))
            self._blocks[index] = splu(
                sp.csc_array(identity - moves),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        return self

    def solve(self, right: Floats, transpose: str = "N") -> Floats:
        """Return the solution of all systems, or of their transposes (``"T"``), for one right side ``[F S]``."""
        parts = right.reshape(len(self._blocks), -1)
        return np.concatenate([block.solve(part, transpose) for block, part in zip(self._blocks, parts, strict=True)])
