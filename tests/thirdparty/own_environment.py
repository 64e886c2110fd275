"""An environment that can be deployed to, and of which nothing else is known."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Crossing(gym.Env):
    """What everybody does pays less."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self):
        self.share = np.full(3, 1.0 / 3.0)

    def deploy(self, policy):
        self.share = policy(np.random.default_rng(0).uniform(-1.0, 1.0, (64, 2)).astype(np.float32)).mean(0)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return self._look(), {}

    def step(self, action):
        self.n_steps += 1
        return self._look(), float([1.0, 0.8, 0.5][action] - self.share[action]), self.n_steps >= 10, False, {}

    def _look(self):
        return self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)


gym.register("Crossing-v0", Crossing)
