"""Which algorithms can act in which worlds. Imports no agents: reports have no need to wait for them."""

from __future__ import annotations

from perf_envs import CONTINUOUS_WORLDS
from perf_envs.variants import SEPARATOR

#: Algorithms that hold a number for every action in every state: there is no such table of continuous actions.
TABULAR_ONLY = ("rr", "rga", "drr", "mdrr", "zofw")


def applies(algo: str, env: str) -> bool:
    """Whether an algorithm can act in a world or a variant of one."""
    return not (algo in TABULAR_ONLY and env.partition(SEPARATOR)[0] in CONTINUOUS_WORLDS)
