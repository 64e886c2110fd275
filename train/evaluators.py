"""What a policy is worth in a world: exactly where that is known, by played episodes otherwise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.common.queries import read_states
from agents.common.reading import read_policy
from perf_envs.policies import AskedPolicy
from perf_envs.policies.models import count_observations
from perf_envs.problem import Problem
from train.evaluation import N_EPISODES, Returns, rollout_returns
from train.played import played_returns
from train.settings import check_registered
from train.yardstick import best_value

Figures = dict[str, float | None]

#: Discount of environments that do not say theirs, as Stable-Baselines3 has it.
DEFAULT_GAMMA = 0.99
#: Episodes of an evaluation along a training, where it has to be played.
N_ALONG = 100


@dataclass(frozen=True)
class World:
    """A world as a run has it.

    Attributes:
        id: its id.
        env_kwargs: what it is made with.
    """

    id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    def make(self) -> gym.Env[Any, Any]:
        """Make one of its environments.

        Raises:
            ValueError: there is no such world, it does not take its arguments, or it cannot be deployed to.
        """
        check_registered(self.id)
        try:
            env = gym.make(self.id, disable_env_checker=True, **self.env_kwargs)
        except TypeError as error:
            raise ValueError(f"env_kwargs must be arguments of {self.id}, got {self.env_kwargs}: {error}") from error
        if not env.has_wrapper_attr("deploy"):
            raise ValueError(f"env must be a performative world, which has deploy(policy), got {self.id!r}")
        return env


class Evaluator(ABC):
    """Says what policies are worth in a world.

    Attributes:
        world: the world.
        gamma: the discount of values.
    """

    #: How values are found: ``"exact"`` or ``"played"``.
    how: ClassVar[str]

    def __init__(self, world: World, gamma: float) -> None:
        self.world, self.gamma = world, gamma

    def read(self, model: BaseAlgorithm) -> Any:
        """Return the policy of a model that is in training in the world, as the world would be handed it."""
        venv = model.get_env()
        if venv is None:
            raise ValueError(f"model must be in training in a performative world, got {model}, which has none")
        return read_policy(model, venv)

    @abstractmethod
    def figures(self, policy: Any) -> Figures:
        """Return ``performative_value``, its standard error and ``stability_gap``, ``None`` where there is none."""

    @abstractmethod
    def returns(self, policy: Any, seed: int) -> Returns:
        """Return what the policy earns when it is played."""

    @abstractmethod
    def uniform_value(self) -> float | None:
        """Return the performative value of choosing every action with the same probability."""

    @abstractmethod
    def best_known_value(self) -> float | None:
        """Return the best performative value known, ``None`` where there is none."""

    @abstractmethod
    def array(self, policy: Any) -> NDArray[np.float64] | None:
        """Return a policy as it is saved, ``None`` where it is no array."""


class ExactEvaluator(Evaluator):
    """Evaluates in a world whose problem knows the value of a policy."""

    how = "exact"

    def __init__(self, world: World, problem: Problem[Any]) -> None:
        super().__init__(world, problem.gamma)
        self.problem = problem

    def figures(self, policy: Any) -> Figures:
        """Return what the problem says."""
        return {
            "performative_value": self.problem.value(policy),
            "performative_value_se": None,
            "stability_gap": self.problem.stability_gap(policy),
        }

    def returns(self, policy: Any, seed: int) -> Returns:
        """Play in the native vector form of the world, or in copies of it where it has none."""
        world = self.world
        if gym.spec(world.id).vector_entry_point is not None:
            return rollout_returns(world.id, world.env_kwargs, policy, seed)

        def act(venv: VecEnv, observations: Any, rng: np.random.Generator) -> NDArray[Any]:
            return self.problem.policies.sample(policy, read_states(venv), rng)

        return played_returns(world.id, world.env_kwargs, policy, seed, N_EPISODES, self.gamma, act)

    def uniform_value(self) -> float | None:
        """Return the value of the uniform policy."""
        return self.problem.value(self.problem.policies.uniform())

    def best_known_value(self) -> float | None:
        """Return the value of the best policy that the problem knows, or the one registered for the world."""
        return best_value(self.problem, self.world.id, self.world.env_kwargs)

    def array(self, policy: Any) -> NDArray[np.float64] | None:
        """Return probabilities, or means and deviations."""
        return np.asarray(policy.array)


class PlayedEvaluator(Evaluator):
    """Evaluates in an environment that can be deployed to and stepped, and of which nothing else is known.

    Args:
        world: the world.
        gamma: its discount.
        n_along: episodes of an evaluation along a training.
    """

    how = "played"

    def __init__(self, world: World, gamma: float, n_along: int = N_ALONG) -> None:
        super().__init__(world, gamma)
        self._n_along = n_along

    def figures(self, policy: AskedPolicy) -> Figures:
        """Return the mean discounted return of some episodes, on the same seed each time."""
        figures = self._play(policy, 0, self._n_along).figures()
        return {
            "performative_value": figures["discounted_return_mean"],
            "performative_value_se": figures["discounted_return_se"],
            "stability_gap": None,
        }

    def returns(self, policy: AskedPolicy, seed: int) -> Returns:
        """Play many episodes."""
        return self._play(policy, seed, N_EPISODES)

    def uniform_value(self) -> float | None:
        """Return the mean discounted return of random actions, ``None`` where there is no bound to them."""
        env = self.world.make()
        spaces = env.observation_space, env.action_space
        env.close()
        return self.figures(_Uniform(*spaces))["performative_value"] if _is_bounded(spaces[1]) else None

    def best_known_value(self) -> float | None:
        """Return what is registered for the world."""
        return best_value(None, self.world.id, self.world.env_kwargs)

    def array(self, policy: Any) -> NDArray[np.float64] | None:
        """Return nothing: what such a policy does at all observations is no array."""
        return None

    def _play(self, policy: AskedPolicy, seed: int, n_episodes: int) -> Returns:
        return played_returns(self.world.id, self.world.env_kwargs, policy, seed, n_episodes, self.gamma)


class _Uniform(AskedPolicy):
    """Draws every action with the same probability."""

    def __init__(self, observation_space: gym.spaces.Space[Any], action_space: gym.spaces.Space[Any]) -> None:
        super().__init__(self._say, observation_space, action_space)

    def _say(self, observation: Any) -> Any:
        """Return probabilities, or mean and deviation of uniform actions."""
        space = self.action_space
        if isinstance(space, gym.spaces.Discrete):
            return np.full(int(space.n), 1.0 / int(space.n))
        low, high = space.low, space.high
        return (low + high) / 2.0, (high - low) / np.sqrt(12.0)

    def sample(self, observations: Any, rng: np.random.Generator) -> NDArray[Any]:
        """Draw actions that are uniform rather than Gaussian."""
        space = self.action_space
        if isinstance(space, gym.spaces.Discrete):
            return super().sample(observations, rng)
        n_agents = count_observations(observations)
        drawn = rng.uniform(space.low, space.high, (n_agents, *space.shape))
        return drawn.astype(space.dtype)


def _is_bounded(space: gym.spaces.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Discrete) or (isinstance(space, gym.spaces.Box) and space.is_bounded())


def find_evaluator(world: World) -> Evaluator:
    """Return the evaluator of a world: an exact one where its problem knows what policies are worth.

    Raises:
        ValueError: the world does not take its arguments, or cannot be deployed to.
    """
    env = world.make()
    try:
        problem = env.get_wrapper_attr("problem") if env.has_wrapper_attr("problem") else None
        if isinstance(problem, Problem) and problem.value(problem.policies.initial()) is not None:
            return ExactEvaluator(world, problem)
        gamma = env.get_wrapper_attr("gamma") if env.has_wrapper_attr("gamma") else DEFAULT_GAMMA
        return PlayedEvaluator(world, float(gamma))
    finally:
        env.close()
