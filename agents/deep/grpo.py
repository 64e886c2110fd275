"""Group relative policy optimisation (Shao et al. 2024, DeepSeekMath, arXiv 2402.03300) for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.common.settings import Rule, choice, scheduled
from agents.deep._base import EPSILON, Minibatch
from agents.deep.clipping import clipped_surrogate
from agents.deep.critic_free import OptionalCritic
from agents.deep.episodes import Array, Segments, reward_to_go

SUPERVISION = ("outcome", "process")


class GRPO(OptionalCritic):
    """PPO without a critic: an episode is judged by the other episodes of its group.

    The group are the episodes of one rollout, all begun in it: the environments are reset when a rollout starts. They
    share the policy and the distribution of starts, as the answers to one question do. With ``o_i`` the steps of
    episode ``i``, the policy's loss is (eq. 3 and 4 of the paper)

        - 1/G sum_i 1/|o_i| sum_t { min(ratio A, clip(ratio, 1 - eps, 1 + eps) A) - beta (1/ratio + log ratio - 1) },

    the last bracket estimating the divergence from the reference policy, which is the policy at the start of the round.

    - ``supervision="outcome"`` (section 4.1.2): every step has the return of its episode as advantage, less the mean
      return of the group, divided by their standard deviation. Episodes that the end of the rollout cuts off have no
      outcome and are left out, unless they are as long as the rollout: then what they earned in it is their outcome.
    - ``supervision="process"`` (section 4.1.3): rewards are normalised by mean and standard deviation over all steps of
      the rollout; the advantage of a step is the (discounted) sum of the normalised rewards from there to the end of
      the episode, or to where the end of the rollout cuts it: what is missing has mean 0. Where every step earns the
      same, as in CartPole, there is nothing to learn from it.

    The value network of the policy is neither trained nor asked; a time limit is an end like any other. A group of one
    teaches nothing: there should be several sub-environments, or rollouts much longer than episodes.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"`` or an ``ActorCriticPolicy`` class.
        env: environment, ``VecEnv`` or id.
        learning_rate: step size of the optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and rollout; at best as long as the longest episodes.
        batch_size: size of the minibatches; ``None`` takes the whole rollout at once.
        n_epochs: passes over each rollout.
        gamma: discount of returns; the paper has none.
        supervision: ``"outcome"`` or ``"process"``.
        clip_range: ``eps``, float or schedule.
        beta: weight of the divergence from the reference policy, float or schedule.
        ent_coef: weight of the entropy, float or schedule.
        max_grad_norm: gradients are clipped to this norm.
        use_sde, sde_sample_freq, rollout_buffer_class, rollout_buffer_kwargs, stats_window_size, tensorboard_log,
            policy_kwargs, verbose, seed, device, _init_setup_model: as in Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, or ``n_steps * n_envs`` is 1.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "supervision": choice(SUPERVISION),
        "clip_range": scheduled(),
        "beta": scheduled(),
    }

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 512,
        batch_size: int | None = 256,
        n_epochs: int = 10,
        gamma: float = 1.0,
        supervision: str = "outcome",
        clip_range: float | Schedule = 0.2,
        beta: float | Schedule = 0.04,
        ent_coef: float | Schedule = 0.0,
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
        self.supervision, self.clip_range, self.beta = supervision, clip_range, beta
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=1.0,
            normalize_advantage=False,  # they are normalised by their group
            ent_coef=ent_coef,
            vf_coef=0.0,
            max_grad_norm=max_grad_norm,
            critic=False,
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

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Collect a round of episodes, all from their beginning."""
        if not self._last_dones().all():
            self._last_obs = env.reset()  # type: ignore[assignment]
            self._last_episode_starts = np.ones(env.num_envs, dtype=bool)
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def _begin_round(self) -> None:
        super()._begin_round()
        buffer, found = self.rollout_buffer, self._segments()
        rewards, starts = buffer.rewards.astype(np.float64), buffer.episode_starts > 0.0
        if self.supervision == "process":
            self._use(reward_to_go(standardized(rewards), starts, self.gamma), equal_shares(found))
        else:
            used = found.finished | (found.lengths == len(rewards))
            returns = reward_to_go(rewards, starts, self.gamma).T[starts.T]
            self._use(outcome_advantages(returns, used)[found.index], equal_shares(found, used))

    def _policy_loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        surrogate, clipped = clipped_surrogate(batch.ratio, batch.advantages, self.value_of("clip_range"))
        log_ratio = batch.log_prob - batch.data.old_log_prob
        kl = torch.exp(-log_ratio) + log_ratio - 1.0
        weights = batch.data.returns
        loss, penalty = -(weights * surrogate).mean(), (weights * kl).mean()
        figures = {"policy_gradient_loss": loss.detach(), "kl": penalty.detach(), "clip_fraction": clipped}
        return loss + self.value_of("beta") * penalty, figures


def standardized(values: Array) -> Array:
    """Return ``values`` less their mean, divided by their standard deviation; zeros if they are all the same."""
    centred = values - values.mean()
    deviation = centred.std()
    return np.zeros_like(centred) if deviation < EPSILON else centred / deviation


def outcome_advantages(returns: Array, used: NDArray[np.bool_]) -> Array:
    """Return the group-normalised return of every episode that is used ``[n_segments]``, and 0 for the others."""
    advantages = np.zeros_like(returns)
    advantages[used] = standardized(returns[used])
    return advantages


def equal_shares(found: Segments, used: NDArray[np.bool_] | None = None) -> Array:
    """Return weights of steps ``[T, n_envs]`` that give every used episode the same total; they average to 1."""
    shares = np.where(np.ones(found.n, dtype=bool) if used is None else used, 1.0 / found.lengths, 0.0)
    weights = shares[found.index]
    return np.asarray(weights / weights[weights > 0.0].mean())
