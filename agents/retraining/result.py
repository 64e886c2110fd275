"""What a retraining method returns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class RetrainingResult:
    """The outcome of repeated retraining; ``n`` retrainings make ``n + 1`` policies, the start included.

    Occupancies are discounted state-action occupancies, unnormalised, without absorbing states.

    Attributes:
        policy: the last policy, ``[S, A]``.
        value: its performative value ``J``.
        history: ``J`` of every policy, ``[n + 1]``.
        policies: every policy, ``[n + 1, S, A]``.
        planned: the occupancies planned for the world as it stood, ``[n + 1, S, A]``; the first is that of the start
            policy in the world that answers it.
        induced: the occupancies of the policies in the worlds that answer them, ``[n + 1, S, A]``.
        planned_change: relative change ``|d_t+1 - d_t| / |d_t|`` of the planned occupancies, ``[n]`` (the ``d_diff`` of
            the published code).
        induced_change: the same of the induced ones.
        residuals: residual of every program solved, ``[n]``.
        deployments: number of deployments before every policy was ready, ``[n + 1]``.
        env_steps: number of environment steps until then, ``[n + 1]``; 0 with exact dynamics.
        n_iter: retrainings ``n``.
        converged: whether the last relative change of the planned occupancy is at most the tolerance.
        method: name of the method.
        stability_gap: ``max_q V(q; pi) - V(pi; pi)`` of the last policy.
        stability_bound: what the regularisation explains of it, see :func:`agents.retraining.stability_bound`.
    """

    policy: Tensor
    value: float
    history: Tensor
    policies: Tensor
    planned: Tensor
    induced: Tensor
    planned_change: Tensor
    induced_change: Tensor
    residuals: Tensor
    deployments: Tensor
    env_steps: Tensor
    n_iter: int
    converged: bool
    method: str
    stability_gap: float
    stability_bound: float

    def warn_unless_converged(self) -> RetrainingResult:
        """Warn if the policies still moved at the end; return the result."""
        if not self.converged:
            warnings.warn(
                f"{self.method} had not settled after {self.n_iter} retrainings (the occupancy still changed by "
                f"{float(self.planned_change[-1]):.2g} of its size): allow more iterations or regularise more",
                stacklevel=4,
            )
        return self
