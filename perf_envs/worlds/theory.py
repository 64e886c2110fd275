"""Small worlds on which statements of the theory are sharp. They stand still: their response ignores the policy.

Source: Agarwal, Kakade, Lee and Mahajan, "On the Theory of Policy Gradient Methods: Optimality, Approximation, and
Distribution Shift", JMLR 22 (2021), arXiv 1908.00261.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.problem import ConstantResponse, PerformativeMDP
from perf_envs.validation import check_count, check_number


def nonconcavity_witness(reward: float = 1.0, gamma: float = 0.9) -> PerformativeMDP:
    """Return the world whose value is neither concave in the policy table nor in softmax logits (Figure 1, Lemma 3.1).

    Start in state 0; action 0 ends the episode without reward, action 1 leads to state 1. There action 0 ends it with
    the reward, action 1 without. States 2, 3 and 4 are the ends. Hence ``J(pi) = pi(1|0) pi(0|1) reward``: what is paid
    in the second step is ``reward / gamma``, so that the discount drops out.

    Args:
        reward: ``r``, the largest value, > 0.
        gamma: discount.
    """
    check_number("reward", reward, above=0.0)
    gamma = check_number("gamma", gamma, above=0.0, below=1.0)
    successors = torch.tensor([[2, 1], [3, 4], [2, 2], [3, 3], [4, 4]])
    rewards = torch.zeros(5, 2, dtype=torch.float64)
    rewards[1, 0] = reward / gamma
    still = Dynamics(successors[:, :, None], _certain(5, 2), rewards, absorbing=torch.arange(5) >= 2)
    return PerformativeMDP(ConstantResponse(still), _from(0, 5), gamma)


def vanishing_gradient_chain(length: int = 20) -> PerformativeMDP:
    """Return the chain on which random policies see no gradient, however far from optimal (Figure 2, Proposition 4.1).

    States ``0 .. H+1``, four actions. In ``1 .. H`` action 0 moves forward and the other three move back; state 0 leads
    to state 1 whatever is done. State ``H+1`` leads to itself and is the only one that pays: 1 for action 0. The
    discount is ``H / (H+1)``, the start state 0.

    Args:
        length: ``H``, at least 1.
    """
    length = check_count("length", length)
    states = torch.arange(length + 2)
    successors = (states[:, None] + torch.tensor([1, -1, -1, -1])).clamp(max=length + 1)
    successors[0], successors[-1] = 1, length + 1
    rewards = torch.zeros(length + 2, 4, dtype=torch.float64)
    rewards[-1, 0] = 1.0
    still = Dynamics(successors[:, :, None], _certain(length + 2, 4), rewards)
    return PerformativeMDP(ConstantResponse(still), _from(0, length + 2), length / (length + 1.0))


def _certain(n_states: int, n_actions: int) -> Tensor:
    return torch.ones(n_states, n_actions, 1, dtype=torch.float64)


def _from(state: int, n_states: int) -> Tensor:
    rho = torch.zeros(n_states, dtype=torch.float64)
    rho[state] = 1.0
    return rho
