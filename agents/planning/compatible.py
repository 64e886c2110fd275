"""Natural steps for log-linear policies: the compatible approximation, by conjugate gradients.

For ``pi(a|s)`` proportional to ``pi_0(a|s) exp(phi(s,a) . theta)`` the score is ``psi(s,a) = phi(s,a) - E_pi phi(s,.)``
and

    F = E_{s~d, a~pi} psi psi',      grad J = sum_{s,a} pi(a|s) g(s,a) psi(s,a)

with ``g`` the gradient with respect to the table. The natural direction ``w = F^+ grad J`` is also the least squares
fit of ``g / d`` by ``psi . w`` under ``d`` and ``pi`` (Kakade 2001; Sutton et al. 2000). Only products of ``F`` with
vectors are computed, each at the cost of a pass over ``phi``.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from agents.planning.ascent import Step, trust_region
from perf_envs.exact import GradientTerms

#: Residual at which conjugate gradients stop, relative to the gradient. An earlier stop would still ascend.
_RESIDUAL = 1e-10


class LogLinear:
    """The class of policies ``pi_0 exp(phi theta)``.

    Args:
        features: ``phi [S, A, K]``, float64.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def gradient(self, table_gradient: Tensor, pi: Tensor) -> Tensor:
        """Return the gradient with respect to ``theta [K]`` from that with respect to the table ``[S, A]``, centred."""
        return torch.einsum("sa,sak->k", pi * table_gradient, self.features)

    def natural_direction(self, table_gradient: Tensor, terms: GradientTerms) -> Tensor:
        """Return ``F^+ grad J`` as ``[K]``; states that are never visited count neither here nor there."""
        pi = terms.evaluation.pi
        weights = terms.occupancy[:, None] * pi
        visited = (terms.occupancy > 0.0)[:, None]
        target = self.gradient(torch.where(visited, table_gradient, 0.0), pi).numpy()

        def product(vector: np.ndarray) -> np.ndarray:
            scores = self.features @ torch.from_numpy(np.asarray(vector, dtype=np.float64)).flatten()
            scores = scores - (pi * scores).sum(-1, keepdim=True)
            return np.asarray(torch.einsum("sa,sak->k", weights * scores, self.features).numpy())

        size = self.features.shape[-1]
        fisher = LinearOperator((size, size), matvec=product, dtype=np.float64)
        direction, _ = cg(fisher, target, rtol=_RESIDUAL, maxiter=2 * size)
        return torch.from_numpy(direction)

    def natural_step(self, learning_rate: float, max_divergence: float) -> Step:
        """Return natural gradient steps within the class, as changes of the logits ``[S, A]``."""

        def step(gradient: Tensor, terms: GradientTerms) -> Tensor:
            direction = self.features @ self.natural_direction(gradient, terms)
            return trust_region(direction, terms, learning_rate, max_divergence)

        return step
