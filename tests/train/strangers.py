"""Environments, algorithms and policies of somebody else, registered with Gymnasium alone."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3 import PPO

from perf_envs import Shift


class Hidden(gym.Env[Any, Any]):
    """A shipped world of which nothing is known: it can be deployed to, reset and stepped."""

    def __init__(self, world: str, **kwargs: Any) -> None:
        self._inner: Any = gym.make(world, disable_env_checker=True, deployment="declared", **kwargs).unwrapped
        self.observation_space, self.action_space = self._inner.observation_space, self._inner.action_space
        self.gamma = self._inner.gamma

    def deploy(self, policy: Any) -> Shift:
        shift: Shift = self._inner.deploy(policy)
        return shift

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, _ = self._inner.reset(seed=seed)
        return observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self._inner.step(action)
        return observation, reward, terminated, truncated, {}


class Fair(gym.Env[Any, Any]):
    """Pays at every step what the last deployments have made of it: the share of the second action, and some noise.

    Args:
        length: steps of an episode, ``None`` for one without end.
        rate: how much of the way to its response it goes at a deployment.
        noise: standard deviation of its response.
        tells: whether it says how far it moves.
    """

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def __init__(self, length: int | None = 3, rate: float = 1.0, noise: float = 0.0, tells: bool = True) -> None:
        self.length, self.rate, self.noise, self.tells = length, rate, noise, tells
        self.pay = 0.0

    def deploy(self, policy: Any) -> Shift | None:
        target = float(policy.table[:, 1].mean()) + self.noise * self.np_random.standard_normal()
        move = self.rate * (target - self.pay)
        self.pay += move
        return Shift(0.0, abs(move)) if self.tells else None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_steps = 0
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        return self.n_steps % 2, self.pay, self.n_steps == self.length, False, {}


class Boxed(gym.Env[Any, Any]):
    """Pays the action, which lies in a box that is not centred."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, low: float = 1.0, high: float = 3.0) -> None:
        self.action_space = spaces.Box(low, high, (1,), np.float32)

    def deploy(self, policy: Any) -> None:
        """Stay as it is."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), float(action[0]), True, False, {}


gym.register("HiddenPricing-v0", Hidden, kwargs={"world": "PerformativePricing-v0"})
gym.register("Fair-v0", Fair)
gym.register("FairWithLimit-v0", Fair, max_episode_steps=4)
gym.register("Boxed-v0", Boxed)


class Silent(PPO):
    """Says nothing of itself, and asks nobody."""


class AsksTheProblem(PPO):
    """Says nothing of itself, and asks the world how it responds."""

    asked = "problem"

    def train(self) -> None:
        venv = self.get_env()
        assert venv is not None
        venv.get_attr(self.asked)
        super().train()


class AsksTheDynamics(AsksTheProblem):
    """Asks what is in force."""

    asked = "dynamics"


class Bare:
    """An algorithm without annotations, and of no library."""

    uses_response_map = True
    deploys_itself = True

    def __init__(self, policy, env, seed=None, verbose=0, pace=0.5, depth=None):  # type: ignore[no-untyped-def]
        self.env = env

    @staticmethod
    def supports(problem: Any) -> bool:
        return problem is not None and hasattr(problem, "n_states")

    def learn(self, total_timesteps: int) -> "Bare":
        return self


class NoAlgorithm:
    """Cannot learn."""


def always_first(observation: Any) -> Any:
    """Choose the first of eight prices."""
    return np.eye(8)[0]
