"""Softmax ascent on the exact performative policy gradient: the loop under the planning methods.

    theta <- theta + step(grad J_alpha,lambda(theta)),     pi = softmax(theta)

with the weight ``alpha`` of the world's answer and the entropy weight ``lambda`` on a schedule of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from perf_envs import PerformativeMDP
from perf_envs.exact import GradientTerms, gradient_terms

Coefficient = Callable[[float], float]
#: Turns a gradient with respect to logits ``[S, A]`` into the change of the logits.
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """Weights of a run as functions of its progress, from 0 to 1.

    Attributes:
        performative_coef: weight of the world's answer.
        entropy_coef: weight of the entropy, in units of the range of the world's rewards.
    """

    performative_coef: Coefficient
    entropy_coef: Coefficient


class Run:
    """One ascent from one start.

    Attributes:
        logits: where the run is now.
        policy: the best policy met, ``[S, A]``, and its value ``value``.
        gap: first-order gap at ``policy``.
        history: ``J`` of every policy met.
    """

    def __init__(self, problem: PerformativeMDP, logits: Tensor) -> None:
        self.problem = problem
        self.logits = logits.clone()
        self.policy = torch.softmax(logits, -1)
        self.value = -torch.inf
        self.gap = torch.inf
        self.history: list[float] = []

    def advance(self, n_iterations: int, schedule: Schedule, step: Step, tolerance: float = 0.0) -> None:
        """Make a whole scheduled run of at most ``n_iterations`` steps, from the current logits.

        Stops early once the weights have reached their final values and the first-order gap is below ``tolerance``.
        """
        scale = reward_scale(self.problem)
        final = (schedule.performative_coef(1.0), schedule.entropy_coef(1.0))
        for iteration in range(n_iterations):
            progress = iteration / n_iterations
            alpha, entropy = schedule.performative_coef(progress), schedule.entropy_coef(progress)
            terms = gradient_terms(self.problem, self.logits, entropy * scale, with_response=alpha != 0.0)
            gradient = terms.policy + alpha * terms.response
            self._note(terms, gradient)
            if (alpha, entropy) == final and self.gap <= tolerance:
                return
            self.logits += step(gradient)

    def _note(self, terms: GradientTerms, gradient: Tensor) -> None:
        evaluation = terms.evaluation
        value = float(self.problem.rho @ evaluation.plain_state_values())
        if not bool(torch.isfinite(gradient).all()):
            raise ValueError(f"the response map gave a gradient that is not finite, at a policy of value {value}")
        self.history.append(value)
        if value > self.value:
            self.value, self.policy = value, evaluation.pi
            self.gap = first_order_gap(gradient, evaluation.pi)


def first_order_gap(gradient: Tensor, pi: Tensor) -> float:
    """Return ``max_q <grad_pi J, q - pi>`` from the gradient ``[S, A]`` with respect to softmax logits."""
    # Dividing by pi gives the gradient with respect to the table, centred per state.
    centred = gradient / pi.clamp_min(torch.finfo(pi.dtype).tiny)
    return float(centred.max(-1).values.clamp_min(0.0).sum())


def reward_scale(problem: PerformativeMDP) -> float:
    """Return the range of the unshifted world's rewards: what entropy is measured against."""
    rewards = problem.unshifted().rewards
    return float(rewards.max() - rewards.min()) or 1.0


def fixed_step(learning_rate: float) -> Step:
    """Return plain gradient steps of size ``learning_rate``."""
    return lambda gradient: learning_rate * gradient


def adam_step(learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> Step:
    """Return Adam's steps (torch's own implementation), with moments of their own."""
    state: list[tuple[Tensor, torch.optim.Adam]] = []

    def step(gradient: Tensor) -> Tensor:
        if not state:
            moved = torch.zeros_like(gradient)
            state.append((moved, torch.optim.Adam([moved], lr=learning_rate, betas=betas, maximize=True)))
        moved, optimizer = state[0]
        before = moved.clone()
        moved.grad = gradient
        optimizer.step()
        return moved - before

    return step
