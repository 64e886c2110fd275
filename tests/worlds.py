"""The registered worlds by kind, with the step limit of their episodes (``None``: the world ends them itself)."""

import gymnasium as gym
from gymnasium import spaces

import perf_envs


def _is_tabular(env_id):
    return isinstance(gym.make(env_id).action_space, spaces.Discrete)


ALL_WORLDS = {env_id: gym.spec(env_id).max_episode_steps for env_id in perf_envs.WORLDS}
TABULAR_WORLDS = {env_id: limit for env_id, limit in ALL_WORLDS.items() if _is_tabular(env_id)}
CONTINUOUS_WORLDS = {env_id: limit for env_id, limit in ALL_WORLDS.items() if env_id not in TABULAR_WORLDS}
