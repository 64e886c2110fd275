"""Softmax response: the family in which the theory of performative policy gradients is stated.

P_pi(s' | s, a)  proportional to  P0(s' | s, a) exp(kappa psi(s') pi(a|s)),      r_pi(s, a) = r0(s, a) + xi pi(a|s)

Source: Basu et al. 2025, arXiv 2512.20576.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.problem import ResponseMap
from perf_envs.validation import check_number


class SoftmaxResponse(ResponseMap):
    """Transitions tilt towards the states with large ``psi``, rewards grow by ``xi``, the more an action is used.

    Args:
        base_logits: logits of ``P0``, ``[S, A, K]``.
        psi: attraction of each state, ``[S]``.
        base_rewards: ``r0``, ``[S, A]``.
        kappa: strength of the transitions' answer (``kappa = xi = 0`` is an ordinary Markov decision process).
        xi: strength of the rewards' answer, of either sign.
        successors: ``[S, A, K]`` the states that can follow; ``None`` for all states (``K = S``).
    """

    def __init__(
        self,
        base_logits: Tensor,
        psi: Tensor,
        base_rewards: Tensor,
        kappa: float,
        xi: float,
        successors: Tensor | None = None,
    ) -> None:
        self.kappa = check_number("kappa", kappa)
        self.xi = check_number("xi", xi)
        self.base_logits, self.psi, self.base_rewards = base_logits, psi, base_rewards
        self.n_states, self.n_actions = base_rewards.shape
        self._successors = torch.arange(self.n_states).expand(self.n_states, -1) if successors is None else successors
        self._attraction = psi if successors is None else psi[successors]

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the dynamics under ``pi``; closed form, exact gradient by autograd."""
        tilt = self.kappa * pi[:, :, None] * self._attraction
        return Dynamics(
            successors=self._successors,
            probs=torch.softmax(self.base_logits + tilt, dim=-1),
            rewards=self.base_rewards + self.xi * pi,
        )
