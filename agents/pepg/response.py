"""The world's answer, as PePG differentiates it.

From a batch of states visited under the deployed policy, with a critic ``V``,

    R(theta) = E_s sum_a pi(a|s) [ r_{pi_theta}(s, a) + gamma sum_s' P_{pi_theta}(s'|s, a) V(s') ]

with ``pi(a|s)`` and ``V`` held fixed: its gradient is the reward and the dynamics term of the performative policy
gradient. Summing over actions and successors, instead of scoring the sampled ones, removes their variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perf_envs import PerformativeMDP


@dataclass(frozen=True, eq=False)
class WorldAnswer:
    """The response map of a world, and where a policy has to be asked to feed it.

    Attributes:
        problem: the performative Markov decision process.
        observations: the observation of every state, ``[S, ...]``, as the policy's tensors.
        gamma: the discount the agent learns with.
    """

    problem: PerformativeMDP
    observations: Tensor
    gamma: float

    def objective(self, pi: Tensor, values: Tensor, state_weights: Tensor) -> Tensor:
        """Return ``R(theta)``, a scalar whose gradient runs through the response map only.

        Args:
            pi: the policy's probabilities at every state, ``[S, A]``, with gradient.
            values: the critic at every state, ``[S]``; absorbing states count as 0.
            state_weights: share of the batch in each state, ``[S]``, sums to 1.
        """
        answer = self.problem.response(pi)
        future = torch.where(answer.absorbing, 0.0, values.detach().to(torch.float64))
        payoff = answer.rewards + self.gamma * answer.expected_next(future)
        return (state_weights.to(torch.float64)[:, None] * pi.detach() * payoff).sum()
