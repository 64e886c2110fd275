"""The numbers of an occupancy program in the form its solver takes, and the solver, kept from round to round."""

from __future__ import annotations

from typing import Any

import clarabel
import numpy as np
import scipy.sparse as sp

from agents.retraining.model import Bools, Floats, Ints, TabularModel

#: What the interior-point method is asked for; the Newton steps do the rest.
_SOLVER_TOLERANCE = 1e-8
#: What it is asked for where they fail.
_TIGHT_TOLERANCE = 1e-15


class ProgramStructure:
    """What stays the same from round to round: which pairs can carry mass, the places of the numbers, the solver."""

    def __init__(self, model: TabularModel, rho: Floats) -> None:
        self.shape = model.rewards.shape
        self.pairs: Ints = model.reachable_pairs(rho)
        #: Reachable states, and the row of every pair among them.
        self.states, self.row_of = np.unique(self.pairs // model.n_actions, return_inverse=True)
        self._key = _pattern(model)
        self._solver: Any = None
        n_pairs, n_rows = len(self.pairs), len(self.states)
        # Entry k of `moved` goes into the flow matrix; transitions into absorbing states have no row there.
        row_of_state = np.full(model.n_states, -1)
        row_of_state[self.states] = np.arange(n_rows)
        pair_of = np.full(model.rewards.size, -1)
        pair_of[self.pairs] = np.arange(n_pairs)
        moves = model.transitions
        rows = row_of_state[moves.indices]
        columns = pair_of[np.repeat(np.arange(moves.shape[0]), np.diff(moves.indptr))]
        self._moved = np.flatnonzero((rows >= 0) & (columns >= 0))
        codes = np.concatenate([self.row_of + n_rows * np.arange(n_pairs), (rows + n_rows * columns)[self._moved]])
        entries, places = np.unique(codes, return_inverse=True)
        self._leaves, self._arrives = places[:n_pairs], places[n_pairs:]
        self._indices = entries % max(n_rows, 1)
        self._indptr = np.searchsorted(entries, n_rows * np.arange(n_pairs + 1))

    def fits(self, model: TabularModel) -> bool:
        """Whether a model has the same possible transitions and the same pairs available."""
        return self.shape == model.rewards.shape and _pattern(model) == self._key

    def flow(self, model: TabularModel, gamma: float) -> sp.csc_array:
        """Return ``F [m, n]`` with ``F d`` the outflow of every reachable state less its discounted inflow."""
        data = np.zeros(len(self._indices))
        data[self._leaves] = 1.0
        data[self._arrives] -= gamma * model.transitions.data[self._moved]
        if not np.isfinite(data).all():
            raise ValueError("transitions must be finite")
        return sp.csc_array((data, self._indices, self._indptr), shape=(len(self.states), len(self.pairs)))

    def solve(
        self, quadratic: Any, linear: Floats, matrix: Any, offset: Floats, cones: list[Any], tight: bool = False
    ) -> Any:
        """Solve ``min x'Qx/2 + q'x, Ax + s = b``; the pattern of ``A`` is that of the first call.

        A ``tight`` solution is as good as the solver can make it, by a solver that is not kept.
        """
        if self._solver is not None and not tight:
            self._solver.update(q=linear, A=matrix.data, b=offset)
            return self._solver.solve()
        tolerance = _TIGHT_TOLERANCE if tight else _SOLVER_TOLERANCE
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.presolve_enable = False  # so that data can be replaced
        settings.max_threads = 1
        settings.iterative_refinement_enable = tight
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
        arguments = (sp.csc_matrix(quadratic), linear, sp.csc_matrix(matrix), offset, cones, settings)
        solver = clarabel.DefaultSolver(*arguments)
        self._solver = self._solver if tight else solver
        return solver.solve()


def _pattern(model: TabularModel) -> tuple[bytes, ...]:
    moves = model.transitions
    parts: tuple[Bools | Ints, ...] = (moves.indptr, moves.indices, moves.data > 0.0, model.available, model.absorbing)
    return tuple(part.tobytes() for part in parts)


def sign_matrix(flow: sp.csc_array) -> sp.csc_array:
    """Return the constraints of flow above those of sign: ``-1`` at the end of every column."""
    n_rows, n_pairs = flow.shape
    ends = flow.indptr[1:]
    data = np.insert(flow.data, ends, -1.0)
    indices = np.insert(flow.indices, ends, n_rows + np.arange(n_pairs))
    return sp.csc_array((data, indices, flow.indptr + np.arange(n_pairs + 1)), shape=(n_rows + n_pairs, n_pairs))


def entropy_matrix(flow: sp.csc_array) -> sp.csc_array:
    """Return the constraints of flow and of one exponential cone per pair, on the variables ``(d, t)``."""
    n_pairs = flow.shape[1]
    pair = np.arange(n_pairs)
    rows, columns = np.concatenate([3 * pair, 3 * pair + 1]), np.concatenate([n_pairs + pair, pair])
    cone = sp.csc_array((np.full(2 * n_pairs, -1.0), (rows, columns)), shape=(3 * n_pairs, 2 * n_pairs))
    widened = sp.hstack([flow, sp.csc_array((flow.shape[0], n_pairs))])
    return sp.csc_array(sp.vstack([widened, cone], format="csc"))
