"""Planning on a known response map, with exact gradients."""

from agents.planning.conservative import conservative_policy_iteration
from agents.planning.gradient import gradient_ascent, log_barrier, natural_policy_gradient
from agents.planning.iteration import policy_iteration, value_iteration
from agents.planning.pepg import pepg
from agents.planning.result import PlanningResult

__all__ = [
    "PlanningResult",
    "conservative_policy_iteration",
    "gradient_ascent",
    "log_barrier",
    "natural_policy_gradient",
    "pepg",
    "policy_iteration",
    "value_iteration",
]
