"""Registered environments and their native vector forms, as far as Stable-Baselines3 can use them."""

from __future__ import annotations

import importlib
import inspect
import warnings
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common import env_util
from stable_baselines3.common.vec_env import VecEnv

from agents.common.refusals import RefusedArgumentsError, UnknownEnvironmentError, UnknownModuleError
from perf_envs import WORLDS, PerformativeVectorEnv
from perf_envs.registration import NativeForm
from perf_envs.validation import did_you_mean


def find_spec(env_id: str | EnvSpec) -> EnvSpec:
    """Return the registration of an environment; the module of ``"module:id"`` is imported first.

    Raises:
        ValueError: there is no such module (also ``ModuleNotFoundError``) or no such environment (also Gymnasium's
            ``NameNotFound``); the nearest world is named.
    """
    if isinstance(env_id, EnvSpec):
        return env_id
    module, _, name = str(env_id).rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UnknownModuleError(
                f"env_id must name a module that can be imported, got {env_id!r}: {error}"
            ) from error
    if name not in gym.registry:
        raise UnknownEnvironmentError(
            f"env_id must be a registered environment, got {env_id!r}{did_you_mean(name, WORLDS)}"
        )
    return gym.spec(name)


class Native(NamedTuple):
    """The native vector form of an environment."""

    env: VectorEnv[Any, Any, Any] | None
    """``None`` if it cannot be used."""
    why_not: str = ""
    """The reason, in words."""
    depends: bool = False
    """Whether it depends on the arguments."""


def native_form(spec: EnvSpec, n_envs: int, kwargs: dict[str, Any]) -> Native:
    """Make the native vector form of an environment, if Stable-Baselines3 can use it.

    It must reset in the same step and return new observations at every step. A form that has no ``autoreset_mode``, or
    does not take these arguments, is left aside, unless its sub-environments share one performative world: copies with
    worlds of their own are something else.

    Raises:
        ValueError: a performative world does not take these arguments.
    """
    if spec.vector_entry_point is None:
        return Native(None, "there is none")
    if spec.additional_wrappers:
        return Native(None, "it would leave out the wrappers of the registration")
    try:
        env = _make(spec, n_envs, kwargs)
    except ImportError as error:
        return Native(None, str(error))
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        return _passed_over(spec, kwargs, error)
    mode = env.metadata.get("autoreset_mode")
    if mode is AutoresetMode.SAME_STEP and getattr(env, "copy", True) and env.num_envs == n_envs:
        return Native(env)
    env.close()
    return Native(
        None, f"it has {env.num_envs} sub-environments, resets in the mode {mode}, or reuses its observations"
    )


def _passed_over(spec: EnvSpec, kwargs: dict[str, Any], error: Exception) -> Native:
    """Return why a native form cannot be made, or raise if its sub-environments would share one performative world."""
    is_type = isinstance(error, TypeError)
    if _is_shared(spec):
        if is_type:
            raise refused_arguments(spec, kwargs, error) from error
        raise error
    return Native(None, str(error), depends=(is_type or bool(kwargs)) and _has_same_step(spec))


def make_copies(
    env_id: str | EnvSpec, spec: EnvSpec, n_envs: int, seed: int | None, kwargs: dict[str, Any], native: Native
) -> VecEnv:
    """Make copies of an environment as Stable-Baselines3 does, because its native form cannot be used.

    Raises:
        ValueError: the environment does not take these arguments.
    """
    # Stable-Baselines3 asks what is named for pictures, also where there are none.
    by_name = isinstance(env_id, str) and "rgb_array" in _render_modes(spec)
    make: Any = env_id if by_name else partial(gym.make, env_id)
    try:
        venv = env_util.make_vec_env(make, n_envs=n_envs, seed=seed, env_kwargs=kwargs)
    except TypeError as error:
        raise refused_arguments(spec, kwargs, error) from error
    if native.depends:
        warnings.warn(
            f"{spec.id} comes as copies made by Stable-Baselines3: its native vector form cannot be made with "
            f"{kwargs}: {native.why_not}",
            stacklevel=3,
        )
    return venv


def refused_arguments(spec: EnvSpec, kwargs: dict[str, Any], error: Exception) -> RefusedArgumentsError:
    """Return the error that says that an environment does not take these arguments."""
    return RefusedArgumentsError(f"env_kwargs must be arguments of {spec.id}, got {kwargs}: {error}")


def _make(spec: EnvSpec, n_envs: int, kwargs: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
    make = partial(gym.make_vec, spec, num_envs=n_envs, vectorization_mode="vector_entry_point")
    try:
        return make(autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
    except TypeError as error:
        if "autoreset_mode" not in str(error) or "autoreset_mode" in kwargs:
            raise
        return make(**kwargs)  # it knows one mode only


def _is_shared(spec: EnvSpec) -> bool:
    """Whether the sub-environments of a native form share one performative world."""
    creator = _creator(spec)
    return isinstance(creator, NativeForm) or (isinstance(creator, type) and issubclass(creator, PerformativeVectorEnv))


def _has_same_step(spec: EnvSpec) -> bool:
    """Whether a native form says that it can reset in the same step."""
    creator = _creator(spec)
    own = getattr(creator, "metadata", {}).get("autoreset_mode")
    return own is AutoresetMode.SAME_STEP or "autoreset_mode" in inspect.signature(creator).parameters


def _render_modes(spec: EnvSpec) -> list[str]:
    """Return the modes in which an environment can be drawn."""
    entry = spec.entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    modes: list[str] = (getattr(creator, "metadata", None) or {}).get("render_modes", [])
    return modes


def _creator(spec: EnvSpec) -> Any:
    entry = spec.vector_entry_point
    return load_env_creator(entry) if isinstance(entry, str) else entry
