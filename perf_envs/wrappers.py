"""Wrappers: states shown as features, images or dictionaries instead of their index, and rounds written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from perf_envs.dynamics import Dynamics, Shift
from perf_envs.policies import TablePolicies
from perf_envs.record_rounds import RecordRounds, RecordRoundsVector
from perf_envs.validation import check_numbered_from_zero

__all__ = ["RecordRounds", "RecordRoundsVector", "StateObservation", "VectorStateObservation"]

#: A table of observations ``[S, ...]``, or several by name.
Observations = Any
#: Their data type by its name, or several by theirs.
DTypes = str | Mapping[str, str]


class StateObservation(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Shows state ``s`` of a tabular performative world as row ``s`` of a table.

    The wrapped world can still be deployed to: policies are asked at the rows of the table
    (:attr:`query_observations`). Its specification can be written as JSON.

    Args:
        env: a tabular world that shows the index of its state.
        observations: array (or nested lists) ``[S, ...]`` of features or images, or a dictionary of such arrays.
        dtype: name of the data type, or a dictionary of names; by default that of the arrays, with floating-point
            numbers in single precision as agents use them. Three-dimensional ``uint8`` observations are images.

    Raises:
        ValueError: ``env`` does not show states, does not number its actions from 0, or a table has not one finite row
            per state.
    """

    def __init__(self, env: gym.Env[Any, Any], observations: Observations, dtype: DTypes | None = None) -> None:
        policies = env.get_wrapper_attr("policies") if env.has_wrapper_attr("policies") else None
        self._table = _read(observations, dtype, _count_states(policies, env.observation_space))
        check_numbered_from_zero("action space of env", env.action_space)
        RecordConstructorArgs.__init__(self, observations=_as_lists(self._table), dtype=_dtypes(self._table))
        gym.ObservationWrapper.__init__(self, env)
        self.observation_space = _space(self._table)

    @property
    def query_observations(self) -> Observations:
        """The observation of every state, a copy: where a deployed policy is asked for its action probabilities."""
        return _rows(self._table, slice(None))

    def observation(self, observation: Any) -> Any:
        """Return the row of a state."""
        return _rows(self._table, observation)

    def deploy(self, policy: Any, response: Dynamics | None = None) -> Shift:
        """Deploy a policy over the shown observations, see :meth:`perf_envs.PerformativeEnv.deploy`."""
        read = self.env.get_wrapper_attr("policies").read(policy, self.query_observations)
        shift: Shift = self.env.get_wrapper_attr("deploy")(read, response)
        return shift

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return int(self.env.get_wrapper_attr("n_actions"))


class VectorStateObservation(VectorWrapper[Any, Any, Any, Any, Any]):
    """:class:`StateObservation` for native vector environments, in every autoreset mode.

    Use it with Stable-Baselines3 as
    ``make_vec_env(id, vector_wrapper=functools.partial(VectorStateObservation, observations=table))``.

    Args:
        env: a native vector environment of a tabular world.
        observations: as for :class:`StateObservation`.
        dtype: as for :class:`StateObservation`.

    Raises:
        ValueError: as :class:`StateObservation`.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], observations: Observations, dtype: DTypes | None = None) -> None:
        super().__init__(env)
        policies = getattr(env, "policies", None)
        self._table = _read(observations, dtype, _count_states(policies, env.single_observation_space))
        check_numbered_from_zero("action space of env", env.single_action_space)
        self.single_observation_space = _space(self._table)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def __getattr__(self, name: str) -> Any:
        """Fall back to the wrapped environment for the performative interface: ``problem``, ``state``, ``round``..."""
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def query_observations(self) -> Observations:
        """The observation of every state, a copy: where a deployed policy is asked for its action probabilities."""
        return _rows(self._table, slice(None))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes."""
        states, infos = self.env.reset(seed=seed, options=options)
        return _rows(self._table, states), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Make one step; final observations are shown as all others are."""
        states, rewards, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:
            infos["final_obs"] = self._final(infos["final_obs"], infos["_final_obs"])
        return _rows(self._table, states), rewards, terminated, truncated, infos

    def deploy(self, policy: Any, response: Dynamics | None = None) -> Shift:
        """Deploy a policy over the shown observations, see :meth:`perf_envs.PerformativeEnv.deploy`."""
        read = self.policies.read(policy, self.query_observations)
        return self.env.deploy(read, response)  # type: ignore[attr-defined, no-any-return]

    def _final(self, states: NDArray[np.int64], finished: NDArray[np.bool_]) -> Any:
        """Return the final observations: one array or, as Gymnasium does with dictionaries, an array of objects."""
        if not isinstance(self._table, dict):
            return _rows(self._table, states)
        final = np.full(self.num_envs, None, dtype=object)
        for index in np.flatnonzero(finished):
            final[index] = _rows(self._table, states[index])
        return final


def _count_states(policies: Any, space: spaces.Space[Any]) -> int:
    if not isinstance(policies, TablePolicies):
        raise ValueError(f"env must be a tabular performative world, got one whose policies are {policies!r}")
    if space != spaces.Discrete(policies.n_states):
        raise ValueError(f"env must show the index of its state, Discrete({policies.n_states}), got {space}")
    return policies.n_states


def _read(observations: Observations, dtype: Any, n_states: int, name: str = "observations") -> Any:
    """Return the checked table, or dictionary of tables."""
    if isinstance(observations, Mapping):
        dtypes = dtype if isinstance(dtype, Mapping) else dict.fromkeys(observations, dtype)
        return {
            key: _read(part, dtypes.get(key), n_states, f"{name}[{key!r}]")
            for key, part in sorted(observations.items())
        }
    table = np.array(observations, dtype=dtype)
    if dtype is None and table.dtype.kind == "f":
        table = table.astype(np.float32)
    if table.dtype.kind not in "fiub" or table.ndim < 2 or len(table) != n_states or 0 in table.shape:
        raise ValueError(
            f"{name} must be numbers [{n_states}, ...], a row per state, got {table.dtype} {list(table.shape)}"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"{name} of state {np.argwhere(~np.isfinite(table))[0][0]} must be finite")
    return table.astype(np.int8) if table.dtype.kind == "b" else table


def _rows(table: Any, states: Any) -> Any:
    """Return the rows of one or more states as arrays of their own."""
    if isinstance(table, dict):
        return {key: _rows(part, states) for key, part in table.items()}
    return np.array(table[states])


def _space(table: Any) -> spaces.Space[Any]:
    if isinstance(table, dict):
        return spaces.Dict({key: _space(part) for key, part in table.items()})
    if table.dtype == np.uint8:
        return spaces.Box(0, 255, table.shape[1:], np.uint8)
    low, high = table.min(), table.max()
    return spaces.Box(low, high if high > low else low + 1, table.shape[1:], table.dtype.type)


def _as_lists(table: Any) -> Any:
    return {key: part.tolist() for key, part in table.items()} if isinstance(table, dict) else table.tolist()


def _dtypes(table: Any) -> Any:
    return {key: part.dtype.name for key, part in table.items()} if isinstance(table, dict) else table.dtype.name
