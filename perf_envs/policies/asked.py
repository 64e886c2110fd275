"""The policy of a model as environments of others are handed it: something that can be asked what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from perf_envs.policies.base import Policy
from perf_envs.policies.gaussian import GaussianPolicies, gaussian_policy
from perf_envs.policies.tabular import TablePolicies, policy_table
from perf_envs.sampling import cumulative, draw
from perf_envs.validation import check_number

Floats = NDArray[np.float64]


class AskedPolicy:
    """A policy that can be called on an observation, or on a batch of them.

    It says the probabilities of the actions, ``[A]`` or ``[n, A]``, where they are ``Discrete``, and mean and standard
    deviation, ``[d]`` or ``[n, d]`` each, where they are continuous.

    Args:
        policy: whatever :func:`policy_table` or :func:`gaussian_policy` can ask; it should be one that no longer
            changes. Where observations are ``Discrete``, also a table of probabilities ``[S, A]``, or mean and standard
            deviation ``[S, d]``, with a row per observation.
        observation_space: of the environment.
        action_space: of the environment, ``Discrete`` or a ``Box`` with one axis.
        deterministic: ask models for their deterministic action instead of their distribution.
        random_share: share of the actions, in [0, 1], that is uniformly random. Of continuous actions, mean and
            deviation are those of the mixture.
        preprocess: makes of the environment's observations ``[n, ...]`` what the policy sees.

    Raises:
        ValueError: actions are neither ``Discrete`` nor such a ``Box``, or random ones are asked for where they have no
            bounds; ``policy`` is a table and observations are not ``Discrete``, or have another number; from a call, it
            is not given observations.
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
        self._policy, self._deterministic = _as_asked(policy, observation_space, action_space), deterministic
        self._random_share = check_number("random_share", random_share, at_least=0.0, at_most=1.0)
        self._preprocess = preprocess
        if self._random_share and isinstance(action_space, spaces.Box) and not action_space.is_bounded():
            raise ValueError(
                f"random_share must be 0 where actions have no bounds, got {random_share} in {action_space}"
            )

    def __call__(self, observation: Any) -> Any:
        """Return what is done at an observation, or at each of a batch."""
        single = _is_one(observation, self.observation_space)
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
        share, space = self._random_share, self.action_space
        if isinstance(space, spaces.Discrete):
            n_actions = int(space.n)
            return (1.0 - share) * self._probabilities(batch, n_actions) + share / n_actions
        mean, std = self._gaussian(batch, space.shape[0])
        return _mixed(mean, std, space, share) if share else (mean, std)

    def _probabilities(self, batch: Any, n_actions: int) -> Floats:
        if isinstance(self._policy, Policy):
            return self._policy(self._rows(batch))  # type: ignore[no-any-return]
        return policy_table(self._policy, batch, n_actions, self._deterministic)

    def _gaussian(self, batch: Any, n_dimensions: int) -> tuple[Floats, Floats]:
        if isinstance(self._policy, Policy):
            return self._policy(self._rows(batch))  # type: ignore[no-any-return]
        return gaussian_policy(self._policy, batch, n_dimensions, self._deterministic)

    def _rows(self, batch: Any) -> Any:
        """Return where a table has its rows for a batch of ``Discrete`` observations."""
        return np.asarray(batch) - self.observation_space.start  # type: ignore[attr-defined]


def _as_asked(policy: Any, observation_space: spaces.Space[Any], action_space: Any) -> Any:
    """Return a policy that is given as numbers as one that can be called, and any other as it is."""
    if not isinstance(policy, list | tuple) and not hasattr(policy, "__array__"):
        return policy
    if not isinstance(observation_space, spaces.Discrete):
        raise ValueError(
            f"policy must be something that can be asked where observations are not Discrete, got "
            f"{type(policy).__name__} and {observation_space}"
        )
    n_observations = int(observation_space.n)
    if isinstance(action_space, spaces.Discrete):
        return TablePolicies(n_observations, int(action_space.n)).read(policy)
    return GaussianPolicies(np.arange(n_observations), action_space.shape[0]).read(policy)


def _mixed(mean: Floats, std: Floats, space: Any, share: float) -> tuple[Floats, Floats]:
    """Return mean and deviation of actions of which a share is uniform on a box."""
    middle, variance = (space.low + space.high) / 2.0, np.square(space.high - space.low) / 12.0
    mixed = (1.0 - share) * mean + share * middle
    second = (1.0 - share) * (np.square(std) + np.square(mean)) + share * (variance + np.square(middle))
    return mixed, np.sqrt(np.maximum(second - np.square(mixed), 0.0))


def _is_one(observation: Any, space: spaces.Space[Any]) -> bool:
    """Whether this is one observation of a space, and no batch of them; its data type does not matter."""
    if isinstance(space, spaces.Dict):
        return isinstance(observation, Mapping) and all(
            key in observation and _is_one(observation[key], part) for key, part in space.items()
        )
    return space.contains(observation) if space.shape is None else np.shape(observation) == space.shape


def _as_batch(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: np.asarray(part)[None] for key, part in observation.items()}
    return np.asarray(observation)[None]
