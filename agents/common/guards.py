"""Clear errors for what can go wrong around an on-policy algorithm of Stable-Baselines3."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.common.refusals import RefusedAssertionError, check_rollout, refusals
from agents.common.settings import Settings
from agents.common.spaces import check_spaces


class Guarded(Settings):
    """An on-policy algorithm that says what is wrong before it learns from it.

    Derive from it first: ``class Mine(Guarded, PPO)``. Arguments and spaces that do not fit are ``ValueError``s, and
    where Stable-Baselines3 refuses them in another way also what it raises (:mod:`agents.common.refusals`); so are
    rewards that are not finite, which leave the policy as it was before the rollout. The end of a sub-environment's
    process is a ``RuntimeError``; exceptions of environments come out as they are.

    A rollout must have two steps at least (``n_steps * n_envs > 1``): one has no deviation to measure advantages by.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with self._refusals("cannot be built like this"):
            super().__init__(*args, **kwargs)

    def check_settings(self) -> None:
        """Check all settings, and that a rollout has more than one step."""
        super().check_settings()
        check_rollout(self.n_steps, self.env)

    def _refusals(self, what: str) -> AbstractContextManager[None]:
        return refusals(f"{type(self).__name__} {what}")

    def _setup_model(self) -> None:
        check_spaces(self.observation_space, self.action_space)
        with self._refusals("cannot be built like this"):
            super()._setup_model()

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        if self.env is None:
            raise RefusedAssertionError(f"env must be set before {type(self).__name__} learns (set_env), got None")
        return super()._setup_learn(*args, **kwargs)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Change the environment, as in Stable-Baselines3.

        Raises:
            ValueError: its spaces or the number of its sub-environments are not those of the model.
        """
        with self._refusals("cannot take this environment"):
            super().set_env(env, force_reset=force_reset)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Collect experience, as in Stable-Baselines3.

        Raises:
            ValueError: a reward is not finite.
            RuntimeError: the process of a sub-environment has ended.
        """
        try:
            go_on = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(
                "the process of a sub-environment has ended: its own error is printed above, unless it was killed"
            ) from error
        if go_on:
            check_rewards(rollout_buffer.rewards)
        return go_on


def check_finite(name: str, values: float | Tensor) -> None:
    """Raise ``ValueError`` if ``values`` has an entry that is NaN or infinite."""
    tensor = torch.as_tensor(values)
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        bad = tensor[~finite].flatten()[0].item()
        raise ValueError(f"{name} must be finite, got {bad}: the policy was left as it was before this gradient step")


def check_rewards(rewards: NDArray[np.float32]) -> None:
    """Raise ``ValueError`` unless all rewards ``[steps, n]`` are finite; the first that is not is named."""
    if not np.isfinite(rewards).all():
        step, index = np.argwhere(~np.isfinite(rewards))[0]
        raise ValueError(
            f"rewards must be finite, got {rewards[step, index]} from sub-environment {index} at step {step} of the "
            "rollout; the policy is as it was before the rollout"
        )
