"""Performative worlds as Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common import env_util
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from perf_envs import CONTINUOUS_WORLDS, WORLDS
from perf_envs.validation import check_count, did_you_mean


def make_vec_env(
    env_id: str,
    n_envs: int = 1,
    seed: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
) -> VecEnv:
    """Return a monitored ``VecEnv`` of ``n_envs`` agents in *one* world, stepped by its native vector environment.

    A deployment is answered once for all of them. Environments without a native vector form (any other Gymnasium id)
    come as Stable-Baselines3 makes them.

    Args:
        env_id: registered id.
        n_envs: agents side by side.
        seed: seeds the first reset (and restarts the world); ``None`` draws one.
        env_kwargs: arguments of the environment.
        max_episode_steps: overrides the step limit of the registration.

    Raises:
        ValueError: unknown id (the nearest registered world is named), or arguments the environment rejects.
    """
    check_count("n_envs", n_envs)
    worlds = WORLDS | CONTINUOUS_WORLDS
    if env_id not in gym.registry:
        raise ValueError(f"env_id must be a registered environment, got {env_id!r}{did_you_mean(env_id, worlds)}")
    kwargs = dict(env_kwargs or {})
    if max_episode_steps is not None:
        kwargs["max_episode_steps"] = max_episode_steps
    if gym.spec(env_id).vector_entry_point is None or env_id not in worlds:
        return env_util.make_vec_env(env_id, n_envs=n_envs, seed=seed, env_kwargs=kwargs)
    try:
        vector_env = gym.make_vec(
            env_id,
            num_envs=n_envs,
            vectorization_mode="vector_entry_point",
            autoreset_mode=AutoresetMode.SAME_STEP,
            **kwargs,
        )
    except TypeError as error:
        raise ValueError(f"env_kwargs must be arguments of {env_id}, got {kwargs}: {error}") from error
    venv = VecMonitor(SB3VecEnv(vector_env))
    venv.seed(seed)
    return venv


class SB3VecEnv(VecEnv):
    """Any Gymnasium ``VectorEnv`` in ``SAME_STEP`` autoreset mode as a Stable-Baselines3 ``VecEnv``.

    Infos carry what Stable-Baselines3 reads (``terminal_observation``, ``TimeLimit.truncated``) and the keys asked for
    in ``info_keys``: filling a dictionary per sub-environment and step is what such adapters spend their time on.

    Args:
        env: the vector environment.
        info_keys: keys of the vector infos to hand on at every step.

    Raises:
        ValueError: ``env`` does not reset in the same step.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], info_keys: Sequence[str] = ()) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"env must be made with autoreset_mode=AutoresetMode.SAME_STEP, got {mode}")
        self.env = env
        self.info_keys = tuple(info_keys)
        self._actions: NDArray[Any] | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Start all episodes, with the seed given to :meth:`seed` if there is one."""
        observations, _ = self.env.reset(seed=self._seeds[0])
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Make the step."""
        observations, rewards, terminated, truncated, vector_infos = self.env.step(self._actions)
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for key in self.info_keys:
            if key in vector_infos:
                for index in np.flatnonzero(vector_infos[f"_{key}"]):
                    infos[index][key] = vector_infos[key][index]
        for index in np.flatnonzero(dones):
            infos[index]["terminal_observation"] = vector_infos["final_obs"][index]
            infos[index]["TimeLimit.truncated"] = bool(truncated[index] and not terminated[index])
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the sub-environments (of the one world they share, if they share one)."""
        if hasattr(self.env, "get_attr"):
            values = self.env.get_attr(attr_name)
            return [values[index] for index in self._get_indices(indices)]
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of every sub-environment; sub-environments of one world cannot differ."""
        self._all_or_error(indices, "set_attr")
        if hasattr(self.env, "set_attr"):
            self.env.set_attr(attr_name, value)
        else:
            setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of every sub-environment: once, if they share one world."""
        if hasattr(self.env, "call"):
            self._all_or_error(indices, "env_method")
            return list(self.env.call(method_name, *method_args, **method_kwargs))
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return ``False``: native sub-environments have no wrappers."""
        return [False for _ in self._get_indices(indices)]

    def _all_or_error(self, indices: VecEnvIndices, method: str) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"{method} reaches all sub-environments of a vector environment at once, got indices={indices}"
            )
