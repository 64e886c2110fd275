"""Returns of a policy that is played in the world that responds to it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from perf_envs import PerformativeVectorEnv, Policy

#: Episodes that are played to estimate the returns of a final policy.
N_EPISODES = 1000
#: Deployments that they are spread over where the world answers at random.
N_DEPLOYMENTS = 50
#: Discounted returns are played on until what is missing of their mean is below this share of its standard error ...
NEGLIGIBLE = 0.1
#: ... or, where episodes hardly differ, below this share of what could be earned at most.
_ROUNDING = 1e-9
#: Steps after which an episode is left however much of the discount remains, over all deployments.
MAX_STEPS = 100_000

Floats = NDArray[np.float64]
#: Draws actions ``[n, ...]`` in states ``[n]``.
Actor = Callable[[NDArray[np.int64], np.random.Generator], NDArray[Any]]


@dataclass(frozen=True)
class Returns:
    """Returns of episodes ``[deployments, episodes of each]``.

    Attributes:
        plain: undiscounted, of an episode as it is registered, with its step limit; NaN where it has no end.
        discounted: of the same episode without a step limit, to the end of the discount.
        rest: by how much the mean of the discounted returns may be wrong because they stop somewhere: a bound, ``None``
            where none is known.
        limit: the step limit of ``plain``, ``None`` where the world ends its episodes itself.
    """

    plain: Floats
    discounted: Floats
    rest: float | None
    limit: int | None

    def figures(self) -> dict[str, float | int | None]:
        """Return means and standard errors, and what they are of."""
        figures: dict[str, float | int | None] = {
            "n_episodes": self.plain.size,
            "played_deployments": len(self.plain),
            "max_episode_steps": self.limit,
        }
        for name, values in (("rollout_return", self.plain), ("discounted_return", self.discounted)):
            known = not np.isnan(values).any()
            figures[f"{name}_mean"] = float(values.mean()) if known else None
            figures[f"{name}_se"] = standard_error(values) if known else None
        return {**figures, "discounted_return_rest": self.rest}


def standard_error(values: Floats) -> float:
    """Return the standard error of the mean of ``values [deployments, episodes of each]``.

    Episodes of one deployment share the world's answer, and with it the answer's chance: they count as one. Where there
    is one deployment its answer is taken to have no chance, and episodes are independent.
    """
    independent = values.mean(axis=1) if len(values) > 1 else values[0]
    return float(independent.std(ddof=1) / np.sqrt(len(independent)))


def rollout_returns(
    env: str, env_kwargs: dict[str, Any], policy: Policy | Floats, seed: int, n_episodes: int = N_EPISODES
) -> Returns:
    """Deploy a policy and play it, one episode in each of ``n_episodes`` sub-environments of one world.

    A world that answers at random is deployed to :data:`N_DEPLOYMENTS` times, from its start each time, and the
    episodes are spread over these answers. The world has answered in full, also where ``env_kwargs`` make it adapt
    gradually.

    Args:
        env: id of the world.
        env_kwargs: its arguments.
        policy: one of the world's, or the array as which it is saved.
        seed: seed of the worlds and of the actions.
        n_episodes: how many, rounded up to as many for each deployment.

    Raises:
        ValueError: the world has no native vector form, or does not take the policy.
    """
    arguments = {**env_kwargs, "adaptation_rate": 1.0, "deployment": "declared"}
    n_deployments = N_DEPLOYMENTS if _is_random(env, arguments) else 1
    venv = gym.make_vec(
        env,
        num_envs=-(-n_episodes // n_deployments),
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP,
        **arguments,
    )
    if not isinstance(venv, PerformativeVectorEnv):
        raise ValueError(f"env must have a native vector form, got {env!r}")
    try:
        return _play_all(venv, policy, seed, n_deployments)
    finally:
        venv.close()


def _is_random(env: str, arguments: dict[str, Any]) -> bool:
    """Return whether a world draws its answers: only tabular problems can."""
    one = gym.make(env, disable_env_checker=True, **arguments)
    try:
        return bool(getattr(one.get_wrapper_attr("problem"), "is_random", False))
    finally:
        one.close()


def _play_all(venv: PerformativeVectorEnv, policy: Policy | Floats, seed: int, n_deployments: int) -> Returns:
    limit, problem = venv.max_episode_steps, venv.problem
    deployed = policy if isinstance(policy, Policy) else problem.policies.from_array(policy)
    venv.max_episode_steps = None  # the limit ends plain returns alone, see _Game
    venv.report_only(())
    # Another stream than the world's, which is default_rng(seed): actions must not foretell outcomes.
    act, rng = functools.partial(problem.policies.sample, deployed), np.random.default_rng((seed, 1))
    games = []
    for of_world in (seed, *np.random.SeedSequence((seed, 2)).generate_state(n_deployments - 1).tolist()):
        venv.reset(seed=of_world)
        venv.deploy(deployed)
        largest = max(abs(bound) for bound in problem.reward_range(venv.dynamics))
        game = _Game(venv, limit, largest, n_deployments)
        game.play(act, rng)
        games.append(game)
    return Returns(
        np.array([game.plain for game in games]),
        np.array([game.discounted for game in games]),
        float(np.mean([game.rest for game in games])),
        limit,
    )


class _Game:
    """One episode in every sub-environment.

    Args:
        venv: the world, which has answered.
        limit: step limit of plain returns.
        largest: the largest expected reward, in absolute value.
        n_deployments: how many such games there are.
    """

    def __init__(self, venv: PerformativeVectorEnv, limit: int | None, largest: float, n_deployments: int) -> None:
        self._venv, self._gamma = venv, float(venv.problem.gamma)
        self._most = largest / (1.0 - self._gamma) if self._gamma < 1.0 else np.inf
        self._max_steps, self._n_episodes = MAX_STEPS // n_deployments, venv.num_envs * n_deployments
        self._endless, self._limit = limit is None, self._max_steps if limit is None else limit
        self.plain, self.discounted = np.zeros(venv.num_envs), np.zeros(venv.num_envs)
        self._playing = np.ones(venv.num_envs, dtype=np.bool_)
        self._steps = 0

    @property
    def rest(self) -> float:
        """What the episodes that are not over may still add to the mean, or take from it, at most."""
        share = float(self._playing.mean())
        return share * self._gamma**self._steps * self._most if share else 0.0

    def play(self, act: Actor, rng: np.random.Generator) -> None:
        """Play until plain returns are complete and of the discounted ones nothing is missing that matters."""
        while self._playing.any() and (self._steps < self._limit or not self._is_enough()):
            self._step(act, rng)
        if self._endless:
            self.plain[self._playing] = np.nan

    def _is_enough(self) -> bool:
        error = self.discounted.std() / np.sqrt(self._n_episodes)
        return self._steps >= self._max_steps or self.rest <= max(NEGLIGIBLE * error, _ROUNDING * self._most)

    def _step(self, act: Actor, rng: np.random.Generator) -> None:
        _, rewards, terminated, _, _ = self._venv.step(act(self._venv.state, rng))
        paid = np.where(self._playing, rewards, 0.0)  # sub-environments that are through have begun another episode
        if self._steps < self._limit:
            self.plain += paid
        self.discounted += self._gamma**self._steps * paid
        self._steps += 1
        self._playing &= ~terminated
