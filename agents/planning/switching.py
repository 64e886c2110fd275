"""Leave a local maximum, or a kink, by moving the policy towards one action in one state at a time.

Where rewards or transitions favour what is done often, many deterministic policies are local maxima of ``J`` and no
gradient leads from one to the next. Trying every action in every state does: ``S A`` values, no gradients. With ever
smaller shares the same search climbs along kinks of the response, where gradients point across.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.planning.ascent import value_rounding, value_scale
from perf_envs import PerformativeMDP
from perf_envs.exact import evaluate

#: A switch has to gain more than this, relative to the scale of the values: rounding must not keep the search going.
_SMALLEST_GAIN = 1e-9


def switch_states(problem: PerformativeMDP, policy: Tensor, n_evaluations: int, share: float = 1.0) -> Tensor:
    """Return ``policy`` with one action given ``share`` more wherever that raises ``J``, until no single switch does.

    Args:
        problem: the world.
        policy: ``[S, A]``.
        n_evaluations: values to compute at most; the most visited states are tried first.
        share: weight of the action in the mixture with what the state did so far; 1 makes it certain.
    """
    value, occupancy = _value(problem, policy)
    smallest_gain = max(_SMALLEST_GAIN * share * value_scale(problem), 0.01 * value_rounding(problem))
    untried = switches = [
        (state, action) for state in occupancy.argsort(descending=True).tolist() for action in range(problem.n_actions)
    ]
    for _ in range(n_evaluations):
        if not untried:
            break
        (state, action), untried = untried[0], untried[1:]
        switched = policy.clone()
        switched[state] *= 1.0 - share
        switched[state, action] += share
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
