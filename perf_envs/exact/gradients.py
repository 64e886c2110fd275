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

from perf_envs.exact.values import Evaluation, check_problem, evaluate, mean
from perf_envs.problem import PerformativeMDP
from perf_envs.tensor_checks import as_floats, as_policy


@dataclass(frozen=True, eq=False)
class GradientTerms:
    """The terms of ``grad J`` with respect to the policy table, each ``[S, A]``, and the value they belong to.

    Tables move within their rows, so each term is centred: ``sum_a pi(a|s) term(s,a) = 0``. Then ``pi * term`` is the
    gradient with respect to softmax logits, and ``term / d(s)`` the natural gradient.

    Attributes:
        policy: the myopic gradient ``d(s) A(s,a) / (1-gamma)``, of the entropy at fixed dynamics too, if regularised.
        response: the reward and dynamics terms together, before any ``performative_coef``.
        evaluation: the policy evaluated in the world's answer.
        occupancy: ``d [S]``.
    """

    policy: Tensor
    response: Tensor
    evaluation: Evaluation
    occupancy: Tensor


def performative_gradient(
    problem: PerformativeMDP, logits: object, performative_coef: float = 1.0, entropy_coef: float = 0.0
) -> Tensor:
    """Return the gradient of ``J(softmax(logits))``, by the theorem; of a world that answers at random, its average.

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
    check_problem(problem)
    table = as_floats("logits", logits).detach()
    if tuple(table.shape) != (problem.n_states, problem.n_actions):
        raise ValueError(f"logits must have shape ({problem.n_states}, {problem.n_actions}), got {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()):
        raise ValueError("logits must be finite")
    pi = torch.softmax(table, dim=-1)
    gradients = []
    for one in problem.realisations:
        terms = gradient_terms(one, pi, entropy_coef, with_response=performative_coef != 0.0)
        gradients.append(pi * (terms.policy + performative_coef * terms.response))
    return mean(gradients)


def gradient_terms(
    problem: PerformativeMDP, pi: object, entropy_coef: float = 0.0, with_response: bool = True
) -> GradientTerms:
    """Return the terms of the performative policy gradient at a policy table ``pi [S, A]``.

    Without ``with_response`` the response map is not differentiated and ``response`` is zero. Of a world that answers
    at random these are the terms at its answer without noise.

    Raises:
        ValueError: ``pi`` is not a policy; or the response map does not pass gradients on, or none that are finite.
    """
    check_problem(problem)
    pi = as_policy(pi, problem.n_states, problem.n_actions).detach()
    moving = pi.clone().requires_grad_(with_response)
    answer = problem.response(moving)
    evaluation = evaluate(answer.detach() if with_response else answer, pi, entropy_coef)
    occupancy = evaluation.occupancy(problem.rho)
    density = occupancy[:, None] / (1.0 - problem.gamma)
    policy = density * evaluation.advantages()
    if not with_response:
        return GradientTerms(policy, torch.zeros_like(policy), evaluation, occupancy)
    # d, pi, A and V are numbers here; only P_pi and r_pi move with pi.
    payoff = answer.rewards + problem.gamma * answer.expected_next(evaluation.levelled_values())
    if not payoff.requires_grad:
        raise ValueError(
            "the response map returned dynamics without gradients: the performative gradient needs one that is "
            "differentiable in pi (performative_coef=0 gives the myopic gradient of any world)"
        )
    (response,) = torch.autograd.grad((density * pi * payoff).sum(), moving)
    if not bool(torch.isfinite(response).all()):
        raise ValueError("the response map gave a gradient that is not finite")
    return GradientTerms(policy, response - (pi * response).sum(-1, keepdim=True), evaluation, occupancy)
