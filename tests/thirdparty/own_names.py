"""A world in a namespace, and a shipped world with other observations, which has no native vector form."""

import gymnasium as gym
import numpy as np
from own_world import Crowd

from perf_envs import register_world
from perf_envs.wrappers import StateObservation


def features(**kwargs):
    world = gym.make("PerformativePricing-v0", **kwargs)
    return StateObservation(world, np.eye(world.unwrapped.n_states, dtype=np.float32))


register_world("mine/Crowd-v1", Crowd, max_episode_steps=50, variants={"bold": {"shyness": 0.2}})
register_world("Features-v0", features)
