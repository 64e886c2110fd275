"""Performative worlds as Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from agents.common.native import find_spec, make_copies, native_form
from agents.common.spaces import check_spaces
from perf_envs import PerformativeVectorEnv
from perf_envs.validation import check_count


def make_vec_env(
    env_id: str | EnvSpec,
    n_envs: int = 1,
    seed: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    info_keys: Sequence[str] = (),
    vector_wrapper: Callable[[VectorEnv[Any, Any, Any]], VectorEnv[Any, Any, Any]] | None = None,
) -> VecEnv:
    """Return a monitored ``VecEnv`` of ``n_envs`` agents in *one* world, stepped by its native vector environment.

    A deployment is answered once for all of them. Environments that have no native vector form, or one that
    :class:`SB3VecEnv` cannot use (as that of Gymnasium's CartPole, which resets a step too late), come as
    Stable-Baselines3 makes them: ``n_envs`` copies. Where a native form does not take the arguments, a warning says so.

    Args:
        env_id: registered id, ``"module:id"``, or the registration itself.
        n_envs: agents side by side.
        seed: seeds the first reset (and restarts the world); ``None`` draws one.
        env_kwargs: arguments of the environment.
        max_episode_steps: overrides the step limit of the registration.
        info_keys: keys of the world's info to hand on at every step (an environment that comes as Stable-Baselines3
            makes it hands on all of them).
        vector_wrapper: wraps the native vector environment (:class:`perf_envs.wrappers.VectorStateObservation`).

    Raises:
        ValueError: unknown id (the nearest registered world is named), arguments the environment rejects, or a
            ``vector_wrapper`` for an environment without a native vector form; also what Gymnasium raises there
            (:mod:`agents.common.refusals`).
    """
    spec, kwargs = find_spec(env_id), _checked_arguments(n_envs, seed, env_kwargs, max_episode_steps, info_keys)
    native = native_form(spec, n_envs, kwargs)
    if native.env is None:
        if vector_wrapper is not None:
            raise ValueError(
                f"vector_wrapper must be None for {spec.id}, whose native vector form cannot be used: {native.why_not}"
            )
        return make_copies(env_id, spec, n_envs, seed, kwargs, native)
    adapted = SB3VecEnv(native.env if vector_wrapper is None else vector_wrapper(native.env), info_keys)
    venv = EpisodeMonitor(adapted)
    venv.seed(seed)
    return venv


def _checked_arguments(
    n_envs: int, seed: int | None, env_kwargs: Any, max_episode_steps: int | None, info_keys: Sequence[str]
) -> dict[str, Any]:
    """Return the arguments of an environment; all are checked alike, however the environment is made then."""
    check_count("n_envs", n_envs)
    _check_info_keys(info_keys)
    if seed is not None:
        check_count("seed", seed, at_least=0)
    if env_kwargs is not None and not isinstance(env_kwargs, Mapping):
        raise ValueError(f"env_kwargs must be a dictionary of arguments, got {env_kwargs!r}")
    kwargs = dict(env_kwargs or {})
    if max_episode_steps is not None:
        kwargs["max_episode_steps"] = check_count("max_episode_steps", max_episode_steps)
    return kwargs


def _check_info_keys(info_keys: Sequence[str]) -> None:
    if isinstance(info_keys, str):
        raise ValueError(f"info_keys must be a sequence of keys, got the string {info_keys!r}")


class SB3VecEnv(VecEnv):
    """Any Gymnasium ``VectorEnv`` in ``SAME_STEP`` autoreset mode as a Stable-Baselines3 ``VecEnv``.

    Infos carry what Stable-Baselines3 reads (``terminal_observation``, ``TimeLimit.truncated``) and the keys asked for
    in ``info_keys``. A dictionary per sub-environment and step would cost more than the step itself, so without
    ``info_keys`` the sub-environments whose episode goes on share one empty, read-only dictionary; a wrapper that
    writes into every info can replace it in the list, which is new at every step. For the same reason a performative
    world is told to report only these keys from now on (``PerformativeVectorEnv.report_only``).

    Args:
        env: the vector environment; one of Gymnasium's must return new observations at every step (``copy=True``),
            those of others are copied.
        info_keys: keys of the vector infos to hand on at every step.

    Raises:
        ValueError: ``env`` does not reset in the same step, reuses the memory of its observations, has no such info, or
            has spaces that do not count from 0; from ``step``: a reward is not finite, or an episode ends without
            ``final_obs``.
        RuntimeError: from ``step`` and ``reset``, when the process of a sub-environment has died. What a
            sub-environment itself raises comes through, with a note on where it happened.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], info_keys: Sequence[str] = ()) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"env must be made with autoreset_mode=AutoresetMode.SAME_STEP, got {mode}")
        if not getattr(env, "copy", True):
            raise ValueError("env must return new observations at every step: make it with copy=True, got copy=False")
        _check_info_keys(info_keys)
        check_spaces(env.single_observation_space, env.single_action_space)
        if isinstance(env, PerformativeVectorEnv):
            env.report_only(info_keys)
        # Ours and Gymnasium's own promise new arrays; others may write into the same ones at every step.
        promised = isinstance(env.unwrapped, PerformativeVectorEnv) or getattr(env.unwrapped, "copy", None) is True
        self._lent = not promised
        self.env = env
        self.info_keys = tuple(info_keys)
        self._actions: NDArray[Any] | None = None
        self._n_steps = 0
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Start all episodes, with the seed given to :meth:`seed` and the options of :meth:`set_options`, if any."""
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError(f"options must be the same for all sub-environments, got {self._options}")
        try:
            observations, vector_infos = self.env.reset(seed=self._seeds[0], options=options or None)
        except Exception as error:
            self._explain(error)
        self.reset_infos = self._infos(vector_infos)
        self._reset_seeds()
        self._reset_options()
        return _own(observations) if self._lent else observations  # type: ignore[no-any-return]

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Make the step."""
        try:
            observations, rewards, terminated, truncated, vector_infos = self.env.step(self._actions)
        except Exception as error:
            self._explain(error)
        self._n_steps += 1
        rewards = rewards.astype(np.float32)
        if np.count_nonzero(np.isfinite(rewards)) < self.num_envs:
            self._refuse_rewards(rewards)
        dones = terminated | truncated
        infos = self._infos(vector_infos)
        finished = dones.nonzero()[0]
        if len(finished):
            if self.info_keys:
                self._add(infos, vector_infos.get("final_info", {}))
            last, over = _items(self._last(vector_infos), finished), terminated[finished].tolist()
            for index, observation, ended in zip(finished.tolist(), last, over, strict=True):
                end = {"terminal_observation": observation, "TimeLimit.truncated": not ended}
                infos[index] = {**infos[index], **end} if self.info_keys else end
        return _own(observations) if self._lent else observations, rewards, dones, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a picture of every sub-environment, if the vector environment draws them."""
        return self.env.render() or ()  # type: ignore[return-value]

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

    def _infos(self, vector_infos: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return an info per sub-environment with the keys asked for."""
        if not self.info_keys:
            return [_NOTHING] * self.num_envs
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._add(infos, vector_infos)
        return infos

    def _add(self, infos: list[dict[str, Any]], vector_infos: Mapping[str, Any]) -> None:
        """Write the keys asked for into the infos of the sub-environments that have them."""
        for key in self.info_keys:
            if key in vector_infos:
                present = vector_infos[f"_{key}"].nonzero()[0]
                for index, value in zip(present.tolist(), _items(vector_infos[key], present), strict=True):
                    infos[index][key] = value

    def _last(self, vector_infos: Mapping[str, Any]) -> Any:
        """Return the last observations of episodes that have ended in this step."""
        if "final_obs" not in vector_infos:
            raise ValueError(
                "env must tell the last observations of finished sub-environments in info['final_obs'], as Gymnasium's "
                f"SAME_STEP mode asks for, got an info with {sorted(vector_infos)} from {self.env}"
            )
        return vector_infos["final_obs"]

    def _refuse_rewards(self, rewards: NDArray[np.float32]) -> NoReturn:
        bad = (~np.isfinite(rewards)).nonzero()[0]
        raise ValueError(
            f"rewards must be finite, got {rewards[bad].tolist()} from sub-environments {bad.tolist()} "
            f"at step {self._n_steps} of {self.env}"
        )

    def _explain(self, error: Exception) -> NoReturn:
        where = f"{self.env} with {self.num_envs} sub-environments, after {self._n_steps} steps"
        if isinstance(error, EOFError | ConnectionError):  # what is left of a process is a broken pipe
            raise RuntimeError(f"a sub-environment's process has died in {where}") from error
        error.add_note(f"raised in {where}")
        raise error

    def _all_or_error(self, indices: VecEnvIndices, method: str) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"{method} reaches all sub-environments of a vector environment at once, got indices={indices}"
            )


class EpisodeMonitor(VecMonitor):
    """Stable-Baselines3's ``VecMonitor``, which looks at the finished sub-environments only.

    ``VecMonitor`` asks every sub-environment at every step whether it has finished, which takes longer than the step of
    a native vector environment. Arguments, infos and files are the same.
    """

    def step_wait(self) -> VecEnvStepReturn:
        """Make the step; the infos of finished episodes get ``episode``: return ``r``, length ``l``, time ``t``."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.episode_returns += rewards
        self.episode_lengths += 1
        finished = dones.nonzero()[0]
        if len(finished):
            now = round(time.time() - self.t_start, 6)
            returns, lengths = self.episode_returns[finished].tolist(), self.episode_lengths[finished].tolist()
            for index, total, length in zip(finished.tolist(), returns, lengths, strict=True):
                infos[index]["episode"] = {"r": total, "l": length, "t": now}
            if self.info_keywords or self.results_writer:
                self._write([infos[index] for index in finished.tolist()])
            self.episode_returns[finished] = 0.0
            self.episode_lengths[finished] = 0
            self.episode_count += len(finished)
        return observations, rewards, dones, infos

    def _write(self, infos: list[dict[str, Any]]) -> None:
        """Add the keywords asked for to finished episodes, and write them to the file if there is one."""
        for info in infos:
            info["episode"].update((key, info[key]) for key in self.info_keywords)
            if self.results_writer:
                self.results_writer.write_row(info["episode"])


class _Nothing(dict[str, Any]):
    """An empty info that stays empty: it is shared, and what one writes all others would read."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "this info is shared by all sub-environments that have nothing to tell: "
            "replace it in the list of infos instead of writing into it, or make the environment with info_keys"
        )

    __setitem__ = __ior__ = setdefault = update = _refuse


_NOTHING = _Nothing()


def _own(observations: Any) -> Any:
    """Return observations in memory that nobody else writes into."""
    if isinstance(observations, dict):
        return {key: _own(values) for key, values in observations.items()}
    return tuple(map(_own, observations)) if isinstance(observations, tuple) else np.array(observations)


def _items(values: Any, indices: NDArray[np.int64]) -> Sequence[Any]:
    """Return what belongs to each of the given sub-environments, from an array or a dictionary of arrays."""
    if not isinstance(values, dict):
        return values[indices]  # type: ignore[no-any-return]
    masks = {f"_{key}" for key in values}
    columns = {key: _items(value, indices) for key, value in values.items() if key not in masks}
    return [{key: column[row] for key, column in columns.items()} for row in range(len(indices))]
