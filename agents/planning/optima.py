"""Compute the optima shipped with ``perf_envs``: ``python -m agents.planning.optima``.

Only a better policy replaces a shipped one, so the values can never get worse.
"""

from __future__ import annotations

import sys
import warnings

import gymnasium as gym
import torch
from torch import Tensor

from agents.planning.pepg import pepg
from agents.planning.switching import switch_states
from perf_envs import WORLDS, PerformativeEnv, PerformativeMDP
from perf_envs.exact import performative_value
from perf_envs.exact.optima import best_known, save_best_known
from perf_envs.validation import check_choice

COMMAND = "python -m agents.planning.optima"
#: Far more effort than one default call: the shipped value is the yardstick of everything else.
SEEDS, N_STARTS, N_ITERATIONS = 4, 8, (200, 600)
#: Moves of 1, 1/2, 1/4 ... of a state's probability; what a sweep over them may cost, and how many there are.
_HALVINGS, _EVALUATIONS, _MAX_SWEEPS = 20, 4000, 20


def ship(env_id: str) -> float:
    """Plan in a registered world with default arguments, ship the policy if it is the best so far, return its value."""
    world = gym.make(env_id).unwrapped
    if not isinstance(world, PerformativeEnv):
        raise ValueError(f"env_id must be a performative world, got {env_id!r}")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # not converged to the tolerance: the value is still the best known
        results = [
            pepg(world.problem, n_iterations=n_iterations, n_starts=N_STARTS, seed=seed, tolerance=1e-9)
            for n_iterations in N_ITERATIONS
            for seed in range(SEEDS)
        ]
    policy = climb_kinks(world.problem, max(results, key=lambda result: result.value).policy)
    value = float(performative_value(world.problem, policy))
    try:
        known = best_known(world.problem).value
    except ValueError:
        known = -float("inf")
    if value > known:
        save_best_known(env_id, world.problem, policy, f"{COMMAND} {env_id}")
    return max(value, known)


def climb_kinks(problem: PerformativeMDP, policy: Tensor) -> Tensor:
    """Improve a policy by ever smaller moves towards one action in one state, until none of any size helps."""
    for _ in range(_MAX_SWEEPS):
        before = policy
        for halvings in range(_HALVINGS):
            policy = switch_states(problem, policy, _EVALUATIONS, share=0.5**halvings)
        if torch.equal(policy, before):
            break
    return policy


def main(arguments: list[str]) -> None:
    """Ship the optima of the named worlds, or of all."""
    for env_id in arguments or list(WORLDS):
        check_choice("env_id", env_id, WORLDS)
        print(f"{env_id}: J = {ship(env_id):.12f}")


if __name__ == "__main__":
    main(sys.argv[1:])
