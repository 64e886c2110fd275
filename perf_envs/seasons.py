"""Worlds whose episodes are seasons: they end by themselves, after ``horizon`` steps at the latest."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec


class Season(gym.Env[Any, Any]):
    """Says in the specification of an environment how long its episodes can last.

    The registration cannot: ``horizon`` is an argument. But wrappers ask ``env.spec.max_episode_steps`` to put the time
    into observations (Gymnasium's ``TimeAwareObservation``, sb3-contrib's ``TimeFeatureWrapper``). A limit of one step
    more than a season has is never reached, so an environment made again from its specification, now within a
    ``TimeLimit``, ends its episodes as this one does: terminated, and never truncated.
    """

    horizon: int
    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """The specification the environment was made from, with a limit of ``horizon + 1`` steps if it had none."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None and spec.max_episode_steps is None:
            spec = copy.copy(spec)
            spec.max_episode_steps = self.horizon + 1
        self._spec = spec
