"""The names of algorithms and worlds in results, from what a user writes."""

from __future__ import annotations

from perf_envs.registration import canonical_name, import_world
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


def named(block: Block) -> Block:
    """Return a block with algorithms and worlds by the names that they have in results.

    Raises:
        ValueError: there is no such algorithm or module.
    """
    algos = tuple(find_algorithm(algo).name for algo in block.algos)
    return Block(algos, tuple(map(world_name, block.envs)), block.seeds)
