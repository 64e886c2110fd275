"""The occupancy program: the regularised decision problem of fixed dynamics, over discounted state-action occupancies.

    max_{d >= 0}  sum_{s,a} d(s,a) r(s,a) - Omega(d)
    s.t.          sum_a d(s,a) = rho(s) + gamma sum_{s',a'} P(s|s',a') d(s',a')      for every state s

(Mandal, Triantafyllou and Radanovic 2023, their regularised program; ``Omega = lambda/2 |d|^2`` or
``lambda sum d log d``). The occupancy ``d`` is *unnormalised*, of mass up to ``1 / (1 - gamma)``, and absorbing states
are left out: nothing is decided there and nothing is paid, so their occupancy must not be regularised either.

Clarabel solves the program, called directly; Newton steps (:mod:`agents.retraining.polishing`) take its answer to
rounding error, and the residual of the optimality conditions is checked and returned.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import clarabel
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from agents.retraining.levels import Level, as_given, of_uniform_policy
from agents.retraining.model import Floats, Ints, TabularModel
from agents.retraining.polishing import polish_entropy, polish_linear, polish_quadratic
from agents.retraining.structure import ProgramStructure, entropy_matrix, sign_matrix
from perf_envs import Dynamics
from perf_envs.tensor_checks import as_floats, check_distributions
from perf_envs.validation import check_choice, check_number

REGULARIZERS = ("l2", "entropy")
#: Largest scaled residual of the optimality conditions that a solution may have.
LARGEST_RESIDUAL = 1e-8
#: Share of the multipliers that counts as size in the residual: what they leave to rounding cannot be asked for.
_ROUNDED = 1e-7
#: How many times the rewards multipliers may be large before the program is seen from the uniform policy.
_OUTWEIGHS = 1e5
#: Share of the total mass below which a state counts as never visited: its conditional distribution would be rounding.
_NEVER = 1e-13


@dataclass(frozen=True, eq=False)
class OccupancySolution:
    """The solution of an occupancy program.

    Attributes:
        occupancy: ``d [S, A]``, unnormalised; 0 at absorbing and unreachable states.
        policy: ``d(s,a) / sum_a d(s,a)``, uniform at states without mass, ``[S, A]``.
        multipliers: of the flow constraints, ``[S]``: the values of the regularised problem; 0 where there is none.
        objective: ``d . r - Omega(d)``.
        residual: the largest of the scaled residuals of flow constraints and optimality, see
            :meth:`OccupancyProgram.solve`.
        n_iter: iterations of the interior-point method.
    """

    occupancy: Tensor
    policy: Tensor
    multipliers: Tensor
    objective: float
    residual: float
    n_iter: int


class _InteriorPoint(NamedTuple):
    """Where the interior-point method stopped."""

    d: Floats
    h: Floats
    slack: Floats
    """Multipliers of the signs (of the cones, with entropy)."""
    n_iter: int
    status: str


def occupancy_program(
    dynamics: Dynamics | TabularModel,
    regularization: float = 1.0,
    regularizer: str = "l2",
    *,
    rho: object | None = None,
    gamma: float | None = None,
) -> OccupancySolution:
    """Solve the occupancy program of one fixed world, see :class:`OccupancyProgram`.

    Args:
        dynamics: the world; ``rho`` and ``gamma`` default to its own.
        regularization: weight ``lambda`` on the unnormalised occupancy; 0 is the linear program.
        regularizer: ``"l2"`` or ``"entropy"``.
        rho: start distribution ``[S]``.
        gamma: discount in (0, 1).

    Raises:
        ValueError: an argument is out of range or missing, or the program is infeasible.
    """
    own = dynamics if isinstance(dynamics, Dynamics) else None
    rho = own.rho if rho is None and own is not None else rho
    gamma = own.gamma if gamma is None and own is not None else gamma
    if rho is None or gamma is None:
        raise ValueError("rho and gamma must be given: these dynamics carry none")
    return OccupancyProgram(rho, gamma, regularization, regularizer).solve(dynamics)


class OccupancyProgram:
    """The occupancy programs of one world, round after round: the solver is kept while the structure stays the same.

    Args:
        rho: start distribution ``[S]``.
        gamma: discount in (0, 1).
        regularization: weight ``lambda >= 0`` on the unnormalised occupancy; 0 is the linear program.
        regularizer: ``"l2"`` (``lambda/2 |d|^2``) or ``"entropy"`` (``lambda sum d log d``).

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, rho: object, gamma: float, regularization: float = 1.0, regularizer: str = "l2") -> None:
        start = as_floats("rho", rho)
        check_distributions("rho", start, "state")
        self.rho: Floats = start.numpy()
        self.gamma = check_number("gamma", gamma, above=0.0, below=1.0)
        self.regularization = check_number("regularization", regularization, at_least=0.0)
        self.regularizer = check_choice("regularizer", regularizer, REGULARIZERS)
        self._structure: ProgramStructure | None = None

    def solve(self, world: Dynamics | TabularModel, rewards: object | None = None) -> OccupancySolution:
        """Solve the program of a world.

        The residual is the largest of ``|F d - b| / (1 + max d)`` (flow constraints) and, with ``A = r - F'h`` and
        ``g = A - grad Omega(d)``, ``|min(d, -g)| / (max |r| + lambda max d + 1e-7 max |h|)`` over pairs: it is
        zero if and only if ``d`` is optimal, and bounds stationarity, dual feasibility and complementarity together
        (the last term is for the rounding of ``h``). With entropy,
        where ``d > 0``, the second is ``|d - exp(A / lambda - 1)| / (1 + max d)``.

        Args:
            world: exact dynamics, or what samples say of them.
            rewards: ``[S, A]`` in place of the world's own.

        Raises:
            ValueError: the world has other states than ``rho``; the program is infeasible or unbounded, which it can
                be only for its transitions; or its data are not finite.
            RuntimeError: the residual is not below ``LARGEST_RESIDUAL``: with little entropy, for example, 1e-9 of the
                rewards, occupancies are exponentials that rounding decides.
        """
        model = TabularModel.from_dynamics(world) if isinstance(world, Dynamics) else world
        if model.n_states != len(self.rho):
            raise ValueError(f"the world has {model.n_states} states but rho has {len(self.rho)}")
        paid = model.rewards if rewards is None else np.asarray(rewards, dtype=np.float64)
        if paid.shape != model.rewards.shape or not np.isfinite(paid).all():
            raise ValueError(f"rewards must be finite and have shape {model.rewards.shape}, got shape {paid.shape}")
        if self._structure is None or not self._structure.fits(model):
            self._structure = ProgramStructure(model, self.rho)
        structure = self._structure
        flow = structure.flow(model, self.gamma)
        supply, c = self.rho[structure.states], paid.ravel()[structure.pairs]
        if not c.size:  # the start is absorbing: there is nothing to decide
            return self._solution(structure, c, np.zeros(0), 0.0, 0.0, 0)
        residual, d, h, n_iter = self._best_of_attempts(structure, flow, supply, c)
        return self._solution(structure, d, h, float(c @ d) - self.penalty(d), residual, n_iter)

    def _best_of_attempts(
        self, structure: ProgramStructure, flow: sp.csc_array, supply: Floats, c: Floats
    ) -> tuple[float, Floats, Floats, int]:
        """Return residual, ``d``, ``h`` and iterations of the first good solution."""
        best, status = (np.inf, c, c, 0), ""
        for attempt in ("plain", "tight", "levelled"):
            levelled = attempt == "levelled"
            if levelled:  # from here on the residual is relative to what is left of the rewards
                best = (np.inf, c, c, 0)
            level = of_uniform_policy(flow, supply, c, structure.row_of) if levelled else as_given(flow, c)
            inner = self._interior_point(structure, flow, supply, level, attempt)
            status = inner.status
            for d, h in self._candidates(flow, supply, level.rewards, structure.row_of, inner):
                residual = self.residual(flow, supply, level.rewards, d, h)
                if residual < best[0]:
                    best = (residual, d, level.values + h, inner.n_iter)
            outweighed = float(np.abs(best[2]).max()) > _OUTWEIGHS * float(np.abs(c).max())
            if best[0] <= LARGEST_RESIDUAL and (levelled or not outweighed):
                return best
        raise RuntimeError(
            f"the occupancy program was solved to a residual of {best[0]:.1e} only, with regularization "
            f"{self.regularization:g} and gamma {self.gamma:g} (the solver ended with {status!r})"
        )

    def penalty(self, occupancy: object) -> float:
        """Return ``Omega(d)`` of an occupancy, of any shape."""
        d = np.asarray(occupancy, dtype=np.float64)
        if self.regularizer == "l2":
            return 0.5 * self.regularization * float((d * d).sum())
        return self.regularization * float((d * np.log(np.where(d > 0.0, d, 1.0))).sum())

    def residual(self, flow: sp.csc_array, supply: Floats, c: Floats, d: Floats, h: Floats) -> float:
        """Return the residual of the optimality conditions, see :meth:`solve`."""
        advantages, weight = c - flow.T @ h, self.regularization
        primal = float(np.abs(flow @ d - supply).max()) / (1.0 + float(np.abs(d).max()))
        if self.regularizer == "entropy" and weight > 0.0:
            with np.errstate(over="ignore"):
                best = np.exp(advantages / weight - 1.0)
            return max(primal, float(np.abs(d - best).max()) / (1.0 + float(np.abs(d).max())))
        natural = np.abs(np.minimum(d, weight * d - advantages)).max()
        size = float(np.abs(c).max()) + weight * float(np.abs(d).max()) + _ROUNDED * float(np.abs(h).max())
        return max(primal, float(natural) / (size or 1.0))

    def _interior_point(
        self, structure: ProgramStructure, flow: sp.csc_array, supply: Floats, level: Level, attempt: str
    ) -> _InteriorPoint:
        """Return primal and dual variables from Clarabel; a ``"levelled"`` program is scaled for it."""
        n_rows, n_pairs = flow.shape
        entropic = self.regularizer == "entropy" and self.regularization > 0.0
        c, weight, unit = level.rewards, self.regularization, 1.0
        if attempt == "levelled":
            supply, c, weight, unit = level.scaled(supply, weight, entropic)
        if entropic:  # maximise c.d + weight sum t, t <= -d log d: (t, d, 1) in the exponential cone
            matrix = entropy_matrix(flow)
            offset = np.concatenate([supply, np.tile([0.0, 0.0, 1.0], n_pairs)])
            linear = np.concatenate([-c, np.full(n_pairs, -weight)])
            cones = [clarabel.ZeroConeT(n_rows), *(clarabel.ExponentialConeT() for _ in range(n_pairs))]
            quadratic = sp.csc_array((2 * n_pairs, 2 * n_pairs))
        else:
            matrix = sign_matrix(flow)
            offset = np.concatenate([supply, np.zeros(n_pairs)])
            linear = -c
            cones = [clarabel.ZeroConeT(n_rows), clarabel.NonnegativeConeT(n_pairs)]
            quadratic = sp.csc_array(weight * sp.eye_array(n_pairs, format="csc"))
        solved = structure.solve(quadratic, linear, matrix, offset, cones, attempt != "plain")
        d, dual = level.mass * np.array(solved.x)[:n_pairs], unit * np.array(solved.z)
        return _InteriorPoint(d, dual[:n_rows], dual[n_rows:], int(solved.iterations), str(solved.status))

    def _candidates(
        self, flow: sp.csc_array, supply: Floats, c: Floats, row_of: Ints, inner: _InteriorPoint
    ) -> list[tuple[Floats, Floats]]:
        """Return ``d`` and ``h`` after the last steps, and before them."""
        # There always is a solution, so what reads as infeasible or unbounded is a matter of scale.
        if "Infeasible" in inner.status or not np.isfinite(inner.h).all():
            return []
        found = [(np.maximum(inner.d, 0.0), inner.h)]
        with suppress(RuntimeError):  # a singular matrix: then there are no last steps from here
            found.insert(0, self._polish(flow, supply, c, row_of, inner))
        return found

    def _polish(
        self, flow: sp.csc_array, supply: Floats, c: Floats, row_of: Ints, inner: _InteriorPoint
    ) -> tuple[Floats, Floats]:
        if self.regularization == 0.0:
            return polish_linear(flow, supply, c, row_of, inner.h)
        if self.regularizer == "entropy":
            return polish_entropy(flow, supply, c, self.regularization, inner.h)
        return polish_quadratic(flow, supply, c, self.regularization, row_of, inner.h, inner.d > inner.slack)

    def _solution(
        self, structure: ProgramStructure, d: Floats, h: Floats, objective: float, residual: float, n_iter: int
    ) -> OccupancySolution:
        occupancy = np.zeros(structure.shape)
        occupancy.ravel()[structure.pairs] = d
        multipliers = np.zeros(structure.shape[0])
        multipliers[structure.states] = h
        table = torch.from_numpy(occupancy)
        return OccupancySolution(table, conditional(table), torch.from_numpy(multipliers), objective, residual, n_iter)


def conditional(occupancy: Tensor) -> Tensor:
    """Return the policy ``d(s,a) / sum_a d(s,a)`` of an occupancy ``[S, A]``, uniform where there is no mass."""
    mass = occupancy.sum(-1, keepdim=True)
    seen = mass > _NEVER * mass.sum()
    uniform = torch.full_like(occupancy, 1.0 / occupancy.shape[1])
    return torch.where(seen, occupancy / torch.where(seen, mass, 1.0), uniform)
