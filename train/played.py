"""Returns in environments of which no more is known than that they can be stepped and deployed to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents import make_vec_env
from perf_envs import Shift
from train.evaluation import Returns

Floats = NDArray[np.float64]

#: Agents that are stepped side by side.
_N_ENVS = 20
#: Steps after which an episode is left.
_MAX_STEPS = 10_000
#: Deployments after which an environment is taken to have responded in full ...
_MAX_DEPLOYMENTS = 200
#: ... or when it moves by less than this share of its first move.
_AT_REST = 1e-3


#: Draws the actions of all agents of an environment, given what they see: ``act(venv, observations, rng)``.
Act = Callable[[VecEnv, Any, np.random.Generator], NDArray[Any]]


def played_returns(
    env: str,
    env_kwargs: dict[str, Any],
    policy: Any,
    seed: int,
    n_episodes: int,
    gamma: float,
    act: Act | None = None,
) -> Returns:
    """Deploy a policy and play it, as many episodes in each of a few sub-environments.

    Sub-environments that are copies have each its own response, and its chance if it has any: then returns have a row
    for each of them, and standard errors are those of the means of the rows. An environment that says how far it moves
    is deployed to until it comes to rest: it may adapt gradually.

    Args:
        env: id of the environment.
        env_kwargs: its arguments.
        policy: what is deployed.
        seed: seed of the environments and of the actions.
        n_episodes: how many, rounded up to as many for each sub-environment.
        gamma: discount of the discounted returns.
        act: plays it; by default the policy itself is asked at what the agents see.

    Raises:
        ValueError: the environment does not take its arguments, or the policy.
    """
    n_envs = min(_N_ENVS, n_episodes)
    venv = make_vec_env(env, n_envs, seed, env_kwargs)
    try:
        if venv.has_attr("set_deployment"):
            venv.env_method("set_deployment", "declared")
        observations = venv.reset()
        _deploy_in_full(venv, policy)
        games = [_Game(gamma, -(-n_episodes // n_envs)) for _ in range(n_envs)]
        rng = np.random.default_rng((seed, 1))
        while any(game.is_on for game in games):
            observations, rewards, dones, infos = venv.step(
                policy.sample(observations, rng) if act is None else act(venv, observations, rng)
            )
            for game, reward, done, info in zip(games, rewards, dones, infos, strict=True):
                game.step(float(reward), bool(done), bool(info.get("TimeLimit.truncated", False)))
    finally:
        venv.close()
    rows = (n_envs, -1) if isinstance(venv.unwrapped, DummyVecEnv) else (1, -1)
    plain = np.array([game.plain for game in games]).reshape(rows)
    discounted = np.array([game.discounted for game in games]).reshape(rows)
    # What a time limit cuts off is not known: there is no bound of the rewards.
    rest = None if any(game.was_cut for game in games) else 0.0
    return Returns(plain, discounted, rest, gym.spec(env).max_episode_steps)


def _deploy_in_full(venv: VecEnv, policy: Any) -> None:
    """Deploy a policy until no environment moves any more; one whose response is drawn never comes to rest."""
    first = before = _distance(venv.env_method("deploy", policy))
    for _ in range(_MAX_DEPLOYMENTS - 1 if first > 0.0 else 0):
        moved = _distance(venv.env_method("deploy", policy))
        if not _AT_REST * first < moved < before:
            break
        before = moved


def _distance(shifts: list[Any]) -> float:
    """Return how far the environment has moved that has moved farthest, 0 where they do not say."""
    told = [shift for shift in shifts if isinstance(shift, Shift)]
    return max((max(abs(shift.transition), abs(shift.reward)) for shift in told), default=0.0)


class _Game:
    """Episodes of one sub-environment, one after the other."""

    def __init__(self, gamma: float, n_episodes: int) -> None:
        self._gamma, self._left = gamma, n_episodes
        self.plain: list[float] = []
        self.discounted: list[float] = []
        self.was_cut = False
        self._begin()

    @property
    def is_on(self) -> bool:
        """Whether there are episodes to be played."""
        return self._left > 0

    def step(self, reward: float, done: bool, truncated: bool) -> None:
        """Take note of a step."""
        if not self.is_on:
            return
        self._plain += reward
        self._discounted += self._weight * reward
        self._weight *= self._gamma
        self._n_steps += 1
        left = self._n_steps >= _MAX_STEPS
        if done or left:
            self.was_cut |= truncated or left
            self.plain.append(np.nan if left and not done else self._plain)
            self.discounted.append(self._discounted)
            self._left -= 1
            self._begin()

    def _begin(self) -> None:
        self._plain, self._discounted, self._weight, self._n_steps = 0.0, 0.0, 1.0, 0
