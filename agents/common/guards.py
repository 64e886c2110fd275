"""Clear errors for what can go wrong around an on-policy algorithm of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.common.settings import Settings


class Guarded(Settings):
    """An on-policy algorithm that says what is wrong before it learns from it.

    Derive from it first: ``class Mine(Guarded, PPO)``. Arguments and spaces that do not fit are ``ValueError``s; so are
    rewards that are not finite, which leave the policy as it was before the rollout. The end of a sub-environment's
    process is a ``RuntimeError``; exceptions of environments come out as they are.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with _refusals(type(self).__name__):
            super().__init__(*args, **kwargs)

    def check_settings(self) -> None:
        """Check all settings, and that a rollout has more than one step."""
        super().check_settings()
        n_envs = 2 if self.env is None else self.env.num_envs
        if self.n_steps * n_envs <= 1:
            raise ValueError(f"n_steps * n_envs must be greater than 1, got n_steps={self.n_steps} and n_envs={n_envs}")

    def _setup_model(self) -> None:
        with _refusals(type(self).__name__):
            super()._setup_model()

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


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn the ways in which Stable-Baselines3 refuses arguments and spaces into ``ValueError``."""
    try:
        yield
    except (AssertionError, NotImplementedError) as error:
        raise ValueError(f"{name} cannot be built like this: {error}") from error


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
