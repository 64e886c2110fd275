"""Asking the worlds of a ``VecEnv``: the observations of their states, and the states they are in."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize, VecTransposeImage

from agents.common.spaces import check_spaces


def query_observations(venv: VecEnv) -> Any:
    """Return the observations a deployed policy is asked at, ``[Q, ...]`` or a dictionary of such arrays.

    They are shown as the agent sees them: images transposed and values normalised where the wrappers of ``venv`` do so.

    Raises:
        ValueError: they are no observations of ``venv``, because some other wrapper changes what the agent sees; or
            its spaces do not count from 0, which policies would misread.
    """
    check_spaces(venv.observation_space, venv.action_space)
    wrappers: list[VecEnv] = []
    inner: VecEnv = venv
    while isinstance(inner, VecEnvWrapper):
        wrappers.append(inner)
        inner = inner.venv
    observations = venv.get_attr("query_observations", indices=[0])[0]
    for wrapper in reversed(wrappers):
        if isinstance(wrapper, VecTransposeImage):
            observations = wrapper.transpose_observations(observations)
        elif isinstance(wrapper, VecNormalize):
            observations = wrapper.normalize_obs(observations)
    if not _are_observations(observations, venv.observation_space):
        raise ValueError(
            f"query_observations of the world must be observations of the observation_space {venv.observation_space}: "
            "a wrapper that changes observations has to change them too (perf_envs.wrappers.StateObservation does)"
        )
    return observations


def world_discount(venv: VecEnv) -> float | None:
    """Return the discount of performative worlds, ``None`` where they do not say it."""
    return float(venv.get_attr("gamma", indices=[0])[0]) if venv.has_attr("deploy") and venv.has_attr("gamma") else None


def _are_observations(observations: Any, space: spaces.Space[Any]) -> bool:
    """Whether a batch has the keys, the shapes and, where it is an index, the range of a space."""
    if isinstance(space, spaces.Dict) or isinstance(observations, dict):
        return (
            isinstance(space, spaces.Dict)
            and isinstance(observations, dict)
            and set(space.spaces) == set(observations)
            and all(_are_observations(observations[key], part) for key, part in space.spaces.items())
        )
    batch = np.asarray(observations)
    if isinstance(space, spaces.Discrete):
        inside = batch.dtype.kind in "iu" and bool(((batch >= 0) & (batch < space.n)).all())
        return batch.ndim == 1 and inside
    return batch.shape[1:] == space.shape


def read_states(venv: VecEnv) -> NDArray[np.int64]:
    """Return the state every sub-environment is in now, ``[n]``.

    A native vector environment tells them all at once; copies of a scalar environment are asked one by one.
    """
    first = np.asarray(venv.get_attr("state", indices=[0])[0])
    states = first if first.shape == (venv.num_envs,) else np.asarray(venv.get_attr("state"))
    return states.reshape(venv.num_envs).astype(np.int64)
