"""Conservative policy iteration: mix a little of the greedy policy in, as much as a lower bound allows.

For a greedy policy ``q``, gain ``g = <grad_pi J, q - pi>`` and ``eps = max_s |sum_a q(a|s) A(s,a)|``, fixed dynamics
guarantee (Kakade and Langford 2002, Theorem 4.1)

    J((1-k) pi + k q) - J(pi)  >=  k g - k^2 L / 2,      L = 4 gamma eps / (1-gamma)^2,

largest at ``k = g / L``. The theorem's ``L`` is a worst case, and no worst case is known for a world that answers: it
is where the search starts; it is doubled until the bound holds at the mixture itself, and halved after a success.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.planning.ascent import first_order_gap, value_rounding, value_scale
from agents.planning.result import PlanningResult
from perf_envs import PerformativeMDP
from perf_envs.exact import GradientTerms, decoupled_value, gradient_terms, performative_value
from perf_envs.tensor_checks import policy_or_uniform
from perf_envs.validation import check_count, check_number

#: A mixture this small changes nothing but the last digits.
_SMALLEST_SHARE = 1e-12


def conservative_policy_iteration(
    problem: PerformativeMDP,
    *,
    performative_coef: float = 1.0,
    n_iterations: int = 1000,
    initial_policy: object | None = None,
    tolerance: float = 1e-6,
) -> PlanningResult:
    """Improve a policy by mixtures whose gain is bounded from below.

    Args:
        problem: the world.
        performative_coef: 1 climbs the performative value, 0 the value in the world as it stands (to a stable point).
        n_iterations: mixtures at most.
        initial_policy: start, ``[S, A]``; the uniform policy by default.
        tolerance: first-order gap, relative to the scale of the values, at which it has converged.
    """
    pi = policy_or_uniform(initial_policy, problem.n_states, problem.n_actions, "initial_policy")
    floor = check_number("tolerance", tolerance, at_least=0.0) * value_scale(problem)
    check_number("performative_coef", performative_coef, at_least=0.0, at_most=1.0)
    history: list[float] = []
    caution, gap = 1.0, torch.inf
    for _ in range(check_count("n_iterations", n_iterations)):
        terms = gradient_terms(problem, pi, with_response=performative_coef != 0.0)
        history.append(float(problem.rho @ terms.evaluation.state_values))
        gradient = terms.policy + performative_coef * terms.response
        greedy = torch.nn.functional.one_hot(gradient.argmax(-1), problem.n_actions).to(torch.float64)
        gap = first_order_gap(gradient)
        if gap <= floor:
            break
        value_of = _objective(problem, pi, performative_coef)
        curvature = _curvature(terms, greedy, problem.gamma)
        while True:
            share = min(1.0, gap / (caution * curvature))
            mixed = (1.0 - share) * pi + share * greedy
            bound = share * gap - 0.5 * share**2 * caution * curvature
            if value_of(mixed) - history[-1] >= bound - value_rounding(problem) or share < _SMALLEST_SHARE:
                break
            caution *= 2.0
        if share < _SMALLEST_SHARE:
            break
        pi, caution = mixed, 0.5 * caution
    with torch.no_grad():
        value = float(performative_value(problem, pi))
    return PlanningResult(
        policy=pi,
        value=value,
        history=torch.tensor(history, dtype=torch.float64),
        n_iter=len(history),
        converged=gap <= floor,
        method="conservative_policy_iteration",
        gap=gap,
    ).warn_unless_converged()


def _objective(problem: PerformativeMDP, pi: Tensor, performative_coef: float) -> Callable[[Tensor], float]:
    """Return what a mixture is judged by: its value in the answer to ``pi`` moved on by ``performative_coef``."""

    def value_of(mixed: Tensor) -> float:
        with torch.no_grad():
            deployed = pi + performative_coef * (mixed - pi)
            return float(decoupled_value(problem, mixed, deployed))

    return value_of


def _curvature(terms: GradientTerms, greedy: Tensor, gamma: float) -> float:
    """Return ``L`` of the lower bound for fixed dynamics."""
    largest = float((greedy * terms.evaluation.advantages()).sum(-1).abs().max())
    return max(4.0 * gamma * largest / (1.0 - gamma) ** 2, 1e-300)
