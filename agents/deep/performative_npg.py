"""Natural policy gradient with the response terms of the performative policy gradient, for Stable-Baselines3."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, RolloutBufferSamples, Schedule
from torch import Tensor

from agents.deep._base import normalized
from agents.deep.npg import NPG
from agents.deep.performative import POLICIES, ResponseSurrogate
from agents.pepg.pepg import DEFAULT_PERFORMATIVE_COEF


class PerformativeNPG(ResponseSurrogate, NPG):
    """Natural gradient steps on the performative objective, in the trust region of :class:`agents.deep.NPG`.

    At the start of every rollout the policy is deployed. The gradient that is turned into a natural one is the policy
    gradient plus ``performative_coef`` times the response terms of :class:`agents.PePG`, in the same (normalised)
    units. With ``performative_coef=0`` it is :class:`agents.deep.NPG`, and in an ordinary environment (no response map)
    it warns and trains as that.

    Args:
        policy: ``"MlpPolicy"``, ``"SoftmaxPolicy"`` (one logit per state and action), ``"CnnPolicy"``,
            ``"MultiInputPolicy"`` or a :class:`agents.PePGPolicy` class.
        env: a performative world, as ``VecEnv`` (:func:`agents.make_vec_env`), environment or id.
        learning_rate: step size of the critic's optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and round.
        batch_size: size of the minibatches the critic is fitted with.
        gamma: discount; ``None`` takes the world's own (0.99 where there is none).
        gae_lambda: trade-off of bias and variance in the advantages.
        target_kl: size of the trust region in nats, float or schedule; ``None`` for no trust region.
        step_size: step along the natural gradient, per unit of the (normalised) advantage, float or schedule; ``None``
            steps to the border of the trust region.
        performative_coef: weight of the world's answer, float or schedule; see :class:`agents.PePG`.
        cg_max_steps: steps of the conjugate gradient method at most.
        cg_damping: multiple of the identity added to the Fisher information, see :class:`agents.deep.NPG`.
        n_critic_updates: passes over the rollout to fit the critic.
        normalize_advantage: shift and scale advantages to mean 0 and deviation 1 over the rollout.
        strict: raise ``ValueError`` instead of warning when the environment has no response map.
        use_sde, sde_sample_freq, rollout_buffer_class, rollout_buffer_kwargs, stats_window_size, tensorboard_log,
            policy_kwargs, verbose, seed, device, _init_setup_model: as in Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, ``n_steps * n_envs`` is 1, or the spaces are not those of the world.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict(POLICIES)

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 32,
        batch_size: int = 256,
        gamma: float | None = None,
        gae_lambda: float = 0.95,
        target_kl: float | Schedule | None = 0.02,
        step_size: float | Schedule | None = None,
        performative_coef: float | Schedule = DEFAULT_PERFORMATIVE_COEF,
        cg_max_steps: int = 15,
        cg_damping: float = 0.1,
        n_critic_updates: int = 10,
        normalize_advantage: bool = True,
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
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=batch_size,
            gamma=self._expect_answers(performative_coef, strict, gamma),
            gae_lambda=gae_lambda,
            target_kl=target_kl,
            step_size=step_size,
            cg_max_steps=cg_max_steps,
            cg_damping=cg_damping,
            n_critic_updates=n_critic_updates,
            normalize_advantage=normalize_advantage,
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

    def _objective(self, data: RolloutBufferSamples, log_prob: Tensor) -> tuple[Tensor, dict[str, float]]:
        objective, figures = super()._objective(data, log_prob)
        figures["performative_coef"] = self._weight_now
        if self._linear is None:
            return objective, figures
        response = self._response_surrogate() / normalized(data.advantages, self.normalize_advantage)[1]
        return objective + self._weight_now * response, figures | {"response_loss": -response.item()}
