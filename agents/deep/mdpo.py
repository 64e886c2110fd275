"""Mirror descent policy optimisation, on-policy (Tomar et al. 2020, arXiv 2005.09814) for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from agents.common.schedules import ramp
from agents.common.settings import Rule, scheduled
from agents.deep._base import Minibatch
from agents.deep.previous import RemembersPreviousPolicy, divergence

#: ``t_k = 1 - k/K``, the annealing of the paper.
DEFAULT_STEP_SIZE = ramp(1.0, start_value=1.0, end_value=0.0)


class MDPO(RemembersPreviousPolicy):
    """Approximate mirror descent: each round solves a proximal problem around the previous policy, by gradient steps.

    The policy's loss is ``- E[ ratio A ] + KL(new || old) / t_k``, with the exact divergence at every state. Over all
    policies its minimum is ``pi_new ~ pi_old exp(t_k A)``, the natural policy gradient of softmax tables. Where ``t_k``
    is 0 the policy stays and only the critic learns.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"`` or an ``ActorCriticPolicy`` class.
        env: environment, ``VecEnv`` or id.
        learning_rate: step size of the optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and rollout.
        batch_size: size of the minibatches; ``None`` takes the whole rollout at once.
        n_epochs: passes over each rollout: with ``batch_size`` the number of gradient steps on the proximal problem.
        gamma: discount.
        gae_lambda: trade-off of bias and variance in the advantages.
        step_size: ``t_k``, per unit of the (normalised) advantage, float or schedule; from 1 to 0 by default.
        normalize_advantage: shift and scale advantages to mean 0 and deviation 1 in every minibatch.
        ent_coef: weight of the entropy, float or schedule.
        vf_coef: weight of the critic's loss.
        max_grad_norm: gradients are clipped to this norm.
        use_sde, sde_sample_freq, rollout_buffer_class, rollout_buffer_kwargs, stats_window_size, tensorboard_log,
            policy_kwargs, verbose, seed, device, _init_setup_model: as in Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, or ``n_steps * n_envs`` is 1.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"step_size": scheduled()}

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
        step_size: float | Schedule = DEFAULT_STEP_SIZE,
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
        self.step_size = step_size
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

    def _begin_round(self) -> None:
        super()._begin_round()
        # The paper counts from the start of a round, so that the first one has t = 1 and the last one more than 0;
        # Stable-Baselines3 has already counted the steps of this round as done.
        steps = self.n_steps * self.n_envs
        progress = min(1.0, self._current_progress_remaining + steps / max(1, self._total_timesteps))
        self._step_now = self.value_of("step_size", progress)

    def _policy_loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        # `action_dist` is the distribution the log-probabilities were just taken from.
        kl = divergence(self.policy.action_dist, self._previous_distribution(batch.data.observations)).mean()
        loss = -(batch.ratio * batch.advantages).mean()
        figures = {"policy_gradient_loss": loss.detach(), "kl": kl.detach()}
        if self._step_now <= 0.0:
            return torch.zeros((), device=self.device), figures
        return loss + kl / self._step_now, figures

    def _end_round(self) -> dict[str, float]:
        return super()._end_round() | {"step_size": self._step_now}
