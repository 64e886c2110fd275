"""The performative policy gradient theorem, term by term (Basu et al. 2025, arXiv 2512.20576).

    grad J = 1/(1-gamma) sum_s d(s) sum_a pi(a|s) [ grad log pi(a|s) A(s,a)                      policy
                                                  + grad r_pi(s,a)                               reward
                                                  + gamma sum_s' grad P_pi(s'|s,a) V(s') ]       dynamics

The first term is the *myopic* gradient, what PPO, A2C and REINFORCE follow; the other two are the world's answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perf_envs.exact.values import Evaluation, evaluate
from perf_envs.problem import PerformativeMDP


@dataclass(frozen=True, eq=False)
class GradientTerms:
    """The terms of ``grad J`` with respect to softmax logits, each ``[S, A]``, and the value they belong to.

    Attributes:
        policy: the myopic gradient (with the gradient of the entropy at fixed dynamics, if regularised).
        response: the reward and dynamics terms together, before any ``performative_coef``.
        evaluation: the policy evaluated in the world's answer.
        occupancy: ``d [S]``.
    """

    policy: Tensor
    response: Tensor
    evaluation: Evaluation
    occupancy: Tensor


def performative_gradient(
    problem: PerformativeMDP, logits: Tensor, performative_coef: float = 1.0, entropy_coef: float = 0.0
) -> Tensor:
    """Return the gradient of ``J(softmax(logits))``, by the theorem.

    Args:
        problem: the world.
        logits: softmax logits ``[S, A]``.
        performative_coef: weight ``alpha`` of the world's answer: 1 is the gradient of ``J``, 0 the myopic gradient.
        entropy_coef: weight ``lambda`` of the entropy in the reward.

    Returns:
        float64 ``[S, A]``.

    Raises:
        ValueError: ``logits`` has the wrong shape or is not finite; or ``performative_coef`` is not 0 and the response
            map does not pass gradients on.
    """
    terms = gradient_terms(problem, logits, entropy_coef, with_response=performative_coef != 0.0)
    return terms.policy + performative_coef * terms.response


def gradient_terms(
    problem: PerformativeMDP, logits: Tensor, entropy_coef: float = 0.0, with_response: bool = True
) -> GradientTerms:
    """Return the terms of the performative policy gradient at ``softmax(logits)``.

    Without ``with_response`` the response map is not differentiated and ``response`` is zero.
    """
    logits = torch.as_tensor(logits, dtype=torch.float64).detach()
    if tuple(logits.shape) != (problem.n_states, problem.n_actions):
        raise ValueError(f"logits must have shape ({problem.n_states}, {problem.n_actions}), got {tuple(logits.shape)}")
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("logits must be finite")
    pi = torch.softmax(logits, dim=-1).requires_grad_(with_response)
    answer = problem.response(pi)
    still = answer.detach() if with_response else answer
    evaluation = evaluate(still, pi.detach(), entropy_coef)
    density = evaluation.occupancy(problem.rho)[:, None] * pi.detach() / (1.0 - problem.gamma)
    policy = density * evaluation.advantages()
    if not with_response:
        return GradientTerms(policy, torch.zeros_like(policy), evaluation, evaluation.occupancy(problem.rho))
    # d, pi, A and V are numbers here; only P_pi and r_pi move with pi.
    moving = answer.rewards + problem.gamma * answer.expected_next(evaluation.state_values)
    if not moving.requires_grad:
        raise ValueError(
            "the response map returned dynamics without gradients: the performative gradient needs one that is "
            "differentiable in pi (performative_coef=0 gives the myopic gradient of any world)"
        )
    (on_pi,) = torch.autograd.grad((density * moving).sum(), pi)
    response = through_softmax(on_pi, pi.detach())
    return GradientTerms(policy, response, evaluation, evaluation.occupancy(problem.rho))


def through_softmax(gradient: Tensor, pi: Tensor) -> Tensor:
    """Turn a gradient with respect to ``pi [S, A]`` into one with respect to its softmax logits."""
    return pi * (gradient - (pi * gradient).sum(-1, keepdim=True))
