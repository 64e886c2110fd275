"""The names of algorithms and worlds in results, from what a user writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from perf_envs.registration import canonical_name, import_world, split_variant
from train.plans import Block
from train.registry import find_algorithm


def world_name(given: str) -> str:
    """Return the name of a world in results; the module in front of an id is imported.

    Args:
        given: the id of a world or of one of its variants, ``ID@VARIANT``, or one of these behind ``module:``.

    Raises:
        ValueError: there is no such module.
    """
    return canonical_name(import_world(given))


def import_worlds_of(config: Mapping[str, Any]) -> None:
    """Import the module that registers the world of a saved run; nothing where the world is registered already.

    Args:
        config: the run's ``config.yaml``, which names the module as ``env_module`` if the world is not shipped.

    Raises:
        ValueError: there is no such module, or it does not register the world.
    """
    module, env = config.get("env_module"), config["env"]
    if module is None or env.partition("@")[0] in gym.registry:
        return
    env_id = split_variant(import_world(f"{module}:{env}"))[0]
    if env_id not in gym.registry:
        raise ValueError(f"env_module must register {env_id!r}, but {module!r} does not")


def named(block: Block) -> Block:
    """Return a block with algorithms and worlds by the names that they have in results.

    Raises:
        ValueError: there is no such algorithm or module.
    """
    algos = tuple(find_algorithm(algo).name for algo in block.algos)
    return Block(algos, tuple(map(world_name, block.envs)), block.seeds)
