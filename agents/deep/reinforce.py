"""REINFORCE (Williams 1992) for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from agents.deep._base import Minibatch
from agents.deep.critic_free import OptionalCritic


class REINFORCE(OptionalCritic):
    """Monte Carlo policy gradient with the reward to go, and optionally a learnt baseline.

    One gradient step per rollout, along ``E[ grad log pi(a_t|s_t) (G_t - b(s_t)) ]`` with ``G_t`` the discounted sum of
    the rewards from ``t`` to the end of the episode.

    Episodes that the end of a rollout cuts off: with a baseline, ``G_t`` counts its estimate of what was still to come
    there, and at time limits (the default of Stable-Baselines3). Without one nothing is known of the rest, so the steps
    of such episodes are left out, and a time limit is an end like any other; only if no episode at all ended in the
    rollout, all are taken as they are, with the rewards up to the cut.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"`` or an ``ActorCriticPolicy`` class.
        env: environment, ``VecEnv`` or id.
        learning_rate: step size of the optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and rollout. Without a baseline it should be longer than an episode.
        gamma: discount.
        baseline: subtract a value function ``b(s)``, fitted to the returns; ``False`` trains no critic.
        normalize_advantage: shift and scale ``G - b`` to mean 0 and deviation 1 over the rollout.
        ent_coef: weight of the entropy, float or schedule.
        vf_coef: weight of the loss of the baseline.
        max_grad_norm: gradients are clipped to this norm, policy and baseline together: a small one lets the errors of
            the baseline, which are as large as returns, drown the policy.
        use_sde, sde_sample_freq, rollout_buffer_class, rollout_buffer_kwargs, stats_window_size, tensorboard_log,
            policy_kwargs, verbose, seed, device, _init_setup_model: as in Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, or ``n_steps * n_envs`` is 1.
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 5e-3,
        n_steps: int = 256,
        gamma: float = 0.99,
        baseline: bool = True,
        normalize_advantage: bool = True,
        ent_coef: float | Schedule = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 100.0,
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
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=None,
            n_epochs=1,
            gamma=gamma,
            gae_lambda=1.0,  # the advantage is the reward to go minus the value
            normalize_advantage=normalize_advantage,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            critic=baseline,
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

    @property
    def baseline(self) -> bool:
        """Whether a value function is fitted and subtracted."""
        return self.critic

    @baseline.setter
    def baseline(self, wanted: bool) -> None:
        self.critic = wanted

    def _setup_model(self) -> None:
        self.critic = self.__dict__.pop("baseline", self.critic)  # given to load
        super()._setup_model()

    def _begin_round(self) -> None:
        super()._begin_round()
        if not self.critic:
            found = self._segments()
            used = found.finished[found.index] if found.finished.any() else found.index >= 0
            self._use(self.rollout_buffer.advantages, used)

    def _policy_loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = -(batch.advantages * batch.log_prob).mean()
        return loss, {"policy_gradient_loss": loss.detach()}
