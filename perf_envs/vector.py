"""Native vector environments: many agents in *one* performative world, stepped by array code on the shared kernel.

All sub-environments run in the same world, so the policy is observed from their pooled actions and a deployment is
answered once, not once per copy.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from perf_envs.base_env import WorldEnv
from perf_envs.validation import check_count

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class PerformativeVectorEnv(VectorEnv[Any, Any, Any]):
    """Vector form of a performative world.

    Args:
        num_envs: number of agents ``n`` stepped side by side.
        max_episode_steps: steps after which an episode is truncated; ``None`` for never.
        autoreset_mode: what happens to a finished sub-environment (``gymnasium.vector.AutoresetMode``, or its value):
            ``NEXT_STEP`` resets it on the step after, ``SAME_STEP`` at once (the last observation and info are in
            ``info["final_obs"]`` and ``info["final_info"]``), ``DISABLED`` leaves it to
            ``reset(options={"reset_mask": ...})``.
        render_mode: must be ``None``; render the scalar environment instead.
        **kwargs: arguments of the scalar environment.

    Raises:
        ValueError: an argument is out of range, or a finished sub-environment is stepped in ``DISABLED`` mode.
    """

    world_class: ClassVar[type[WorldEnv]]
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

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
        if render_mode is not None:
            raise ValueError(f"render_mode must be None for a native vector environment, got {render_mode!r}")
        try:
            self._autoreset = AutoresetMode(autoreset_mode)
        except ValueError:
            names = [mode.value for mode in AutoresetMode]
            raise ValueError(f"autoreset_mode must be one of {names}, got {autoreset_mode!r}") from None
        self.metadata = {**self.metadata, "autoreset_mode": self._autoreset}
        #: The scalar environment this is the vector form of: its world is shared by all sub-environments.
        self.single = self.world_class(**kwargs)
        self.world: Any = self.single.world
        self.problem: Any = self.single.problem
        self.single_observation_space = self.single.observation_space
        self.single_action_space = self.single.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.render_mode = None
        self._states: Ints = np.zeros(self.num_envs, dtype=np.int64)
        self._steps: Ints = np.zeros(self.num_envs, dtype=np.int64)
        self._done: Bools = np.zeros(self.num_envs, dtype=np.bool_)

    @property
    def state(self) -> Ints:
        """The state of every sub-environment, ``[n]``, a copy."""
        return self._states.copy()

    def __getattr__(self, name: str) -> Any:
        """Fall back to the scalar environment for the performative interface: ``deploy``, ``dynamics``..."""
        if name.startswith("_") or name == "single":
            raise AttributeError(name)
        return getattr(self.single, name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes, in all sub-environments or those of ``options["reset_mask"]``; a seed restarts the world."""
        mask = self._reset_mask(options)
        if seed is not None:
            super().reset(seed=seed)
            self.world.restart()
        self._start(mask)
        return self._observations(), self._spread({"round": self.world.round})

    def step(self, actions: Any) -> tuple[Any, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Make one step in every sub-environment; in ``NEXT_STEP`` mode those that had finished are reset instead."""
        actions = self._check_actions(actions)
        # Noise is drawn for every sub-environment, finished or not: the stream does not depend on who finished.
        noise = self._draw_noise()
        info = self.world.step_info()
        idle = self._done if self._done.any() else None
        states = self._states
        following, rewards, outcomes = self.world.sampler.step_many(states, actions, noise)
        described = self.single._describe(states, actions, outcomes)
        if idle is None:
            self.world.observe_many(states, actions)
        else:
            self.world.observe_many(states[~idle], actions[~idle])
            rewards = np.where(idle, 0.0, rewards)
        self._states = following
        self._steps += 1
        terminated = self.single._absorbing[following]
        truncated = self._steps >= self.max_episode_steps if self.max_episode_steps else np.zeros_like(terminated)
        infos = self._spread(info) | self._spread(described, None if idle is None else ~idle)
        if idle is not None:
            terminated, truncated = terminated & ~idle, truncated & ~idle
            self._start(idle)
        finished = terminated | truncated
        self._done = finished
        if self._autoreset is AutoresetMode.SAME_STEP and finished.any():
            infos |= {"final_obs": self._observations(), "_final_obs": finished.copy()}
            infos |= {"final_info": self._spread(info | described, finished), "_final_info": finished.copy()}
            self._start(finished)
        return self._observations(), rewards, terminated, truncated, infos

    def _observations(self) -> Any:
        """Return what the agents see, an array of its own."""
        return self.single._observation(self._states.copy())

    def _draw_noise(self) -> NDArray[np.float64]:
        """Return the random numbers that the sampler needs for one step of all sub-environments."""
        return self.np_random.random(self.num_envs)

    def _start(self, mask: Bools) -> None:
        """Draw start states for the masked sub-environments."""
        draws = self.np_random.random(int(mask.sum()))
        self._states = self._states.copy()
        self._states[mask] = self.single._start.searchsorted(draws, side="right")
        self._steps[mask] = 0
        self._done = self._done & ~mask

    def _check_actions(self, actions: Any) -> NDArray[Any]:
        chosen = self._as_actions(actions)
        if self._autoreset is AutoresetMode.DISABLED and self._done.any():
            finished = np.flatnonzero(self._done).tolist()
            raise ValueError(f"sub-environments {finished} are finished: reset them with options={{'reset_mask': ...}}")
        return chosen

    def _as_actions(self, actions: Any) -> NDArray[Any]:
        """Return the actions as an array ``[n, ...]`` the sampler takes, or raise ``ValueError``."""
        chosen = np.asarray(actions)
        if chosen.dtype.kind not in "iu":
            raise ValueError(f"actions must be whole numbers, got {chosen.dtype}")
        chosen = chosen.astype(np.int64)
        if chosen.shape != (self.num_envs,):
            raise ValueError(f"actions must have shape ({self.num_envs},), got {chosen.shape}")
        if chosen.min() < 0 or chosen.max() >= self.problem.n_actions:
            raise ValueError(f"actions must be in 0..{self.problem.n_actions - 1}, got {actions!r}")
        return chosen

    def _reset_mask(self, options: dict[str, Any] | None) -> Bools:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"options['reset_mask'] must be bool [{self.num_envs}], got {mask.dtype} {mask.shape}")
        return mask

    def _spread(self, info: dict[str, Any], present: Bools | None = None) -> dict[str, Any]:
        """Return info as Gymnasium's vector form: an array per key, 0 where absent, and a mask of who has it."""
        present = np.ones(self.num_envs, dtype=np.bool_) if present is None else present
        infos: dict[str, Any] = {}
        for key, value in info.items():
            values = np.broadcast_to(value, (self.num_envs, *np.shape(value)[1:]))
            shown = present.reshape(-1, *[1] * (values.ndim - 1))
            infos[key] = np.where(shown, values, np.zeros_like(values))
            infos[f"_{key}"] = present.copy()
        return infos
