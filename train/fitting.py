"""Which algorithms can act in which worlds."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from agents import make_vec_env
from perf_envs.registration import split_variant
from train.registry import algorithm_names, find_algorithm


@functools.cache
def applies(algo: str, env: str) -> bool:
    """Whether an algorithm can act in a world or a variant of one.

    Raises:
        ValueError: there is no such algorithm, or no such world.
    """
    env_id, arguments = split_variant(env)
    venv = make_vec_env(env_id, 1, env_kwargs=arguments)
    try:
        problem = venv.get_attr("problem", indices=[0])[0] if venv.has_attr("problem") else None
        return find_algorithm(algo).supports(venv, problem)
    finally:
        venv.close()


def check_applies(algos: Sequence[str], env: str) -> None:
    """Raise ``ValueError`` if none of the algorithms can act in a world, with those that can."""
    if not any(applies(algo, env) for algo in algos):
        able = [name for name in algorithm_names() if applies(name, env)]
        space = make_vec_env(split_variant(env)[0], 1).action_space
        raise ValueError(
            f"algo must be one of {', '.join(able)} in {env}, whose action space is {space}, got {', '.join(algos)}"
        )
