"""Somebody else's world, with a native vector form, registered when this module is imported.

The agent sees how many steps it has made and how often it has chosen 1; choosing 1 pays ``bonus``; it ends when 1 was
chosen ``size`` times. Nothing is left to chance but the first observation's second entry, ``0`` or ``1``.
"""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class Countdown(gym.Env):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, size=3, bonus=1.0, render_mode=None):
        self.size, self.bonus, self.render_mode = size, bonus, render_mode
        self.observation_space = spaces.Box(0.0, 1e6, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.chosen = 0, int(self.np_random.integers(2))
        return np.array([self.steps, self.chosen], np.float32), {}

    def step(self, action):
        self.steps += 1
        self.chosen += int(action)
        observation = np.array([self.steps, self.chosen], np.float32)
        return observation, self.bonus * action, self.chosen >= self.size, False, {"chosen": self.chosen}


class CountdownVectorEnv(VectorEnv):
    """The native form. ``reuses`` writes all observations into the same memory."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs=1, max_episode_steps=None, size=3, bonus=1.0, reuses=False, render_mode=None):
        self.num_envs, self.limit, self.size, self.bonus, self.reuses = num_envs, max_episode_steps, size, bonus, reuses
        self.render_mode = render_mode
        self.single_observation_space = spaces.Box(0.0, 1e6, (2,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.shown = np.zeros((num_envs, 2), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._start(np.ones(self.num_envs, bool))
        return self._show(), {}

    def step(self, actions):
        self.shown += np.stack([np.ones(self.num_envs), actions], 1)
        terminated = self.shown[:, 1] >= self.size
        truncated = np.zeros_like(terminated) if self.limit is None else self.shown[:, 0] >= self.limit
        infos = {"chosen": self.shown[:, 1].copy(), "_chosen": np.ones(self.num_envs, bool)}
        over = terminated | truncated
        if over.any():
            last = {"final_info": infos, "_final_info": over}
            infos = {"final_obs": self.shown.copy(), "_final_obs": over, **infos, **last}
            self._start(over)
        return self._show(), self.bonus * actions, terminated, truncated, infos

    def _start(self, which):
        self.shown[which, 0] = 0
        self.shown[which, 1] = self.np_random.integers(2, size=which.sum())

    def _show(self):
        return self.shown if self.reuses else self.shown.copy()


class Configurable(CountdownVectorEnv):
    """Takes the mode as Gymnasium's own vector environments do; the next step is its default."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs=1, autoreset_mode=AutoresetMode.NEXT_STEP, **kwargs):
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        super().__init__(num_envs, **kwargs)


class Unlimited(CountdownVectorEnv):
    """Knows no step limit."""

    def __init__(self, num_envs=1, size=3, bonus=1.0):
        super().__init__(num_envs, size=size, bonus=bonus)


class Late(CountdownVectorEnv):
    """Resets on the next step only (or so it says)."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012


class Lending(CountdownVectorEnv):
    """Says that it reuses its observations."""

    copy = False


class Silent(CountdownVectorEnv):
    """Does not tell how episodes have ended."""

    def step(self, actions):
        return *super().step(actions)[:4], {}


class Shared:
    """A factory, which is not a class."""

    def __call__(self, **kwargs):
        return Configurable(**kwargs)


def _register(name, vector_entry_point, **kwargs):
    if f"{name}-v0" not in gym.registry:
        gym.register(f"{name}-v0", entry_point=Countdown, vector_entry_point=vector_entry_point, **kwargs)


_register("Countdown", CountdownVectorEnv, max_episode_steps=5)
_register("CountdownConfigurable", Configurable, max_episode_steps=5)
_register("CountdownFactory", Shared(), max_episode_steps=5)
_register("CountdownUnlimited", Unlimited)
_register("CountdownLate", Late, max_episode_steps=5)
_register("CountdownLending", Lending, max_episode_steps=5)
_register("CountdownSilent", Silent, max_episode_steps=5)
_register("CountdownMissing", "no_such_module_of_anybody:World", max_episode_steps=5)
