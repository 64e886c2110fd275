"""Softmax ascent on the exact performative policy gradient: the loop under the planning methods.

    theta <- theta + step(pi, g),     pi = softmax(theta),     g = grad_pi J_alpha,lambda, centred per state

with the weight ``alpha`` of the world's answer and the entropy weight ``lambda`` on a schedule of the run. Methods
differ in the step: plain, Adam's or natural.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from agents.planning.result import PlanningResult
from perf_envs import PerformativeMDP
from perf_envs.exact import GradientTerms, advantages, gradient_terms
from perf_envs.tensor_checks import as_policy, policy_or_uniform
from perf_envs.validation import check_choice, check_number

Coefficient = Callable[[float], float]
#: Values agree to about this, relative to their size.
_ROUNDING = 1e-13
#: Turns the centred gradient with respect to the table ``[S, A]`` and what it came from into the change of the logits.
Step = Callable[[Tensor, GradientTerms], Tensor]


@dataclass(frozen=True)
class Objective:
    """What a run ascends, as functions of its progress from 0 to 1.

    Attributes:
        performative_coef: weight of the world's answer.
        entropy_coef: weight of the entropy, in units of the range of the world's rewards.
        bonus: centred gradient of a further term with respect to the table, as a function of the policy.
        gap: how far from a maximum, from the centred gradient and the policy; by default the first-order gap.
    """

    performative_coef: Coefficient
    entropy_coef: Coefficient
    bonus: Callable[[Tensor], Tensor] | None = None
    gap: Callable[[Tensor, Tensor], float] = lambda gradient, pi: first_order_gap(gradient)

    @classmethod
    def constant(cls, performative_coef: float, entropy_coef: float = 0.0) -> Objective:
        """Return weights that stay as they are."""
        return cls(lambda progress: performative_coef, lambda progress: entropy_coef)


class Iterate(NamedTuple):
    """A policy met on the way."""

    policy: Tensor
    """``[S, A]``."""
    value: float
    """``J``, without entropy or bonus."""
    gap: float
    """The objective's gap; by default the most it could gain, to first order, by moving towards any other policy."""
    score: float = -torch.inf
    """``J`` with the entropy weight that the run ends with: what policies are ranked by."""


class Run:
    """One ascent from one start.

    Attributes:
        logits: where the run goes on from.
        last: the last policy evaluated; ``best``: the one with the largest score.
        converged: whether the gap of the last policy was below the tolerance.
        history: ``J`` of every policy met.
    """

    def __init__(self, problem: PerformativeMDP, logits: Tensor) -> None:
        self.problem = problem
        self.logits = logits
        self.last = self.best = Iterate(torch.softmax(logits, -1), -torch.inf, torch.inf)
        self.converged = False
        self.history: list[float] = []

    def advance(self, n_iterations: int, objective: Objective, step: Step, tolerance: float = 0.0) -> Run:
        """Make a whole scheduled run of at most ``n_iterations`` steps, from the current logits.

        Stops early once the weights have reached their final values and the gap is at most ``tolerance``.
        """
        scale = reward_scale(self.problem)
        final = (objective.performative_coef(1.0), objective.entropy_coef(1.0))
        for iteration in range(n_iterations):
            progress = iteration / n_iterations
            alpha, entropy = objective.performative_coef(progress), objective.entropy_coef(progress)
            terms = gradient_terms(
                self.problem, torch.softmax(self.logits, -1), entropy * scale, with_response=alpha != 0.0
            )
            gradient = terms.policy + alpha * terms.response
            if objective.bonus is not None:
                gradient = gradient + objective.bonus(terms.evaluation.pi)
            self._note(terms, gradient, objective, final[1] * scale)
            self.converged = (alpha, entropy) == final and self.last.gap <= tolerance
            if self.converged:
                break
            self.logits = self.logits + step(gradient, terms)
        return self

    def result(self, method: str) -> PlanningResult:
        """Return the last policy as the result of ``method``."""
        return PlanningResult(
            policy=self.last.policy,
            value=self.last.value,
            history=torch.tensor(self.history, dtype=torch.float64),
            n_iter=len(self.history),
            converged=self.converged,
            method=method,
            gap=self.last.gap,
        )

    def _note(self, terms: GradientTerms, gradient: Tensor, objective: Objective, final_entropy: float) -> None:
        evaluation = terms.evaluation
        value = float(self.problem.rho @ evaluation.plain_state_values())
        score = (
            value if final_entropy == 0.0 else value + final_entropy * evaluation.discounted_entropy(self.problem.rho)
        )
        self.history.append(value)
        self.last = Iterate(evaluation.pi, value, objective.gap(gradient, evaluation.pi), score)
        if score > self.best.score:
            self.best = self.last


def start_logits(problem: PerformativeMDP, initial_policy: object | None) -> Tensor:
    """Return the logits of a start policy; ``None`` is the uniform one.

    Raises:
        ValueError: the policy is not valid or has a probability of 0, which a softmax cannot leave.
    """
    shape = (problem.n_states, problem.n_actions)
    if initial_policy is None:
        return torch.zeros(shape, dtype=torch.float64)
    policy = as_policy(initial_policy, *shape, name="initial_policy")
    if bool((policy <= 0.0).any()):
        state, action = (policy <= 0.0).nonzero()[0].tolist()
        raise ValueError(f"initial_policy must be positive everywhere, got 0 at state {state}, action {action}")
    return torch.log(policy)


def first_order_gap(gradient: Tensor) -> float:
    """Return ``max_q <gradient, q - pi>`` from a gradient ``[S, A]`` with respect to the table, centred per state."""
    return float(gradient.max(-1).values.sum())


def reward_scale(problem: PerformativeMDP) -> float:
    """Return the range of the unshifted world's rewards: what entropy is measured against."""
    rewards = problem.unshifted().rewards
    return float(rewards.max() - rewards.min()) or 1.0


def value_scale(problem: PerformativeMDP) -> float:
    """Return what tolerances are relative to: the size of the rewards, or their range if less, over ``1 - gamma``.

    A constant in the rewards makes values large without making any policy better than another: it does not count.
    """
    rewards = problem.unshifted().rewards
    size = min(float(rewards.abs().max()), float(rewards.max() - rewards.min()))
    return (size or float(rewards.abs().max()) or 1.0) / (1.0 - problem.gamma)


def value_rounding(problem: PerformativeMDP) -> float:
    """Return by how much values may be off for rounding: a constant in the rewards does count."""
    return _ROUNDING * max(1.0, float(problem.unshifted().rewards.abs().max()) / (1.0 - problem.gamma))


def natural_step(learning_rate: float, max_divergence: float = torch.inf) -> Step:
    """Return natural gradient steps ``learning_rate * F^+ grad`` on softmax tables, shortened to a trust region.

    The Fisher information of a softmax table is ``d(s) (diag pi - pi pi')`` per state, so the natural direction is the
    gradient with respect to the table divided by ``d(s)``; states that are never visited have no information and stay.

    Args:
        learning_rate: step size.
        max_divergence: largest expected KL divergence of a step, to second order, in nats.
    """

    def step(gradient: Tensor, terms: GradientTerms) -> Tensor:
        visited = (terms.occupancy > 0.0)[:, None]
        occupancy = torch.where(visited, terms.occupancy[:, None], 1.0)
        direction = torch.where(visited, gradient / occupancy, 0.0)
        return trust_region(direction, terms, learning_rate, max_divergence)

    return step


def trust_region(direction: Tensor, terms: GradientTerms, learning_rate: float, max_divergence: float) -> Tensor:
    """Return a step along ``direction [S, A]``, ``learning_rate`` long or as far as the expected divergence allows."""
    pi = terms.evaluation.pi
    centred = direction - (pi * direction).sum(-1, keepdim=True)
    curvature = float((terms.occupancy[:, None] * pi * centred**2).sum())  # of the KL along the direction
    longest = math.sqrt(2.0 * max_divergence / curvature) if curvature > 0.0 else torch.inf
    return min(learning_rate, longest) * direction


def fixed_step(learning_rate: float) -> Step:
    """Return plain gradient steps of size ``learning_rate``."""
    return lambda gradient, terms: learning_rate * terms.evaluation.pi * gradient


def adam_step(learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> Step:
    """Return Adam's steps (torch's own implementation), with moments of their own."""
    moved: Tensor | None = None
    optimizer: torch.optim.Adam | None = None

    def step(gradient: Tensor, terms: GradientTerms) -> Tensor:
        nonlocal moved, optimizer
        if moved is None or optimizer is None:
            moved = torch.zeros_like(gradient)
            optimizer = torch.optim.Adam([moved], lr=learning_rate, betas=betas, maximize=True)
        before = moved.clone()
        moved.grad = terms.evaluation.pi * gradient
        optimizer.step()
        return moved - before

    return step


def step_rule(problem: PerformativeMDP, step: str, learning_rate: float | None, shrink: float = 1.0) -> Step:
    """Return a fresh step of the named rule; without a learning rate, one that fits the world.

    Args:
        problem: the world.
        step: ``"natural"`` (within a trust region of 0.005 nats), ``"adam"`` or ``"fixed"``.
        learning_rate: by default 3 over the largest advantage of the uniform policy for natural steps, 0.1 for Adam, 1
            for fixed ones.
        shrink: factor in (0, 1] on the learning rate and on the trust region.
    """
    check_choice("step", step, ("natural", "adam", "fixed"))
    rate = None if learning_rate is None else check_number("learning_rate", learning_rate, above=0.0)
    if step == "natural":
        rate = 3.0 / advantage_scale(problem) if rate is None else rate
        return natural_step(shrink * rate, max_divergence=0.005 * shrink)
    if step == "adam":
        return adam_step(shrink * (0.1 if rate is None else rate))
    return fixed_step(shrink * (1.0 if rate is None else rate))


def advantage_scale(problem: PerformativeMDP) -> float:
    """Return the largest advantage of the uniform policy, or 1 if it has none: what natural steps are measured in."""
    uniform = policy_or_uniform(None, problem.n_states, problem.n_actions)
    with torch.no_grad():
        return float(advantages(problem, uniform).abs().max()) or 1.0
