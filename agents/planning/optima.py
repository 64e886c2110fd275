"""Compute the optima shipped with ``perf_envs``: ``python -m agents.planning.optima [ID ...] [--from DIR]``.

Only a better policy replaces a shipped one, so the values can never get worse. Where the answer has kinks or steps,
training may find what planning by gradients does not: with ``--from`` the policies of a benchmark's runs take part.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from agents.planning.pepg import pepg
from agents.planning.switching import switch_states
from perf_envs import WORLDS, PerformativeEnv, PerformativeMDP
from perf_envs.exact import performative_value
from perf_envs.exact.optima import best_known, save_best_known
from perf_envs.registration import split_variant, variant_names
from perf_envs.validation import check_choice

COMMAND = "python -m agents.planning.optima"
#: Seeds, starts, iterations, and sweeps along kinks. Far more effort than one default call: the shipped value is the
#: yardstick of everything else. Variants of a world, of which there are many, get less.
EFFORT, EFFORT_FOR_VARIANTS = (4, 8, (200, 600), 20), (1, 8, (200,), 5)
#: A sweep has moves of 1, 1/2, 1/4 ... of a state's probability, and evaluations of each size at most.
_HALVINGS, _EVALUATIONS = 20, 4000


def ship(name: str, folder: Path | None = None) -> float:
    """Look for a better policy than the shipped one of a world, ship it if there is one, return the best value.

    Args:
        name: a registered world, ``ID``, or a variant of it, ``ID@VARIANT``.
        folder: where the results of a benchmark are: its policies take part, instead of one found by planning.

    Raises:
        ValueError: the world is not tabular, or the folder has no policy for it.
    """
    env_id, arguments = split_variant(name)
    world = gym.make(env_id, **arguments).unwrapped
    if not isinstance(world, PerformativeEnv):
        raise ValueError(f"name must be a tabular performative world or a variant of one, got {name!r}")
    problem = world.problem
    n_seeds, n_starts, iterations, n_sweeps = EFFORT_FOR_VARIANTS if arguments else EFFORT
    if folder is None:
        candidates, command = [_planned(problem, n_seeds, n_starts, iterations)], f"{COMMAND} {name}"
    else:
        candidates, command = _trained(name, folder), f"{COMMAND} {name} --from {folder}"
    known = -float("inf")
    with suppress(ValueError):  # none is shipped yet
        best = best_known(problem)
        known = best.value
        candidates.append(best.policy)
    policy = max(candidates, key=lambda candidate: float(performative_value(problem, candidate)))
    if not problem.is_random:
        policy = climb_kinks(problem, policy, n_sweeps)
    value = float(performative_value(problem, policy))
    if value > known:
        save_best_known(name, problem, policy, command)
    return max(value, known)


def _planned(problem: PerformativeMDP, n_seeds: int, n_starts: int, iterations: Sequence[int]) -> Tensor:
    with warnings.catch_warnings():
        # Not converged to the tolerance: the value is still the best known.
        warnings.simplefilter("ignore", UserWarning)
        results = [
            pepg(problem, n_iterations=n_iterations, n_starts=n_starts, seed=seed, tolerance=1e-9)
            for n_iterations in iterations
            for seed in range(n_seeds)
        ]
    return max(results, key=lambda result: result.value).policy


def _trained(name: str, folder: Path) -> list[Tensor]:
    paths = sorted(folder.glob(f"*/{name}/seed_*/policy.npy"))
    if not paths:
        raise ValueError(f"folder must hold the results of a benchmark in {name}, ALGO/{name}/seed_K, got {folder}")
    return [torch.from_numpy(np.load(path)) for path in paths]


def climb_kinks(problem: PerformativeMDP, policy: Tensor, n_sweeps: int) -> Tensor:
    """Improve a policy by ever smaller moves towards one action in one state, until none of any size helps.

    Args:
        problem: the world.
        policy: ``[S, A]``.
        n_sweeps: how often to go through all sizes, at most.
    """
    for _ in range(n_sweeps):
        before = policy
        for halvings in range(_HALVINGS):
            policy = switch_states(problem, policy, _EVALUATIONS, share=0.5**halvings)
        if torch.equal(policy, before):
            break
    return policy


def main(arguments: Sequence[str] | None = None) -> None:
    """Ship the optima of the named worlds and variants, or of all."""
    tabular = [env_id for env_id in WORLDS if isinstance(gym.make(env_id).unwrapped, PerformativeEnv)]
    everything = [name for env_id in tabular for name in (env_id, *variant_names(env_id))]
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("names", nargs="*", metavar="ID", help="a world or ID@VARIANT; all of them without one")
    parser.add_argument("--from", dest="folder", type=Path, metavar="DIR", help="results of a benchmark to climb from")
    options = parser.parse_args(arguments)
    for name in options.names or everything:
        check_choice("name", name, everything)
        print(f"{name}: J = {ship(name, options.folder):.12f}", flush=True)


if __name__ == "__main__":
    main()
