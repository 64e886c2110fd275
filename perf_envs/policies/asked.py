"""The policy of a model as environments of others are handed it: something that can be asked what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from perf_envs.policies.gaussian import gaussian_policy
from perf_envs.policies.tabular import policy_table
from perf_envs.sampling import cumulative, draw

Floats = NDArray[np.float64]


class AskedPolicy:
    """A policy that can be called on an observation, or on a batch of them.

    It says the probabilities of the actions, ``[A]`` or ``[n, A]``, where they are ``Discrete``, and mean and standard
    deviation, ``[d]`` or ``[n, d]`` each, where they are continuous.

    Args:
        policy: whatever :func:`policy_table` or :func:`gaussian_policy` can ask; it should be one that no longer
            changes.
        observation_space: of the environment.
        action_space: of the environment, ``Discrete`` or a ``Box`` with one axis.
        deterministic: ask models for their deterministic action instead of their distribution.
        random_share: share of the actions that is uniformly random.
        preprocess: makes of the environment's observations ``[n, ...]`` what the policy sees.

    Raises:
        ValueError: actions are neither ``Discrete`` nor such a ``Box``; from a call, it is not given observations.
    """

    def __init__(
        self,
        policy: Any,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        deterministic: bool = False,
        random_share: float = 0.0,
        preprocess: Callable[[Any], Any] | None = None,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete) and not (
            isinstance(action_space, spaces.Box) and len(action_space.shape) == 1
        ):
            raise ValueError(f"action_space must be Discrete or a Box with one axis, got {action_space}")
        self.observation_space, self.action_space = observation_space, action_space
        self._policy, self._deterministic = policy, deterministic
        self._random_share, self._preprocess = random_share, preprocess

    def __call__(self, observation: Any) -> Any:
        """Return what is done at an observation, or at each of a batch."""
        single = self.observation_space.contains(observation) or np.shape(observation) == self.observation_space.shape
        batch = _as_batch(observation) if single else observation
        said = self._ask(batch if self._preprocess is None else self._preprocess(batch))
        if not single:
            return said
        return tuple(part[0] for part in said) if isinstance(said, tuple) else said[0]

    def sample(self, observations: Any, rng: np.random.Generator) -> NDArray[Any]:
        """Draw an action at each of ``n`` observations, ``[n]`` or ``[n, d]``, inside of the action space."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            probs = self(observations)
            drawn: NDArray[Any] = space.start + draw(cumulative(probs), rng.random(len(probs)))
            return drawn
        mean, std = self(observations)
        actions: NDArray[Any] = np.clip(mean + std * rng.standard_normal(mean.shape), space.low, space.high)
        return actions.astype(space.dtype)

    @property
    def table(self) -> Floats | None:
        """Probabilities at every observation ``[S, A]`` where observations and actions are ``Discrete``, else none."""
        space = self.observation_space
        if not (isinstance(space, spaces.Discrete) and isinstance(self.action_space, spaces.Discrete)):
            return None
        table: Floats = self(np.arange(space.start, space.start + space.n))
        return table

    def _ask(self, batch: Any) -> Any:
        share = self._random_share
        if isinstance(self.action_space, spaces.Discrete):
            n_actions = int(self.action_space.n)
            return (1.0 - share) * policy_table(self._policy, batch, n_actions, self._deterministic) + share / n_actions
        (n_dimensions,) = self.action_space.shape
        mean, std = gaussian_policy(self._policy, batch, n_dimensions, self._deterministic)
        return (1.0 - share) * mean, (1.0 - share) * std


def _as_batch(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.asarray(part)[None] for key, part in observation.items()}
    return np.asarray(observation)[None]
