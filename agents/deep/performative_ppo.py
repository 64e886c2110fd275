"""PPO-clip with the response terms of the performative policy gradient, for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from agents.common.settings import Rule, number, or_none, scheduled
from agents.deep._base import Minibatch, SurrogateAlgorithm
from agents.deep.clipping import clipped_surrogate
from agents.deep.performative import POLICIES, ResponseSurrogate
from agents.deep.previous import approximate_divergence
from agents.pepg.pepg import DEFAULT_ENT_COEF, DEFAULT_PERFORMATIVE_COEF


class PerformativePPO(ResponseSurrogate, SurrogateAlgorithm):
    """PPO-clip on the performative objective: the world's answer to the policy is part of what the policy is worth.

    At the start of every rollout the policy is deployed. To PPO's clipped surrogate is added that of the world's answer
    (:mod:`agents.deep.performative`), clipped action by action in the same way and in the same (normalised) units,

        alpha / scale * sum_s sum_a min( (pi - pi_old) B, clip(pi - pi_old, - eps pi_old, eps pi_old) B )(a|s).

    (Continuous actions: means and standard deviations are clipped to ``eps`` standard deviations around the old ones.)

    At the first gradient step this is the gradient of PPO plus the response terms of
    :class:`agents.PePG`. With ``performative_coef=0`` it is :class:`stable_baselines3.PPO`, and in an ordinary
    environment (no response map) it warns and trains as that.

    Args:
        policy: ``"MlpPolicy"``, ``"SoftmaxPolicy"`` (one logit per state and action), ``"CnnPolicy"``,
            ``"MultiInputPolicy"`` or a :class:`agents.PePGPolicy` class.
        env: a performative world, as ``VecEnv`` (:func:`agents.make_vec_env`), environment or id.
        learning_rate: step size of the optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and round.
        batch_size: size of the minibatches; ``None`` takes the whole rollout at once.
        n_epochs: passes over each rollout.
        gamma: discount; ``None`` takes the world's own (0.99 where there is none).
        gae_lambda: trade-off of bias and variance in the advantages.
        clip_range: ``eps``, float or schedule.
        performative_coef: weight ``alpha`` of the world's answer, float or schedule; see :class:`agents.PePG`.
        normalize_advantage: shift and scale advantages to mean 0 and deviation 1 in every minibatch.
        ent_coef: weight of the entropy, float or schedule.
        vf_coef: weight of the critic's loss.
        max_grad_norm: gradients are clipped to this norm.
        target_kl: end the passes over a rollout at 1.5 times this divergence, in nats; ``None`` for no such limit.
        strict: raise ``ValueError`` instead of warning when the environment has no response map.
        use_sde, sde_sample_freq, rollout_buffer_class, rollout_buffer_kwargs, stats_window_size, tensorboard_log,
            policy_kwargs, verbose, seed, device, _init_setup_model: as in Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, ``n_steps * n_envs`` is 1, or the spaces are not those of the world.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict(POLICIES)

    rules: ClassVar[Mapping[str, Rule]] = {
        "clip_range": scheduled(),
        "target_kl": or_none(number(above=0.0)),
    }

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 32,
        batch_size: int | None = 256,
        n_epochs: int = 10,
        gamma: float | None = None,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        performative_coef: float | Schedule = DEFAULT_PERFORMATIVE_COEF,
        normalize_advantage: bool = True,
        ent_coef: float | Schedule = DEFAULT_ENT_COEF,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        strict: bool = False,
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
        self.clip_range, self.target_kl = clip_range, target_kl
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=self._expect_answers(performative_coef, strict, gamma),
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
        clip_range = self.value_of("clip_range")
        surrogate, clipped = clipped_surrogate(batch.ratio, batch.advantages, clip_range)
        loss = -surrogate.mean()
        figures = {
            "policy_gradient_loss": loss.detach(),
            "clip_fraction": clipped,
            "approx_kl": approximate_divergence(batch.log_prob - batch.data.old_log_prob),
        }
        if self._linear is not None:
            response = self._response_surrogate(clip_range) / batch.scale
            loss = loss - self._weight_now * response
            figures["response_loss"] = -response.detach()
        return loss, figures

    def _is_enough(self, figures: Mapping[str, Tensor]) -> bool:
        return self.target_kl is not None and float(figures["approx_kl"]) > 1.5 * self.target_kl

    def _end_round(self) -> dict[str, float]:
        return super()._end_round() | {"performative_coef": self._weight_now}
