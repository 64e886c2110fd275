"""PPO with an adaptive penalty (Schulman et al. 2017, arXiv 1707.06347, section 4) for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from agents.common.settings import Rule, number, scheduled
from agents.deep._base import Minibatch
from agents.deep.previous import RemembersPreviousPolicy, divergence

#: The weight of the penalty stays between these: halved for ever it would be lost, and take as long to come back.
BETA_RANGE = (1e-4, 1e4)


class PPOPenalty(RemembersPreviousPolicy):
    """PPO that is held near the previous policy by a penalty on the divergence instead of clipped ratios.

    The policy's loss is ``- E[ ratio A - beta KL(old || new) ]``, with the exact divergence at every state. After each
    round, where ``d`` is the mean divergence over the rollout: ``beta`` is doubled if ``d > 1.5 target_kl`` and halved
    if ``d < target_kl / 1.5``.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"`` or an ``ActorCriticPolicy`` class.
        env: environment, ``VecEnv`` or id.
        learning_rate: step size of the optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and rollout.
        batch_size: size of the minibatches; ``None`` takes the whole rollout at once.
        n_epochs: passes over each rollout.
        gamma: discount.
        gae_lambda: trade-off of bias and variance in the advantages.
        target_kl: divergence ``delta`` aimed at in each round, in nats, float or schedule.
        beta: weight of the penalty in the first round, in units of the (normalised) advantage.
        normalize_advantage: shift and scale advantages to mean 0 and deviation 1 in every minibatch.
        ent_coef: weight of the entropy, float or schedule.
        vf_coef: weight of the critic's loss.
        max_grad_norm: gradients are clipped to this norm.
        use_sde, sde_sample_freq, rollout_buffer_class, rollout_buffer_kwargs, stats_window_size, tensorboard_log,
            policy_kwargs, verbose, seed, device, _init_setup_model: as in Stable-Baselines3.

    Attributes:
        beta: weight of the penalty in the next round.

    Raises:
        ValueError: an argument is out of range, or ``n_steps * n_envs`` is 1.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "target_kl": scheduled(),
        "beta": number(at_least=BETA_RANGE[0], at_most=BETA_RANGE[1]),
    }

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 256,
        batch_size: int | None = 256,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        target_kl: float | Schedule = 0.01,
        beta: float = 1.0,
        normalize_advantage: bool = True,
        ent_coef: float | Schedule = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.target_kl, self.beta = target_kl, beta
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            normalize_advantage=normalize_advantage,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def _policy_loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        # `action_dist` is the distribution the log-probabilities were just taken from.
        kl = divergence(self._previous_distribution(batch.data.observations), self.policy.action_dist).mean()
        loss = -(batch.ratio * batch.advantages).mean()
        return loss + self.beta * kl, {"policy_gradient_loss": loss.detach()}

    def _end_round(self) -> dict[str, float]:
        kl, beta = self._mean_divergence(), self.beta
        self.beta = adapted(beta, kl, self.value_of("target_kl"))
        return super()._end_round() | {"kl": kl, "beta": beta}

    def _mean_divergence(self) -> float:
        """Return ``KL(old || new)`` averaged over the rollout."""
        self.policy.set_training_mode(False)
        total, count = 0.0, 0
        with torch.no_grad():
            for data in self._minibatches():
                old, new = (
                    self._previous_distribution(data.observations),
                    self.policy.get_distribution(data.observations),
                )
                values = divergence(old, new)
                total, count = total + float(values.sum()), count + len(values)
        return total / count


def adapted(beta: float, kl: float, target_kl: float) -> float:
    """Return the weight of the penalty after a round that moved the policy by ``kl``."""
    factor = 2.0 if kl > 1.5 * target_kl else 0.5 if kl < target_kl / 1.5 else 1.0
    return float(np.clip(factor * beta, *BETA_RANGE))
