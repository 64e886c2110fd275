"""Escape from a local maximum by switching the policy over in one state at a time.

Where rewards or transitions favour what is done often, many deterministic policies are local maxima of ``J`` and no
gradient leads from one to the next. Trying every action in every state does: ``S A`` values, no gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.planning.ascent import value_scale
from perf_envs import PerformativeMDP
from perf_envs.exact import evaluate

#: A switch has to gain more than this, relative to the size of the values: rounding must not keep the search going.
_SMALLEST_GAIN = 1e-9


def switch_states(problem: PerformativeMDP, policy: Tensor, n_evaluations: int) -> Tensor:
    """Return ``policy`` with one action made certain wherever that raises ``J``, until no single switch does.

    Args:
        problem: the world.
        policy: ``[S, A]``.
        n_evaluations: values to compute at most; the most visited states are tried first.
    """
    value, occupancy = _value(problem, policy)
    smallest_gain = _SMALLEST_GAIN * value_scale(problem)
    untried = switches = [
        (state, action) for state in occupancy.argsort(descending=True).tolist() for action in range(problem.n_actions)
    ]
    for _ in range(n_evaluations):
        if not untried:
            break
        (state, action), untried = untried[0], untried[1:]
        switched = policy.clone()
        switched[state] = 0.0
        switched[state, action] = 1.0
        gained = _value(problem, switched)[0] - value
        if gained > smallest_gain:
            policy, value = switched, value + gained
            # Everything is worth another try, the states not yet reached in this round first.
            untried = untried + switches[: len(switches) - len(untried)]
    return policy


def _value(problem: PerformativeMDP, policy: Tensor) -> tuple[float, Tensor]:
    with torch.no_grad():
        evaluation = evaluate(problem.response(policy), policy)
        return float(problem.rho @ evaluation.state_values), evaluation.occupancy(problem.rho)
