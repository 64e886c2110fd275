"""Figures of saved runs, held against the policies that they are said to be of. Imports no agents.

The value of a saved policy is exact, and computing it takes milliseconds: a result that says something else was edited,
belongs to another run, or was made by a version of the worlds that answered otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym

from perf_envs.problem import Problem
from perf_envs.registration import import_world, split_variant
from train.saved_runs import SavedRun

Figures = dict[str, float]

#: Relative to the value: far above rounding and what solvers leave, far below what matters.
TOLERANCE = 1e-6


def check_figures(runs: Iterable[SavedRun]) -> None:
    """Raise ``ValueError`` at a run whose saved figures are not those of its saved policy, with both."""
    problems: dict[str, Problem[Any]] = {}
    for run in runs:
        if run.result.get("evaluation", "exact") != "exact":
            continue  # a mean of played episodes is not repeated to the last digit
        world = f"{run.result['env']} {run.config.get('env_kwargs')}"
        if world not in problems:
            problems[world] = make_problem(run)
        found = figures(run, problems[world])
        scale = max(1.0, abs(found["performative_value"]))
        for name, value in found.items():
            said = run.result[name]
            if said is None or not abs(said - value) <= TOLERANCE * scale:
                raise ValueError(
                    f"{run.folder / 'result.json'} says that {name} is {said}, but that of policy.npy "
                    f"is {value:.10g}: one of the files was changed or belongs to another run; bench makes the run "
                    "again when its result.json is removed"
                )
        _check_gap(run, scale)


def figures(run: SavedRun, problem: Problem[Any]) -> Figures:
    """Return what the policy of a run is worth.

    Raises:
        ValueError: the policy is none of the world's.
    """
    saved = run.policy()
    try:
        policy = problem.policies.from_array(saved)
        found = {
            "performative_value": problem.value(policy),
            "stability_gap": problem.stability_gap(policy),
            "uniform_value": problem.value(problem.policies.uniform()),
        }
    except ValueError as error:
        raise ValueError(f"{run.folder / 'policy.npy'} is no policy in {run.result['env']}: {error}") from None
    return {name: value for name, value in found.items() if value is not None}


def make_problem(run: SavedRun) -> Problem[Any]:
    """Return the performative problem of the world that a run was made in.

    Raises:
        ValueError: there is no such world, or it is not made with such arguments.
    """
    return make_world(run).problem  # type: ignore[no-any-return]


def make_world(run: SavedRun) -> Any:
    """Return the world that a run was made in, see :func:`make_problem`."""
    path = run.folder / "config.yaml"
    try:
        module = run.config.get("env_module")
        name = run.result["env"]
        import_world(name if module is None else f"{module}:{name}")  # before it is asked for its variants
        env_id = split_variant(name)[0]
        env = gym.make(env_id, **run.config.get("env_kwargs", {})).unwrapped
    except (TypeError, ValueError, gym.error.Error) as error:
        raise ValueError(f"{path}: the world {run.result['env']!r} cannot be made: {error}") from None
    if not isinstance(getattr(env, "problem", None), Problem):
        raise ValueError(f"{path}: env must be a performative world, got {run.result['env']!r}")
    return env


def _check_gap(run: SavedRun, scale: float) -> None:
    best, gap = run.result.get("best_value"), run.result.get("optimality_gap")
    if (best is None) != (gap is None) or (
        best is not None and gap is not None and abs(best - run.result["performative_value"] - gap) > TOLERANCE * scale
    ):
        raise ValueError(
            f"{run.folder / 'result.json'} says that optimality_gap is {gap}, but best_value is {best} and "
            f"performative_value {run.result['performative_value']}"
        )
    given = run.config.get("best_value")
    if given is not None and given != best:
        raise ValueError(f"{run.folder / 'config.yaml'} gives {given} as best_value, but result.json has {best}")
