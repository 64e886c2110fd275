"""What a policy is worth: exactly, and by playing it in the world that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from perf_envs import PerformativeMDP, PerformativeVectorEnv, exact
from perf_envs.sampling import cumulative, draw

#: Episodes that are played to estimate the returns of a final policy.
N_EPISODES = 1000

Table = NDArray[np.float64]


def best_known_value(problem: PerformativeMDP) -> float | None:
    """Return the best performative value known for a world, ``None`` where there is none."""
    try:
        return exact.best_known(problem).value
    except ValueError:
        return None


def exact_figures(problem: PerformativeMDP, table: Table, best_value: float | None) -> dict[str, float | None]:
    """Return performative value, stability gap and optimality gap (``None`` where no optimum is known) of a policy."""
    with torch.no_grad():
        value = float(exact.performative_value(problem, table))
    return {
        "performative_value": value,
        "stability_gap": exact.stability_gap(problem, table),
        "optimality_gap": None if best_value is None else best_value - value,
    }


def uniform_value(problem: PerformativeMDP) -> float:
    """Return the performative value of choosing every action with the same probability."""
    table = np.full((problem.n_states, problem.n_actions), 1.0 / problem.n_actions)
    with torch.no_grad():
        return float(exact.performative_value(problem, table))


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


def play(env: str, env_kwargs: dict[str, Any], table: Table, seed: int, n_episodes: int = N_EPISODES) -> Returns:
    """Deploy a policy and play it, one episode in each of ``n_episodes`` sub-environments of one world.

    The world has answered in full, also where ``env_kwargs`` make it adapt gradually.
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
    try:
        states, _ = venv.reset(seed=seed)
        venv.deploy(table)
        # Another stream than the world's, which is default_rng(seed): actions must not foretell outcomes.
        return _play_once(venv, states, table, np.random.default_rng((seed, 1)))
    finally:
        venv.close()


def _play_once(venv: PerformativeVectorEnv, states: Any, table: Table, rng: np.random.Generator) -> Returns:
    thresholds = cumulative(table)
    plain, discounted, discount = np.zeros(venv.num_envs), np.zeros(venv.num_envs), 1.0
    playing = np.ones(venv.num_envs, dtype=np.bool_)
    while playing.any():
        actions = draw(thresholds[states], rng.random(venv.num_envs))
        states, rewards, terminated, truncated, _ = venv.step(actions)
        paid = np.where(playing, rewards, 0.0)  # sub-environments that are through have begun another episode
        plain += paid
        discounted += discount * paid
        discount *= venv.problem.gamma
        playing &= ~(terminated | truncated)
    return Returns(plain, discounted)
