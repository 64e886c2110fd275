"""Which algorithms can act in which worlds. Imports no agents: reports have no need to wait for them."""

from __future__ import annotations

import functools

import gymnasium as gym
from gymnasium import spaces

from perf_envs.registration import split_variant

#: Algorithms that hold a number for every action in every state: there is no such table of continuous actions.
TABULAR_ONLY = ("rr", "rga", "drr", "mdrr", "zofw")


def applies(algo: str, env: str) -> bool:
    """Whether an algorithm can act in a world or a variant of one."""
    return algo not in TABULAR_ONLY or _has_discrete_actions(split_variant(env)[0])


@functools.cache
def _has_discrete_actions(env_id: str) -> bool:
    return isinstance(gym.make(env_id, disable_env_checker=True).action_space, spaces.Discrete)
