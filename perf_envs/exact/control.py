"""Optimal control of fixed dynamics, and how far a policy is from stability and from optimality."""

from __future__ import annotations

import torch
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.exact.optima import best_known
from perf_envs.exact.values import check_dynamics, check_problem, evaluate, performative_value
from perf_envs.problem import PerformativeMDP
from perf_envs.tensor_checks import policy_or_uniform

_MAX_IMPROVEMENTS = 10_000
#: Actions whose advantages differ by less than this, relative to the terms they consist of, are equally good.
_TIE = 1e-12


def optimal_policy(dynamics: Dynamics, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return a deterministic optimal policy ``[S, A]`` of fixed dynamics and its values ``[S]``, by policy iteration.

    No action has an advantage above 1e-12 of the terms that it consists of (:meth:`Evaluation.advantage_terms`): a
    constant in the rewards, which makes values large, does not matter. Among equally good actions the incumbent stays.

    Args:
        dynamics: the world as it stands; gradients are ignored.
        start: a policy to start from; its greedy improvement is the first iterate.

    Raises:
        ValueError: ``dynamics`` are none, or ``start`` is not a policy.
    """
    check_dynamics(dynamics)
    dynamics = dynamics.detach()
    pi = policy_or_uniform(start, dynamics.n_states, dynamics.n_actions, "start")
    for _ in range(_MAX_IMPROVEMENTS):
        evaluation = evaluate(dynamics, pi)
        advantages = evaluation.refined_advantages()
        best = advantages.max(-1, keepdim=True).values
        # Keep the incumbent where nothing is better by more than rounding, so that the iteration must stop. Where all
        # terms are 0, as in absorbing states, what the solver leaves there is rounding of the terms of other states.
        terms = evaluation.advantage_terms().max(-1, keepdim=True).values
        tie = _TIE * (terms + _TIE * terms.max())
        first_best = (advantages >= best - tie).to(torch.int64).argmax(-1)
        greedy = torch.nn.functional.one_hot(first_best, dynamics.n_actions).to(torch.float64)
        stays = (best <= tie)[:, 0] | (greedy == pi).all(-1)
        if bool(stays.all()):
            certain = ((pi == 0.0) | (pi == 1.0)).all(-1, keepdim=True)  # a probability of 1 may have company of 1e-20
            return torch.where(certain, pi, greedy), evaluation.state_values
        pi = torch.where(stays[:, None], pi, greedy)
    raise RuntimeError(f"policy iteration did not settle in {_MAX_IMPROVEMENTS} improvements")


def stability_gap(problem: PerformativeMDP, pi: object) -> float:
    """Return ``max_q V(q; pi) - V(pi; pi)``: what could be gained if the world stood still. 0 if and only if stable.

    Of a world that answers at random it is the average over its realisations, each with the best reply to it.
    """
    check_problem(problem)
    gaps = [_stability_gap(one, pi) for one in problem.realisations]
    return sum(gaps) / len(gaps)


def _stability_gap(problem: PerformativeMDP, pi: object) -> float:
    dynamics = problem.response(pi).detach()
    policy = dynamics.check_policy(pi).detach()
    best, _ = optimal_policy(dynamics, start=policy)
    return max(evaluate(dynamics, policy).gain(best, problem.rho), 0.0)


def optimality_gap(problem: PerformativeMDP, pi: object, best_value: float | None = None) -> float:
    """Return ``J(best known) - J(pi)``; negative if ``pi`` beats the best known policy.

    Args:
        problem: the world.
        pi: policy table ``[S, A]``.
        best_value: the best known ``J``; by default the one shipped for this world (:func:`best_known`).

    Raises:
        ValueError: no optimum is shipped for this world and none was given.
    """
    with torch.no_grad():
        value = float(performative_value(problem, pi))
    return (best_known(problem).value if best_value is None else best_value) - value
