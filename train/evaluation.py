"""What a policy is worth when it is played in the world that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from perf_envs import PerformativeVectorEnv
from train.judges import Actor, Policy, find_judge

#: Episodes that are played to estimate the returns of a final policy.
N_EPISODES = 1000


@dataclass(frozen=True)
class Returns:
    """Returns of episodes ``[n]``: as they were paid, and discounted."""

    plain: NDArray[np.float64]
    discounted: NDArray[np.float64]

    def figures(self) -> dict[str, float | int]:
        """Return means and standard errors."""
        figures: dict[str, float | int] = {"n_episodes": len(self.plain)}
        for name, values in (("rollout_return", self.plain), ("discounted_return", self.discounted)):
            figures[f"{name}_mean"] = float(values.mean())
            figures[f"{name}_se"] = float(values.std(ddof=1) / np.sqrt(len(values)))
        return figures


def play(env: str, env_kwargs: dict[str, Any], policy: Policy, seed: int, n_episodes: int = N_EPISODES) -> Returns:
    """Deploy a policy and play it, one episode in each of ``n_episodes`` sub-environments of one world.

    The world has answered in full, also where ``env_kwargs`` make it adapt gradually.

    Args:
        env: id of the world.
        env_kwargs: its arguments.
        policy: as it is saved, see :mod:`train.judges`.
        seed: seed of the world and of the actions.
        n_episodes: how many.

    Raises:
        ValueError: the world has no native vector form, or does not take the policy.
    """
    venv = gym.make_vec(
        env,
        num_envs=n_episodes,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP,
        **{**env_kwargs, "adaptation_rate": 1.0, "deployment": "declared"},
    )
    if not isinstance(venv, PerformativeVectorEnv):
        raise ValueError(f"env must have a native vector form, got {env!r}")
    judge = find_judge(venv.problem)
    try:
        venv.reset(seed=seed)
        venv.deploy(judge.deployed(policy))
        # Another stream than the world's, which is default_rng(seed): actions must not foretell outcomes.
        return _play_once(venv, judge.actor(policy), np.random.default_rng((seed, 1)))
    finally:
        venv.close()


def _play_once(venv: PerformativeVectorEnv, act: Actor, rng: np.random.Generator) -> Returns:
    plain, discounted, discount = np.zeros(venv.num_envs), np.zeros(venv.num_envs), 1.0
    playing = np.ones(venv.num_envs, dtype=np.bool_)
    while playing.any():
        _, rewards, terminated, truncated, _ = venv.step(act(venv.state, rng))
        paid = np.where(playing, rewards, 0.0)  # sub-environments that are through have begun another episode
        plain += paid
        discounted += discount * paid
        discount *= venv.problem.gamma
        playing &= ~(terminated | truncated)
    return Returns(plain, discounted)
