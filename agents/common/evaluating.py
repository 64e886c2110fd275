"""Evaluating a model in the world that answers it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common import callbacks
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from agents.common.deploying import deploy, is_performative
from agents.common.path import PathCheck


class EvalCallback(callbacks.EvalCallback):
    """Stable-Baselines3's ``EvalCallback``, which deploys the model in the evaluation environment before it evaluates.

    Returns are then those of the world that answers the policy, and so is the best model it keeps. The training goes on
    as it would without.

    Args:
        eval_env: performative worlds, of their own: those in training must not be moved by an evaluation.
        callback_on_new_best, callback_after_eval, n_eval_episodes, eval_freq, log_path, best_model_save_path, render,
            verbose, warn: as in Stable-Baselines3.
        deterministic: play the deterministic actions of the model, which are deployed then, instead of its policy.
            Unlike in Stable-Baselines3 it is off by default: the policy in training is what has to prove itself.

    Raises:
        ValueError: ``eval_env`` is not performative; when evaluating, a wrapper changes what actions or observations
            mean.
    """

    #: For those who look for callbacks that do not.
    deploys_before_evaluation = True

    def __init__(
        self,
        eval_env: gym.Env[Any, Any] | VecEnv,
        callback_on_new_best: BaseCallback | None = None,
        callback_after_eval: BaseCallback | None = None,
        n_eval_episodes: int = 5,
        eval_freq: int = 10000,
        log_path: str | None = None,
        best_model_save_path: str | None = None,
        deterministic: bool = False,
        render: bool = False,
        verbose: int = 1,
        warn: bool = True,
    ) -> None:
        super().__init__(
            eval_env,
            callback_on_new_best,
            callback_after_eval,
            n_eval_episodes,
            eval_freq,
            log_path,
            best_model_save_path,
            deterministic,
            render,
            verbose,
            warn,
        )
        if not is_performative(self.eval_env):
            raise ValueError(f"eval_env must be a performative world, got {self.eval_env}")

    def _init_callback(self) -> None:
        super()._init_callback()
        if self.eval_env is self.training_env:
            raise ValueError("eval_env must be another environment than the one in training, whose world it would move")
        if self.eval_env.has_attr("set_deployment"):
            self.eval_env.env_method("set_deployment", "declared")
        self.eval_env.reset()  # takes the seed given, if any: later resets leave the world as it is

    def _on_step(self) -> bool:
        if self.eval_freq > 0 and self.n_calls % self.eval_freq == 0:
            if self.model.get_vec_normalize_env() is not None:  # the policy is asked at observations it would see
                sync_envs_normalization(self.training_env, self.eval_env)
            deploy(self.model, self.eval_env, deterministic=self.deterministic)
            self._path = PathCheck(self.eval_env, rewards=False)
            with _own_chance(self.model.device):
                return super()._on_step()
        return super()._on_step()

    def _log_success_callback(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        """Compare the first steps at both ends of the environment, and log successes as Stable-Baselines3 does."""
        if locals_["i"] == self.eval_env.num_envs - 1:  # the last one has an episode to play, however few there are
            self._path.look(locals_["actions"], locals_["new_observations"], locals_["rewards"])
        super()._log_success_callback(locals_, globals_)


@contextmanager
def _own_chance(device: torch.device) -> Iterator[None]:
    """Leave the generators that actions are drawn from as they were."""
    state = np.random.get_state()  # noqa: NPY002 the one that Stable-Baselines3 draws from
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
