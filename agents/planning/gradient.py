"""Plain and natural policy gradient ascent, and the log barrier: one start, one step rule, exact gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from agents.planning.ascent import (
    Objective,
    Run,
    Step,
    adam_step,
    fixed_step,
    natural_step,
    start_logits,
    step_rule,
    value_scale,
)
from agents.planning.compatible import LogLinear
from agents.planning.result import PlanningResult
from perf_envs import PerformativeMDP
from perf_envs.tensor_checks import as_floats
from perf_envs.validation import check_choice, check_count, check_number

#: A barrier's gradients shrink by orders of magnitude on the way to its maximum; Adam has to forget the first ones.
_BARRIER_BETAS = (0.9, 0.99)


def gradient_ascent(
    problem: PerformativeMDP,
    *,
    performative_coef: float = 1.0,
    entropy_coef: float = 0.0,
    n_iterations: int = 1000,
    step: str = "adam",
    learning_rate: float | None = None,
    initial_policy: object | None = None,
    tolerance: float = 1e-6,
) -> PlanningResult:
    """Softmax policy gradient ascent from one start.

    Args:
        problem: the world.
        performative_coef: 1 follows the performative gradient, 0 the myopic one, to a stable point.
        entropy_coef: weight of the entropy, in units of the range of the rewards.
        n_iterations: steps at most.
        step: ``"adam"`` or ``"fixed"``.
        learning_rate: 0.1 for Adam and 1.0 for fixed steps by default.
        initial_policy: start, ``[S, A]`` with positive entries; the uniform policy by default.
        tolerance: first-order gap of the ascended objective, relative to the scale of the values, at which it has
            converged.

    Returns:
        The last policy met; ``history`` has the values of all.
    """
    objective = Objective.constant(performative_coef, entropy_coef)
    return _single(
        problem,
        "gradient_ascent",
        objective,
        step_rule(problem, step, learning_rate),
        n_iterations,
        initial_policy,
        _floor(problem, tolerance),
    ).warn_unless_converged()


def natural_policy_gradient(
    problem: PerformativeMDP,
    *,
    performative_coef: float = 1.0,
    entropy_coef: float = 0.0,
    n_iterations: int = 1000,
    learning_rate: float = 0.1,
    max_divergence: float = torch.inf,
    features: object | None = None,
    initial_policy: object | None = None,
    tolerance: float = 1e-6,
) -> PlanningResult:
    """Natural gradient ascent, on softmax tables in closed form, on log-linear policies by conjugate gradients.

    On tables with ``performative_coef = 0`` it is multiplicative weights on the advantages:
    ``pi <- pi exp(eta A / (1-gamma))`` (Kakade 2001; Agarwal et al. 2021). With ``features`` the policies are
    ``pi_0(a|s) exp(phi(s,a) . theta)``, normalised, and each step is the compatible approximation of the one above.

    Args:
        problem: the world.
        performative_coef: 1 follows the performative gradient, 0 the myopic one.
        entropy_coef: weight of the entropy, in units of the range of the rewards.
        n_iterations: steps at most.
        learning_rate: ``eta``.
        max_divergence: trust region: steps are shortened to this expected KL divergence, in nats.
        features: ``phi [S, A, K]``; ``None`` for tables.
        initial_policy: start ``pi_0``, ``[S, A]`` with positive entries; the uniform policy by default.
        tolerance: gap, relative to the scale of the values, at which it has converged: the first-order gap on tables,
            the length of the gradient in ``theta`` with features.
    """
    rate = check_number("learning_rate", learning_rate, above=0.0)
    objective = Objective.constant(performative_coef, entropy_coef)
    floor = _floor(problem, tolerance)
    if features is None:
        step = natural_step(rate, max_divergence)
    else:
        policies = LogLinear(_check_features(features, problem))
        step = policies.natural_step(rate, max_divergence)
        objective = replace(objective, gap=lambda gradient, pi: float(policies.gradient(gradient, pi).norm()))
    return _single(
        problem, "natural_policy_gradient", objective, step, n_iterations, initial_policy, floor
    ).warn_unless_converged()


def log_barrier(
    problem: PerformativeMDP,
    *,
    barrier: float = 1e-3,
    performative_coef: float = 1.0,
    n_iterations: int = 1000,
    step: str = "adam",
    learning_rate: float | None = None,
    initial_policy: object | None = None,
    tolerance: float = 1.0,
) -> PlanningResult:
    """Ascent on ``J(pi) + barrier / (S A) sum_{s,a} log pi(a|s)``, which keeps every action in play.

    Where the gradient of this objective with respect to softmax logits is at most ``barrier / (2 S A)`` long, the
    policy is within ``2 barrier / (1-gamma) * max_s d*(s)/rho(s)`` of the optimum of fixed dynamics (Agarwal et al.
    2021, Theorem 12). That is when it has converged; the ``gap`` of the result is the length of this gradient.

    Args:
        problem: the world.
        barrier: weight of the barrier, in units of reward, > 0.
        performative_coef: 1 follows the performative gradient, 0 the myopic one.
        n_iterations: steps at most.
        step: ``"adam"`` or ``"fixed"``.
        learning_rate: 0.1 for Adam and 1.0 for fixed steps by default.
        initial_policy: start, ``[S, A]`` with positive entries; the uniform policy by default.
        tolerance: length of the gradient at which it has converged, in units of ``barrier / (2 S A)``.
    """
    check_number("barrier", barrier, above=0.0)
    check_choice("step", step, ("adam", "fixed"))
    rate = check_number(
        "learning_rate", {"adam": 0.1, "fixed": 1.0}[step] if learning_rate is None else learning_rate, above=0.0
    )

    def bonus(pi: Tensor) -> Tensor:
        return barrier / pi.shape[0] * (1.0 / (pi.shape[1] * pi) - 1.0)

    objective = replace(
        Objective.constant(performative_coef), bonus=bonus, gap=lambda gradient, pi: float((pi * gradient).norm())
    )
    rule = adam_step(rate, _BARRIER_BETAS) if step == "adam" else fixed_step(rate)
    floor = check_number("tolerance", tolerance, at_least=0.0) * barrier / (2 * problem.n_states * problem.n_actions)
    return _single(problem, "log_barrier", objective, rule, n_iterations, initial_policy, floor).warn_unless_converged()


def _check_features(features: object, problem: PerformativeMDP) -> Tensor:
    phi = as_floats("features", features).detach()
    if phi.dim() != 3 or tuple(phi.shape[:2]) != (problem.n_states, problem.n_actions) or phi.shape[2] == 0:
        raise ValueError(
            f"features must have shape ({problem.n_states}, {problem.n_actions}, K), got {tuple(phi.shape)}"
        )
    if not bool(torch.isfinite(phi).all()):
        raise ValueError("features must be finite")
    return phi


def _single(
    problem: PerformativeMDP,
    method: str,
    objective: Objective,
    step: Step,
    n_iterations: int,
    initial_policy: object | None,
    floor: float,
) -> PlanningResult:
    run = Run(problem, start_logits(problem, initial_policy))
    return run.advance(check_count("n_iterations", n_iterations), objective, step, floor).result(method)


def _floor(problem: PerformativeMDP, tolerance: float) -> float:
    return check_number("tolerance", tolerance, at_least=0.0) * value_scale(problem)
