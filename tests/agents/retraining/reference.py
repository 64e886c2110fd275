"""Optimal occupancies by cvxpy, with a proof of how good they are.

An interior-point method stops where its own tolerances are met, or earlier where rounding lets it go no further, which
differs from processor to processor. So what it returns is not trusted but measured, with dense arrays, in two steps:

* the occupancy of its *policy* meets the flow constraints to rounding, and its value is a lower bound on the optimum;
* its *multipliers* ``h``, put into the dual function, give an upper bound, whatever ``h`` is.

The distance between the two, the gap, bounds how far the occupancy is from the optimal one, see `Reference.distance`.
"""

import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from tests.perf_envs.worlds import dense


@dataclass(frozen=True)
class Reference:
    """A feasible occupancy ``[S, A]``, its value, and an upper bound on the value of any other."""

    occupancy: np.ndarray
    objective: float
    bound: float
    regularization: float
    regularizer: str

    @property
    def gap(self):
        """How much better than this occupancy another could be, with what rounding takes from such a difference."""
        rounding = 1e-12 * (1.0 + abs(self.bound) + np.abs(self.occupancy).sum())
        return max(self.bound - self.objective, 0.0) + rounding

    def distance(self, optimal):
        """Return how far each entry can be from the optimal occupancy ``[S, A]``, if that is what ``optimal`` is.

        What a feasible ``d`` lacks of the optimum is at least ``Omega``'s Bregman divergence from ``d*`` to ``d``:
        ``lambda/2 |d - d*|^2`` or ``lambda sum d log(d/d*) - d + d*``, of which every term is at least
        ``(d - d*)^2 / (2 max(d, d*))``.
        """
        spread = np.maximum(self.occupancy, optimal) if self.regularizer == "entropy" else 1.0
        return np.sqrt(2.0 * self.gap / self.regularization * spread)


def reference_program(dynamics, rho, gamma, regularization, regularizer="l2"):
    """Solve the program by cvxpy, state by state as the paper writes it down, and measure the answer."""
    P, r = dense(dynamics)
    live = np.flatnonzero(~dynamics.absorbing.numpy())
    rho = np.asarray(rho)
    d = cp.Variable((len(live), r.shape[1]), nonneg=True)
    constraints = [
        cp.sum(d[row]) == rho[state] + gamma * cp.sum(cp.multiply(d, P[live][:, :, state]))
        for row, state in enumerate(live)
    ]
    value = cp.sum(cp.multiply(d, r[live]))
    penalty = 0.5 * cp.sum_squares(d) if regularizer == "l2" else -cp.sum(cp.entr(d))
    problem = cp.Problem(cp.Maximize(value - regularization * penalty), constraints)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")  # how inaccurate is measured
        problem.solve(solver=cp.CLARABEL)
    h = np.array([float(constraint.dual_value) for constraint in constraints])
    program = (P[live][:, :, live], r[live], rho[live], gamma, regularization, regularizer)
    feasible = _occupancy(np.maximum(d.value, 0.0), P[live][:, :, live], rho[live], gamma)
    occupancy = np.zeros_like(r)
    occupancy[live] = feasible
    return Reference(occupancy, _objective(feasible, *program), _dual(h, *program), regularization, regularizer)


def _occupancy(d, P, rho, gamma):
    """Return the occupancy of the policy of ``d``, uniform in states without mass."""
    mass = d.sum(1, keepdims=True)
    pi = np.where(mass > 0.0, d / np.where(mass > 0.0, mass, 1.0), 1.0 / d.shape[1])
    visits = np.linalg.solve(np.eye(len(d)) - gamma * np.einsum("sa,sat->ts", pi, P), rho)
    return np.maximum(visits, 0.0)[:, None] * pi


def _objective(d, P, r, rho, gamma, regularization, regularizer):
    if regularizer == "l2":
        return float((d * r).sum() - 0.5 * regularization * (d * d).sum())
    return float((d * r).sum() - regularization * (d * np.log(np.where(d > 0.0, d, 1.0))).sum())


def _dual(h, P, r, rho, gamma, regularization, regularizer):
    """Return ``rho.h`` and what the best ``d >= 0`` adds to it where flow constraints are paid for with ``h``."""
    advantages = r - h[:, None] + gamma * P @ h
    if regularization == 0.0:  # no advantage may be left: a higher price of all mass takes it away
        return float(rho @ h) + max(float(advantages.max()), 0.0) * rho.sum() / (1.0 - gamma)
    if regularizer == "l2":
        return float(rho @ h + (np.maximum(advantages, 0.0) ** 2).sum() / (2.0 * regularization))
    return float(rho @ h + regularization * np.exp(advantages / regularization - 1.0).sum())
