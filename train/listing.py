"""What there is: worlds and algorithms, as ``python -m train list`` prints them."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from perf_envs.problem import Problem
from perf_envs.registration import WORLDS, split_variant
from perf_envs.validation import check_choice
from train.evaluators import World
from train.fitting import applies
from train.naming import world_name
from train.registry import algorithm_names, find_algorithm
from train.settings import RUN_KEYS
from train.yardstick import best_value

WHAT = ("all", "worlds", "algorithms")


def print_lists(what: str, envs: Iterable[str] = (), algos: Iterable[str] = ()) -> None:
    """Print the lists of worlds and algorithms.

    Args:
        what: ``"all"``, ``"worlds"`` or ``"algorithms"``.
        envs: worlds that are listed beside those that are registered.
        algos: algorithms, likewise.

    Raises:
        ValueError: there is no such list, world or algorithm.
    """
    check_choice("what", what, WHAT)
    worlds = list(dict.fromkeys([*WORLDS, *(split_variant(world_name(env))[0] for env in envs)]))
    names = list(dict.fromkeys([*algorithm_names(), *(find_algorithm(algo).name for algo in algos)]))
    if what != "algorithms":
        print("\n\n".join(describe_world(env_id) for env_id in worlds))
    if what == "all":
        print()
    if what != "worlds":
        print("\n\n".join(describe_algorithm(name, worlds) for name in names))


def describe_world(env_id: str) -> str:
    """Return what there is to say about a world: spaces, variants, best value, what is known."""
    with contextlib.closing(World(env_id).make()) as env:
        problem = env.get_wrapper_attr("problem") if env.has_wrapper_attr("problem") else None
        spaces = f"observations {env.observation_space}, actions {env.action_space}"
    variants = ", ".join(WORLDS[env_id].variants) if env_id in WORLDS else ""
    rest = (f"variants: {variants or 'none'}", f"known: {_known(problem)}", f"best J: {_optimum(env_id, problem)}")
    return _entry(f"{env_id}: {spaces}", *rest)


def describe_algorithm(name: str, worlds: Sequence[str]) -> str:
    """Return what there is to say about an algorithm: knowledge, worlds it can act in, settings.

    Args:
        name: its name.
        worlds: the worlds in question, by id.
    """
    algorithm = find_algorithm(name)
    able = [env_id for env_id in worlds if applies(name, env_id)]
    where = "all worlds" if len(able) == len(worlds) else ", ".join(able) or "none of these worlds"
    knows = "uses the response map" if algorithm.uses_response_map else "does not use the response map"
    settings = f"as {algorithm.variant_of}, with settings of its own"
    if algorithm.variant_of is None:
        settings = ", ".join(key for key in algorithm.hyperparameters if key not in RUN_KEYS)
    return _entry(f"{name}: {algorithm.label}, {knows}", f"acts in {where}", f"settings: {settings}")


def _entry(title: str, *lines: str) -> str:
    indented = [textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="        ") for line in lines]
    return "\n".join([title, *indented])


def _known(problem: Any) -> str:
    """Return what is known about a world, in words."""
    if not isinstance(problem, Problem):
        return "that it responds; values are played"
    found = ["response map"]
    example = problem.policies.initial()
    for what, figure in (("value", problem.value(example)), ("stability gap", problem.stability_gap(example))):
        found += [] if figure is None else [what]
    return ", ".join(found)


def _optimum(env_id: str, problem: Any) -> str:
    best = best_value(problem, env_id, {})
    return "unknown" if best is None else f"{best:.6g}"
