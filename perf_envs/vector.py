"""Native vector environments: many agents in *one* performative world, stepped by array code on the shared kernel.

All sub-environments run in the same world, so the policy is observed from their pooled actions and a deployment is
answered once, not once per copy.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from perf_envs.env import Played, WorldEnv
from perf_envs.rendering.side_by_side import SideBySide
from perf_envs.validation import check_choice, check_count

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class PerformativeVectorEnv(VectorEnv[Any, Any, Any]):
    """Vector form of a performative world.

    An observed round lasts ``round_length`` steps of each sub-environment, as it does where every agent has a world of
    its own (``SyncVectorEnv``); the policy is estimated from the ``round_length * num_envs`` actions of all of them.

    Args:
        num_envs: number of agents ``n`` stepped side by side.
        max_episode_steps: steps after which an episode is truncated; ``None`` for never.
        autoreset_mode: what happens to a finished sub-environment (``gymnasium.vector.AutoresetMode``, or its value):
            ``NEXT_STEP`` resets it on the step after, ``SAME_STEP`` at once (the last observation and info are in
            ``info["final_obs"]`` and ``info["final_info"]``), ``DISABLED`` leaves it to
            ``reset(options={"reset_mask": ...})``.
        render_mode: ``"rgb_array"`` or ``"ansi"``, where the scalar environment offers it: a picture, or text, of each
            sub-environment. ``gymnasium.wrappers.vector.HumanRendering`` (with opencv) shows the pictures in a window.
        **kwargs: arguments of the scalar environment.

    Raises:
        ValueError: an argument is out of range, or a finished sub-environment is stepped in ``DISABLED`` mode.
    """

    world_class: ClassVar[type[WorldEnv]]
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_envs = check_count("num_envs", num_envs)
        self.max_episode_steps = (
            None if max_episode_steps is None else check_count("max_episode_steps", max_episode_steps)
        )
        self._check_render_mode(render_mode)
        try:
            self._autoreset = AutoresetMode(autoreset_mode)
        except ValueError:
            names = [mode.value for mode in AutoresetMode]
            raise ValueError(f"autoreset_mode must be one of {names}, got {autoreset_mode!r}") from None
        self.metadata = {
            **self.world_class.metadata,
            **self.metadata,
            "render_modes": self._render_modes(),
            "autoreset_mode": self._autoreset,
        }
        #: The scalar environment this is the vector form of: its world is shared by all sub-environments.
        self.single = self.world_class(**kwargs)
        self.rounds: Any = self.single.rounds
        self.rounds.share(self.num_envs)
        self.single_observation_space = self.single.observation_space
        self.single_action_space = self.single.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.render_mode = render_mode
        self._pictures = None if render_mode is None else SideBySide(self.single, self.num_envs, render_mode)
        #: Keys of the world's info that are reported, see :meth:`report_only`.
        self.info_keys = frozenset(self._all_info_keys())
        self._states: Ints = np.zeros(self.num_envs, dtype=np.int64)
        self._steps: Ints = np.zeros(self.num_envs, dtype=np.int64)
        self._done: Bools = np.zeros(self.num_envs, dtype=np.bool_)
        self._everyone: Bools = np.ones(self.num_envs, dtype=np.bool_)
        self._was_reset = False
        self._played: tuple[int, Any, Any] = (0, None, None)

    @property
    def state(self) -> Ints:
        """The state of every sub-environment, ``[n]``, a copy."""
        return self._states.copy()

    @property
    def played(self) -> Played:
        """The last step of all sub-environments as the world took it."""
        return Played(*self._played)

    def __getattr__(self, name: str) -> Any:
        """Fall back to the scalar environment for the performative interface: ``deploy``, ``dynamics``..."""
        if name.startswith("_") or name == "single":
            raise AttributeError(name)
        return getattr(self.single, name)

    def report_only(self, info_keys: Collection[str]) -> None:
        """Report only these keys of the world's info from now on: what nobody reads takes up to a third of a step.

        Raises:
            ValueError: the world has no such info.
        """
        known = self._all_info_keys()
        self.info_keys = frozenset(check_choice("info_keys", key, known) for key in info_keys)

    def _all_info_keys(self) -> list[str]:
        return ["round", "shift", "reward_shift", *self.single._describe(0, 0, 0)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes, in all sub-environments or those of ``options["reset_mask"]``; a seed restarts the world."""
        mask = self._reset_mask(options)
        if seed is not None:
            super().reset(seed=seed)
            self.rounds.restart(seed)
        self._start(mask.nonzero()[0])
        if self._pictures is not None:
            self._pictures.started(mask)
        self._done = self._done & ~mask
        self._was_reset = True
        return self._observations(), self._spread({"round": self.rounds.round})

    def step(self, actions: Any) -> tuple[Any, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Make one step in every sub-environment; in ``NEXT_STEP`` mode those that had finished are reset instead.

        All arrays returned are the caller's to keep.
        """
        actions = self._check_step(actions)
        # Noise is drawn for every sub-environment, finished or not: the stream does not depend on who finished.
        noise = self._draw_noise()
        info = self.rounds.step_info()
        states, idle = self._states, self._done.nonzero()[0]
        self._states, rewards, outcomes = self.rounds.sampler.step_many(states, actions, noise)
        wanted = self.info_keys or self._pictures
        described = self.single._describe(states, actions, outcomes) if wanted else {}
        self._played = (self._played[0] + 1, actions, rewards.copy())
        self.rounds.observe_many(states, actions, idle)
        self.rounds.wait(self._played[0] * self.num_envs)
        self._steps += 1
        terminated: Bools = self.single._absorbing.take(self._states)
        if self._pictures is not None:
            self._pictures.stepped(states, actions, rewards, info | described)
            self._pictures.started(self._done)
        limit = self.max_episode_steps
        truncated: Bools = np.zeros(self.num_envs, dtype=np.bool_) if limit is None else self._steps >= limit
        if len(idle):
            infos = self._spread(info) | self._spread(described, ~self._done)
            rewards[idle], terminated[idle], truncated[idle] = 0.0, False, False
            self._start(idle)
        else:
            infos = self._spread(info | described)
        self._done = terminated | truncated
        if self._autoreset is AutoresetMode.SAME_STEP:
            self._restart_finished(info | described, infos)
        return self._observations(), rewards, terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """Draw every sub-environment: a picture ``[height, width, 3]`` each (``rgb_array``), or a text (``ansi``)."""
        if self._pictures is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make_vec(..., render_mode='rgb_array')")
            return None
        return self._pictures.render(self._states)

    @classmethod
    def _render_modes(cls) -> list[str]:
        """Return the modes of the scalar environment that give one result per sub-environment."""
        return [mode for mode in cls.world_class.metadata["render_modes"] if mode != "human"]

    @classmethod
    def _check_render_mode(cls, mode: str | None) -> None:
        if mode == "human":
            raise ValueError(
                f"render_mode must be one of {cls._render_modes()} or None for a native vector environment, got "
                "'human': wrap one of 'rgb_array' in gymnasium.wrappers.vector.HumanRendering to see a window"
            )
        cls.world_class._check_render_mode(mode)

    def _observations(self) -> Any:
        """Return what the agents see, an array of its own."""
        return self.single._observation(self._states.copy())

    def _draw_noise(self) -> NDArray[np.float64]:
        """Return the random numbers that the sampler needs for one step of all sub-environments."""
        return self.np_random.random(self.num_envs)

    def _restart_finished(self, info: dict[str, Any], infos: dict[str, Any]) -> None:
        """Start new episodes at once where one has ended, and tell in ``infos`` how it ended."""
        finished = self._done.nonzero()[0]
        if not len(finished):
            return
        infos["final_obs"], infos["_final_obs"] = self._observations(), self._done
        infos["final_info"], infos["_final_info"] = self._spread(info, self._done), self._done.copy()
        self._start(finished)
        if self._pictures is not None:
            self._pictures.started(self._done)
        self._done = np.zeros(self.num_envs, dtype=np.bool_)

    def _start(self, chosen: Ints) -> None:
        """Draw start states for the sub-environments with the given indices."""
        draws = self.np_random.random(len(chosen))
        self._states[chosen] = self.single._start.searchsorted(draws, side="right")
        self._steps[chosen] = 0

    def _check_step(self, actions: Any) -> NDArray[Any]:
        """Return the actions as an array ``[n, ...]``, or raise and leave everything as it is."""
        if not self._was_reset:
            raise ResetNeeded("step() was called before reset(): reset the vector environment first")
        chosen = self._as_actions(actions)
        if self._autoreset is AutoresetMode.DISABLED and self._done.any():
            finished = np.flatnonzero(self._done).tolist()
            raise ValueError(f"sub-environments {finished} are finished: reset them with options={{'reset_mask': ...}}")
        return chosen

    def _as_actions(self, actions: Any) -> NDArray[Any]:
        """Return the actions as the sampler takes them, or raise ``ValueError``."""
        chosen = np.asarray(actions)
        if chosen.dtype.kind not in "iu":
            raise ValueError(f"actions must be whole numbers, got {chosen.dtype}")
        if chosen.shape != (self.num_envs,):
            raise ValueError(f"actions must have shape ({self.num_envs},), got {chosen.shape}")
        n_actions = self.rounds.problem.n_actions
        if np.minimum.reduce(chosen) < 0 or np.maximum.reduce(chosen) >= n_actions:
            raise ValueError(f"actions must be in 0..{n_actions - 1}, got {actions!r}")
        return chosen.astype(np.int64, copy=False)

    def _reset_mask(self, options: dict[str, Any] | None) -> Bools:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return self._everyone
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"options['reset_mask'] must be bool [{self.num_envs}], got {mask.dtype} {mask.shape}")
        return mask

    def _spread(self, info: dict[str, Any], present: Bools | None = None) -> dict[str, Any]:
        """Return info as Gymnasium's vector form: an array per key, 0 where absent, and a mask of who has it."""
        infos: dict[str, Any] = {}
        for key, value in info.items():
            if key not in self.info_keys:
                continue
            values = value if isinstance(value, np.ndarray) else np.full(self.num_envs, value)
            if present is not None:
                shown = present if values.ndim == 1 else present.reshape(-1, *[1] * (values.ndim - 1))
                values = np.where(shown, values, np.zeros((), values.dtype))
            infos[key], infos[f"_{key}"] = values, (self._everyone if present is None else present).copy()
        return infos


@functools.cache
def vector_class(world: type[WorldEnv]) -> type[PerformativeVectorEnv]:
    """Return a native vector form of a world that has none of its own.

    Raises:
        ValueError: this is no class of a world on :class:`perf_envs.env.WorldEnv`.
    """
    if not issubclass(world, WorldEnv):
        raise ValueError(f"a native vector form needs a class derived from perf_envs.PerformativeEnv, got {world!r}")
    return type(f"{world.__name__}VectorEnv", (PerformativeVectorEnv,), {"world_class": world, "__doc__": _DOC})


_DOC = "Many agents in one world, see :class:`perf_envs.PerformativeVectorEnv`."
