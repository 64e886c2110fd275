"""Exact values, gradients and gaps of performative worlds: pure functions on float64 tensors, differentiable."""

from perf_envs.exact.control import optimal_policy, optimality_gap, stability_gap
from perf_envs.exact.gradients import GradientTerms, gradient_terms, performative_gradient
from perf_envs.exact.optima import BestKnown, best_known
from perf_envs.exact.stability import BestResponseResult, stable_policy
from perf_envs.exact.values import (
    Evaluation,
    action_values,
    advantages,
    decoupled_value,
    entropy,
    evaluate,
    occupancy,
    performative_value,
    state_values,
)

__all__ = [
    "BestKnown",
    "BestResponseResult",
    "Evaluation",
    "GradientTerms",
    "action_values",
    "advantages",
    "best_known",
    "decoupled_value",
    "entropy",
    "evaluate",
    "gradient_terms",
    "occupancy",
    "optimal_policy",
    "optimality_gap",
    "performative_gradient",
    "performative_value",
    "stability_gap",
    "stable_policy",
    "state_values",
]
