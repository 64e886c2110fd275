"""What a planner returns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PlanningResult:
    """The outcome of planning on a known response map.

    Attributes:
        policy: the best policy found, ``[S, A]``.
        value: its performative value ``J`` (without entropy).
        history: ``J`` along the way to it, one entry per iteration of the winning start.
        n_iter: gradient evaluations spent, over all starts.
        converged: whether the first-order gap at ``policy`` is below the tolerance.
        method: name of the method.
        gap: first-order gap: the most that what the method ascends could still gain, to first order, by moving towards
            any other policy.
        start_values: the largest ``J`` of every run, from every start, best first; empty for methods with one start.
    """

    policy: Tensor
    value: float
    history: Tensor
    n_iter: int
    converged: bool
    method: str
    gap: float
    start_values: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))

    def warn_unless_converged(self) -> PlanningResult:
        """Warn if the method stopped early; return the result."""
        if not self.converged:
            warnings.warn(
                f"{self.method} stopped before it converged (first-order gap {self.gap:.2g}): "
                "allow more iterations, or read the result as a lower bound",
                stacklevel=3,
            )
        return self
