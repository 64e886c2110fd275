"""Linear systems of a Markov chain, differentiable, with one factorisation for forward, transposed and adjoint solves.

values:     x = (I - gamma P)^-1 b          occupancy:  x = (I - gamma P^T)^-1 b
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse.linalg import bicgstab, splu
from torch import Tensor
from torch.autograd.function import once_differentiable

Floats = NDArray[np.float64]

#: Chains with more states are solved iteratively: the fill-in of a factorisation grows faster than the chain.
_LARGEST_FACTORISED = 2_000
#: How much an iterative solve makes of a residual, and in how many steps at most.
_REDUCTION, _MAX_KRYLOV, _MAX_SWEEPS = 1e-8, 2000, 10_000
#: Largest norm of the residual, relative to the right side; or to the solution, where rounding leaves no less.
_RESIDUAL, _BACKWARD = 1e-12, 16.0 * float(np.finfo(np.float64).eps)


class _Factors(Protocol):
    def solve(self, rhs: Floats, transposed: bool) -> Floats: ...


class _SparseFactors:
    """Sparse LU of ``I - gamma P`` for successor-list chains."""

    def __init__(self, successors: NDArray[np.int64], probs: Floats, gamma: float) -> None:
        self._lu = splu(_identity_minus(successors, probs, gamma))

    def solve(self, rhs: Floats, transposed: bool) -> Floats:
        return np.asarray(self._lu.solve(rhs, "T" if transposed else "N"))


class _DenseFactors:
    """LAPACK LU of ``I - gamma P`` for dense chains (``K = S``)."""

    def __init__(self, probs: Floats, gamma: float) -> None:
        self._lu = lu_factor(np.eye(len(probs)) - gamma * probs)

    def solve(self, rhs: Floats, transposed: bool) -> Floats:
        return np.asarray(lu_solve(self._lu, rhs, trans=int(transposed)))


class _IterativeSolver:
    """Solves for chains too large to be factorised lightly; every solution is checked.

    BiCGStab is the fastest and may break down, on chains that go round in circles for example. Sweeps
    ``x <- b + gamma P x`` cannot, but take longer the nearer ``gamma`` is to 1. The factorisation is what is left.
    """

    def __init__(self, successors: NDArray[np.int64], probs: Floats, gamma: float) -> None:
        self._matrix = _identity_minus(successors, probs, gamma)
        by_row = sp.csr_array(self._matrix)
        self._forms = (by_row, by_row.T)
        self._sweeps = math.ceil(math.log(_REDUCTION) / math.log(gamma))
        self._lu: Any = None
        self._methods = [self._krylov, self._sweep, self._factorised]

    def solve(self, rhs: Floats, transposed: bool) -> Floats:
        while self._methods:
            with np.errstate(all="ignore"):  # a breakdown overflows before it is noticed
                solution = self._refine(self._methods[0], rhs, transposed)
            if solution is not None:
                return solution
            del self._methods[0]  # not asked again about this chain
        raise RuntimeError(
            f"the linear system of {len(rhs)} states could not be solved to a relative residual of {_RESIDUAL:g}"
        )

    def _refine(self, method: Callable[[Floats, bool], Floats | None], rhs: Floats, transposed: bool) -> Floats | None:
        """Return the solution by a method that gets nearer each time, ``None`` where it does not."""
        matrix, size = self._forms[transposed], float(np.linalg.norm(rhs))
        solution, residual, left = np.zeros_like(rhs), rhs, size
        while left > max(_RESIDUAL * size, _BACKWARD * float(np.linalg.norm(solution))):
            correction = method(residual, transposed)
            if correction is None:
                return None
            # Each round solves for what the last one left over, so that rounding does not stop it early.
            solution = solution + correction
            residual = rhs - matrix @ solution
            before, left = left, float(np.linalg.norm(residual))
            if not left <= 0.1 * before:
                return None
        return solution

    def _krylov(self, rhs: Floats, transposed: bool) -> Floats:
        solution, _ = bicgstab(self._forms[transposed], rhs, rtol=_REDUCTION, atol=0.0, maxiter=_MAX_KRYLOV)
        return np.asarray(solution)

    def _sweep(self, rhs: Floats, transposed: bool) -> Floats | None:
        if self._sweeps > _MAX_SWEEPS:
            return None
        solution = rhs
        for _ in range(self._sweeps):
            solution = solution + (rhs - self._forms[transposed] @ solution)
        return solution

    def _factorised(self, rhs: Floats, transposed: bool) -> Floats:
        if self._lu is None:
            self._lu = splu(self._matrix)
        return np.asarray(self._lu.solve(rhs, "T" if transposed else "N"))


def _identity_minus(successors: NDArray[np.int64], probs: Floats, gamma: float) -> sp.csc_array:
    """Return ``I - gamma P`` of a successor-list chain."""
    n_states, width = probs.shape
    rows = np.repeat(np.arange(n_states), width)
    chain = sp.csc_array((probs.ravel(), (rows, successors.ravel())), shape=(n_states, n_states))
    return sp.csc_array(sp.eye_array(n_states, format="csc") - gamma * chain)


class ChainSolver:
    """Solves systems in ``I - gamma P`` of one Markov chain.

    Args:
        successors: int64 ``[S, M]``, repeats allowed; ``None`` when ``probs`` is a dense ``[S, S]`` matrix.
        probs: float64 ``[S, M]``, may carry gradients.
        gamma: discount in (0, 1).
    """

    def __init__(self, successors: Tensor | None, probs: Tensor, gamma: float) -> None:
        self.successors, self.probs, self.gamma = successors, probs, gamma
        values = probs.detach().numpy()
        self._factors: _Factors
        if successors is None:
            self._factors = _DenseFactors(values, gamma)
        elif len(values) <= _LARGEST_FACTORISED:
            self._factors = _SparseFactors(successors.numpy(), values, gamma)
        else:
            self._factors = _IterativeSolver(successors.numpy(), values, gamma)

    def values(self, rewards: Tensor) -> Tensor:
        """Return ``(I - gamma P)^-1 rewards`` as ``[S]``, differentiable in the chain and the rewards."""
        solution: Tensor = _Solve.apply(self.probs, rewards, self, False)  # type: ignore[no-untyped-call]
        return solution

    def visits(self, start: Tensor) -> Tensor:
        """Return ``(I - gamma P^T)^-1 start`` as ``[S]``: expected discounted visits, differentiable likewise."""
        solution: Tensor = _Solve.apply(self.probs, start, self, True)  # type: ignore[no-untyped-call]
        return solution

    def _apply(self, rhs: Tensor, transposed: bool) -> Tensor:
        return torch.from_numpy(self._factors.solve(rhs.detach().numpy(), transposed))


class _Solve(torch.autograd.Function):
    """``x = A^-1 b`` or ``A^-T b`` with ``A = I - gamma P``; the backward pass is the adjoint solve."""

    @staticmethod
    def forward(ctx: Any, probs: Tensor, rhs: Tensor, solver: ChainSolver, transposed: bool) -> Tensor:
        solution = solver._apply(rhs, transposed)
        ctx.solver, ctx.transposed = solver, transposed
        ctx.save_for_backward(solution)
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        solver: ChainSolver = ctx.solver
        (solution,) = ctx.saved_tensors
        adjoint = solver._apply(grad, not ctx.transposed)
        if not ctx.needs_input_grad[0]:
            return None, adjoint, None, None
        # dL/dP[s, s'] = gamma * (weight of row s) * (weight of column s'); which is which depends on the transpose.
        row, column = (solution, adjoint) if ctx.transposed else (adjoint, solution)
        reached = column if solver.successors is None else column[solver.successors]
        return solver.gamma * row[:, None] * reached, adjoint, None, None
