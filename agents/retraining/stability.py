"""How far from stability the regularisation may leave a policy.

Let ``d`` be the occupancy of ``pi`` in its own world ``F(pi)``, ``d*`` the solution of that world's occupancy program,
and ``q`` the best response there, with occupancy ``d_q``. The program prefers ``d*`` to ``d_q``, so

    d_q.r - Omega(d_q)  <=  d*.r - Omega(d*)  =  d.r - Omega(d) + g

with the *regularised stability gap* ``g >= 0``, which is zero at a fixed point of repeated retraining. Therefore

    stability gap  =  d_q.r - d.r  <=  Omega(d_q) - Omega(d) + g  <=  max Omega - Omega(d) + g.

Occupancies are unnormalised, of mass at most ``m = 1 / (1 - gamma) > 1``. A convex ``Omega`` is largest where all mass
is in one place: ``max Omega = lambda/2 m^2`` for L2, and ``lambda m log m`` for entropy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from agents.retraining.program import OccupancyProgram
from perf_envs import Dynamics, PerformativeMDP
from perf_envs.exact import optimal_policy
from perf_envs.exact.values import evaluate
from perf_envs.tensor_checks import as_policy


class StabilityBound(NamedTuple):
    """A stability gap and what explains it: ``gap <= explained + regularized_gap <= worst_case + regularized_gap``."""

    gap: float
    """``max_q V(q; pi) - V(pi; pi)``."""
    explained: float
    """``Omega(d_q) - Omega(d)`` with the best response ``q``."""
    worst_case: float
    """``max Omega - Omega(d)``, which needs no best response."""
    regularized_gap: float
    """``g``: how far ``pi`` is from the solution of its own world's program; 0 at a fixed point."""

    @property
    def bound(self) -> float:
        """What the gap is at most."""
        return self.explained + self.regularized_gap


def stability_bound(
    problem: PerformativeMDP, pi: object, regularization: float = 1.0, regularizer: str = "l2"
) -> StabilityBound:
    """Return the stability gap of a policy and what the regularisation of its retraining explains of it.

    Args:
        problem: the world.
        pi: policy table ``[S, A]``.
        regularization: weight ``lambda`` on the unnormalised occupancy, as in the retraining.
        regularizer: ``"l2"`` or ``"entropy"``.

    Raises:
        ValueError: an argument is out of range.
    """
    policy = as_policy(pi, problem.n_states, problem.n_actions).detach()
    program = OccupancyProgram(problem.rho, problem.gamma, regularization, regularizer)
    with torch.no_grad():
        return bound_in(problem.response(policy).detach(), policy, program)


def bound_in(dynamics: Dynamics, policy: Tensor, program: OccupancyProgram) -> StabilityBound:
    """Return the bound of a policy in the dynamics that answer it, with the program of its retraining."""
    rho = torch.from_numpy(program.rho)
    response, _ = optimal_policy(dynamics, start=policy)
    gap = max(evaluate(dynamics, policy, gamma=program.gamma).gain(response, rho), 0.0)
    d = pair_occupancy(dynamics, policy, rho, program.gamma)
    penalty = program.penalty(d)
    mass = 1.0 / (1.0 - program.gamma)
    largest = 0.5 * mass**2 if program.regularizer == "l2" else mass * math.log(mass)
    objective = float((d * dynamics.rewards).sum()) - penalty
    return StabilityBound(
        gap,
        program.penalty(pair_occupancy(dynamics, response, rho, program.gamma)) - penalty,
        program.regularization * largest - penalty,
        max(program.solve(dynamics).objective - objective, 0.0),
    )


def pair_occupancy(dynamics: Dynamics, policy: Tensor, rho: Tensor, gamma: float) -> Tensor:
    """Return the unnormalised discounted occupancy ``d(s, a)`` of a policy, ``[S, A]``, 0 at absorbing states."""
    visits = evaluate(dynamics, policy, gamma=gamma).occupancy(rho) / (1.0 - gamma)
    return torch.where(dynamics.absorbing, 0.0, visits)[:, None] * policy
