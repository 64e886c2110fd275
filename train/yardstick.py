"""What finished runs are measured against: looked up when they are read, so that a policy found since counts.

Imports no agents.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from perf_envs.problem import Problem
from perf_envs.registration import import_world, registered_optimum, split_variant


def measured(result: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with the best value known in its world, and its gap to it, both ``None`` if there is none.

    Results written by older versions have both; they stay.

    Args:
        result: of the run.
        config: of the run; a ``best_value`` in it counts before all.
    """
    if "best_value" in result:
        return dict(result)
    best = config.get("best_value")
    if best is None:
        arguments = json.dumps(config.get("env_kwargs", {}), sort_keys=True)
        best = best_known_value(result["env"], arguments, config.get("env_module"))
    gap = None if best is None else best - result["performative_value"]
    return {**result, "best_value": best, "optimality_gap": gap}


@functools.cache
def best_known_value(env: str, arguments: str, module: str | None = None) -> float | None:
    """Return the best performative value known in a world, ``None`` if there is none, or no such world here.

    Args:
        env: id of the world or of a variant.
        arguments: what it is made with, as JSON.
        module: the module that registers it, if it is not shipped.
    """
    kwargs = json.loads(arguments)
    try:
        import_world(env if module is None else f"{module}:{env}")
        env_id = split_variant(env)[0]
        with_problem = gym.make(env_id, disable_env_checker=True, **kwargs)
    except (TypeError, ValueError, gym.error.Error):
        return None
    problem = with_problem.get_wrapper_attr("problem") if with_problem.has_wrapper_attr("problem") else None
    return best_value(problem, env_id, kwargs)


def best_value(problem: Any, env_id: str, arguments: Mapping[str, Any]) -> float | None:
    """Return the value of the best policy that a problem knows, or else what was registered with its world.

    Args:
        problem: what is known about the world, ``None`` for nothing.
        env_id: its id.
        arguments: what it is made with.
    """
    best = problem.best_known() if isinstance(problem, Problem) else None
    return registered_optimum(env_id, arguments) if best is None else best.value
