"""Compute the optima shipped with ``perf_envs``: ``python -m agents.planning.optima [ID | ID@VARIANT ...]``.

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
from perf_envs.variants import split_variant, variant_names

COMMAND = "python -m agents.planning.optima"
#: Seeds, starts and iterations. Far more effort than one default call: the shipped value is the yardstick of everything
#: else. Variants of a world, of which there are many, get less.
EFFORT, EFFORT_FOR_VARIANTS = (4, 8, (200, 600)), (1, 8, (200,))
#: Moves of 1, 1/2, 1/4 ... of a state's probability; what a sweep over them may cost, and how many there are.
_HALVINGS, _EVALUATIONS, _MAX_SWEEPS = 20, 4000, 20


def ship(name: str) -> float:
    """Plan in a registered world or a variant of it, ship the policy if it is the best so far, return its value."""
    env_id, arguments = split_variant(name)
    world = gym.make(env_id, **arguments).unwrapped
    if not isinstance(world, PerformativeEnv):
        raise ValueError(f"name must be a tabular performative world or a variant of one, got {name!r}")
    n_seeds, n_starts, iterations = EFFORT_FOR_VARIANTS if arguments else EFFORT
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # not converged to the tolerance: the value is still the best known
        results = [
            pepg(world.problem, n_iterations=n_iterations, n_starts=n_starts, seed=seed, tolerance=1e-9)
            for n_iterations in iterations
            for seed in range(n_seeds)
        ]
    policy = max(results, key=lambda result: result.value).policy
    if not arguments:
        policy = climb_kinks(world.problem, policy)
    value = float(performative_value(world.problem, policy))
    try:
        known = best_known(world.problem).value
    except ValueError:
        known = -float("inf")
    if value > known:
        save_best_known(name, world.problem, policy, f"{COMMAND} {name}")
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
    """Ship the optima of the named worlds and variants, or of all."""
    everything = [name for env_id in WORLDS for name in (env_id, *variant_names(env_id))]
    for name in arguments or everything:
        check_choice("name", name, everything)
        print(f"{name}: J = {ship(name):.12f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
