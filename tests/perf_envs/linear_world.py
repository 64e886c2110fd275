"""The linear market as its tests use it."""

import gymnasium as gym
import numpy as np

import perf_envs  # noqa: F401 registers the world, for files that are run alone

ID = "LinearPricing-v0"
TWO = {"n_products": 2, "base_demand": [4.0, 3.0], "shift": [1.0, 0.5], "demand_std": [0.5, 0.0]}


def make(**kwargs):
    return gym.make(ID, **kwargs).unwrapped


def life(env, steps=70, seed=0):
    """Return what is seen in a walk of random prices, new episodes included."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    seen = [observation.tolist(), info["round"]]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(rng.uniform(-1, 1, env.action_space.shape))
        seen.append(
            [observation.tolist(), reward, terminated, truncated, *(np.asarray(v).tolist() for v in info.values())]
        )
        if terminated or truncated:
            seen.append(env.reset()[0].tolist())
    return seen
