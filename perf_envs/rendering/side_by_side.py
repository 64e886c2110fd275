"""Pictures of a native vector environment: one per sub-environment, drawn as the scalar environment draws itself."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from perf_envs.env import WorldEnv


class SideBySide:
    """Scalar environments in one world, put into the states of the sub-environments and asked to draw themselves.

    Each keeps a renderer of its own: pictures remember steps before, as a season is what was drawn of it.

    Args:
        single: the scalar environment whose world the sub-environments share; it is not changed.
        num_envs: sub-environments ``n``.
        mode: ``"rgb_array"`` or ``"ansi"``.
    """

    def __init__(self, single: WorldEnv, num_envs: int, mode: str) -> None:
        # Shallow copies: state, last step and renderer are their own, the world is the one that all share.
        self._views = [copy.copy(single) for _ in range(num_envs)]
        for view in self._views:
            view.render_mode, view._last, view._renderer = mode, {}, None

    def started(self, which: NDArray[np.bool_]) -> None:
        """Begin a new episode in some of the sub-environments, ``[n]``: there is no last step to show."""
        for index in which.nonzero()[0].tolist():
            self._views[index]._last = {}

    def stepped(
        self, states: NDArray[Any], actions: NDArray[Any], rewards: NDArray[np.float64], info: dict[str, Any]
    ) -> None:
        """Remember a step of every sub-environment.

        Args:
            states: where it began, ``[n]``.
            actions: ``[n, ...]``.
            rewards: ``[n]``.
            info: what is told of the step: arrays ``[n, ...]``, or one value for all.
        """
        for index, view in enumerate(self._views):
            own = {key: value[index].copy() if np.ndim(value) else value for key, value in info.items()}
            step = {"state": int(states[index]), "action": actions[index].copy(), "reward": float(rewards[index])}
            view._last = step | own

    def render(self, states: NDArray[Any]) -> tuple[Any, ...]:
        """Return one picture or text per sub-environment, in these states ``[n]``."""
        for view, state in zip(self._views, states.tolist(), strict=True):
            view.state = state
        return tuple(view.render() for view in self._views)
