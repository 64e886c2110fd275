"""Planning on a known response map, with exact gradients."""

from agents.planning.pepg import pepg
from agents.planning.result import PlanningResult

__all__ = ["PlanningResult", "pepg"]
