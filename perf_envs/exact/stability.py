"""Performatively stable policies by best-response iteration: ``pi <- an optimal policy of F(pi)``.

A deterministic policy that is its own best response is stable. Where the iteration returns to an earlier policy instead
it goes round in a circle for ever, and the circle is the answer: no sequence of best responses settles there.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from perf_envs.exact.control import optimal_policy
from perf_envs.exact.values import check_problem, evaluate
from perf_envs.problem import PerformativeMDP
from perf_envs.tensor_checks import as_policy
from perf_envs.validation import check_count


@dataclass(frozen=True, eq=False)
class BestResponseResult:
    """Where best-response iteration ended.

    Attributes:
        policy: the last policy, ``[S, A]``.
        stable: whether it is its own best response.
        cycle: the policies visited over and over; empty if the iteration settled or ran out of iterations.
        gap: stability gap of ``policy``; of the one before it if the iterations ran out.
        n_iter: best responses computed.
    """

    policy: Tensor
    stable: bool
    cycle: tuple[Tensor, ...]
    gap: float
    n_iter: int


def stable_policy(
    problem: PerformativeMDP, start: object | None = None, n_iterations: int = 1000, tolerance: float = 1e-9
) -> BestResponseResult:
    """Iterate best responses until a policy is its own best response or one comes back.

    Args:
        problem: the world.
        start: policy to start from, ``[S, A]``; by default the best response to the unshifted world.
        n_iterations: best responses at most.
        tolerance: stability gap, relative to the range of the rewards over ``1 - gamma`` (the most that two policies
            can differ by), up to which a policy is stable.

    Warns:
        UserWarning: the iterations ran out before the one or the other.
    """
    check_problem(problem)
    check_count("n_iterations", n_iterations)
    if start is None:
        pi, _ = optimal_policy(problem.unshifted())
    else:
        pi = as_policy(start, problem.n_states, problem.n_actions, "start").detach()
    visited = [pi]
    for count in range(1, n_iterations + 1):
        answer = problem.response(pi).detach()
        response, _ = optimal_policy(answer, start=pi)
        gap = evaluate(answer, pi).gain(response, problem.rho)
        if gap <= tolerance * float(answer.rewards.max() - answer.rewards.min()) / (1.0 - problem.gamma):
            return BestResponseResult(pi, True, (), gap, count)
        for index, earlier in enumerate(visited):
            if torch.equal(earlier, response):
                return BestResponseResult(pi, False, tuple(visited[index:]), gap, count)
        visited.append(response)
        pi = response
    warnings.warn(
        f"best responses neither settled nor came back within {n_iterations} iterations (stability gap {gap:.2g})",
        stacklevel=2,
    )
    return BestResponseResult(pi, False, (), gap, n_iterations)
