"""What the deep agents share beside Stable-Baselines3: checks, names of runs, a loop of minibatch gradient steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutBufferSamples, Schedule
from stable_baselines3.common.utils import explained_variance
from torch import Tensor
from torch.nn import functional as F

from agents.common.guards import Guarded, check_finite
from agents.common.settings import Rule, count, minibatch, number, scheduled

SelfChecked = TypeVar("SelfChecked", bound="CheckedOnPolicyAlgorithm")

ACTION_SPACES: tuple[type[spaces.Space[Any]], ...] = (
    spaces.Box,
    spaces.Discrete,
    spaces.MultiDiscrete,
    spaces.MultiBinary,
)
#: Keeps a normalisation from dividing by zero, as in Stable-Baselines3.
EPSILON = 1e-8


def normalized(advantages: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return ``advantages [n]`` shifted to mean 0 and divided by their deviation, and what they were divided by.

    A single one, or where it is not ``wanted``, they come as they are.
    """
    if not wanted or len(advantages) < 2:
        return advantages, torch.ones_like(advantages[0])
    scale = advantages.std() + EPSILON
    return (advantages - advantages.mean()) / scale, scale


class CheckedOnPolicyAlgorithm(Guarded):
    """On-policy algorithm that refuses what it cannot learn from, and whose runs carry its own name."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }
    rules: ClassVar[Mapping[str, Rule]] = {"gamma": number(at_least=0.0, at_most=1.0)}

    def learn(
        self: SelfChecked,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfChecked:
        """Train for ``total_timesteps``, as in Stable-Baselines3; ``tb_log_name`` is the class's name by default."""
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=type(self).__name__ if tb_log_name is None else tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    def _check_rollout(self) -> None:
        """Raise ``ValueError`` if the rollout has log-probabilities or values that are not finite."""
        for name in ("log_probs", "values"):
            values = getattr(self.rollout_buffer, name)
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                step, index = bad[0]
                raise ValueError(
                    f"{name} of a rollout must be finite, got {values[step, index]} at step {step} of "
                    f"sub-environment {index}; the policy was left as it was"
                )

    def _begin_round(self) -> None:
        """Prepare a rollout that has just been collected."""

    def _explained_variance(self) -> float:
        """Return the share of the variance of the returns that the critic explained when the rollout was collected."""
        buffer = self.rollout_buffer
        return float(explained_variance(buffer.values.flatten(), buffer.returns.flatten()))

    def _actions(self, data: RolloutBufferSamples) -> Tensor:
        """Return the actions as the policy's distribution takes them: the buffer keeps all of them as floats."""
        return data.actions.long().flatten() if isinstance(self.action_space, spaces.Discrete) else data.actions

    def _record(self, figures: Mapping[str, float]) -> None:
        """Log what a round of training came to, under ``train/``."""
        for key, value in figures.items():
            self.logger.record(f"train/{key}", value)
        if isinstance(log_std := getattr(self.policy, "log_std", None), Tensor):
            self.logger.record("train/std", log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


class Minibatch(NamedTuple):
    """What a policy loss is computed from, for ``n`` steps.

    Attributes:
        data: the steps as the rollout buffer hands them out.
        advantages: ``[n]``, normalised if the algorithm does so.
        scale: what the advantages were divided by for it, a scalar.
        log_prob: of the actions under the current policy, ``[n]``, with gradient.
        ratio: probability ratio to the policy the data were collected with, ``[n]``, with gradient.
    """

    data: RolloutBufferSamples
    advantages: Tensor
    scale: Tensor
    log_prob: Tensor
    ratio: Tensor


class SurrogateAlgorithm(CheckedOnPolicyAlgorithm):
    """Several passes of minibatch gradient steps over each rollout.

        loss = policy loss + ent_coef * (-entropy) + vf_coef * E[ (V - G)^2 ].

    Subclasses say what the policy loss is (:meth:`_policy_loss`), and what happens before the first and after the last
    step of a round (:meth:`_begin_round`, :meth:`_end_round`). Arguments are those of
    :class:`stable_baselines3.PPO`, except that ``batch_size=None`` takes the whole rollout and that ``ent_coef`` may be
    a schedule.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "ent_coef": scheduled(),
        "n_epochs": count(),
        "batch_size": minibatch,
        "vf_coef": number(at_least=0.0),
        "max_grad_norm": number(above=0.0),
    }
    older_names: ClassVar[Mapping[str, str]] = {"ent_coef": "ent_coef_schedule"}

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str | None,
        *,
        learning_rate: float | Schedule,
        n_steps: int,
        batch_size: int | None,
        n_epochs: int,
        gamma: float,
        gae_lambda: float,
        normalize_advantage: bool,
        ent_coef: float | Schedule,
        vf_coef: float,
        max_grad_norm: float,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        self.batch_size, self.n_epochs = batch_size, n_epochs
        self.normalize_advantage = normalize_advantage
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            supported_action_spaces=ACTION_SPACES,
            _init_setup_model=False,
            **kwargs,
        )
        if _init_setup_model:
            self._setup_model()

    def train(self) -> None:
        """Take the gradient steps of one round.

        Raises:
            ValueError: loss or gradient are not finite; parameters are as before the step in question.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        self._check_rollout()
        self._begin_round()
        seen: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.n_epochs):
            finished = self._pass(seen)
            self._n_updates += 1
            if not finished:
                break
        figures = {key: float(np.mean(values)) for key, values in seen.items()}
        if "value_loss" in figures:
            figures["explained_variance"] = self._explained_variance()
        self._record(figures | self._end_round())

    def _pass(self, seen: dict[str, list[float]]) -> bool:
        """Go once through the rollout; return whether to the end."""
        for data in self._minibatches():
            loss, figures = self._loss(data)
            for key, value in figures.items():
                seen[key].append(float(value))
            if self._is_enough(figures):
                return False
            self._step(loss)
        return True

    def _loss(self, data: RolloutBufferSamples) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a minibatch, and what to log about it."""
        values, log_prob, entropy = self._evaluate(data)
        advantages, scale = normalized(data.advantages, self.normalize_advantage)
        batch = Minibatch(data, advantages, scale, log_prob, torch.exp(log_prob - data.old_log_prob))
        policy_loss, figures = self._policy_loss(batch)
        # Some distributions (squashed Gaussians) have no entropy in closed form.
        entropy_loss = -(-log_prob if entropy is None else entropy).mean()
        loss = policy_loss + self.value_of("ent_coef") * entropy_loss
        figures["entropy_loss"] = entropy_loss.detach()
        if values is not None:
            value_loss = F.mse_loss(data.returns, values.flatten())
            loss = loss + self.vf_coef * value_loss
            figures["value_loss"] = value_loss.detach()
        return loss, figures | {"loss": loss.detach()}

    def _minibatches(self) -> Iterator[RolloutBufferSamples]:
        """Yield the minibatches of a pass, in random order."""
        yield from self.rollout_buffer.get(self.batch_size)

    def _evaluate(self, data: RolloutBufferSamples) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Return the values of the states (``None``: no critic), and log-probabilities and entropy of the actions."""
        return self.policy.evaluate_actions(data.observations, self._actions(data))

    def _step(self, loss: Tensor) -> None:
        check_finite("loss", loss.detach())
        self.policy.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        check_finite("gradient norm", norm)
        self.policy.optimizer.step()

    def _policy_loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the policy's part of the loss, to be minimised, and figures to log, detached.

        One of the figures is ``policy_gradient_loss``, without penalties.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement _policy_loss(batch)")

    def _end_round(self) -> dict[str, float]:
        """Finish a round of training; return figures to log."""
        return {}

    def _is_enough(self, figures: Mapping[str, Tensor]) -> bool:
        """Return whether to end the round before the gradient step of a minibatch with these figures."""
        return False
