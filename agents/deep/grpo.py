"""Group relative policy optimisation (Shao et al. 2024, DeepSeekMath, arXiv 2402.03300) for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from agents.common.schedules import as_schedule
from agents.deep._base import EPSILON, Minibatch
from agents.deep.clipping import clipped_surrogate
from agents.deep.critic_free import OptionalCritic
from agents.deep.episodes import Array, ReturnSoFar, Segments, reward_to_go
from perf_envs.validation import check_choice

SUPERVISION = ("outcome", "process")


class GRPO(OptionalCritic):
    """PPO without a critic: an episode is judged by the other episodes of its group.

    The group are the episodes of one rollout: they share the policy that made them, as answers to one question do. With
    ``o_i`` the steps of episode ``i`` in the rollout, the policy's loss is (eq. 3 and 4 of the paper)

        - 1/G sum_i 1/|o_i| sum_t { min(ratio A, clip(ratio, 1 - eps, 1 + eps) A) - beta (1/ratio + log ratio - 1) },

    the last bracket estimating the divergence from the reference policy, which is the policy at the start of the round.

    - ``supervision="outcome"`` (section 4.1.2): every step has the return of its episode as advantage, less the mean
      return of the group, divided by their standard deviation. The return counts the whole episode, also what it earned
      in earlier rollouts. Episodes that the end of the rollout cuts off have no outcome: their steps are left out. Only
      if no episode at all ended in the rollout, the sub-environments' returns over the rollout are compared instead.
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
        n_steps: steps per sub-environment and rollout.
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

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 256,
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
        self.supervision = check_choice("supervision", supervision, SUPERVISION)
        self.clip_range = as_schedule("clip_range", clip_range)
        self.beta = as_schedule("beta", beta)
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

    def _setup_model(self) -> None:
        super()._setup_model()
        self._so_far = ReturnSoFar(self.n_envs)

    def _begin_round(self) -> None:
        super()._begin_round()
        buffer, found = self.rollout_buffer, self._segments()
        rewards, starts = buffer.rewards.astype(np.float64), buffer.episode_starts > 0.0
        returns = self._so_far.returns(rewards, starts, self._last_dones(), self.gamma)
        if self.supervision == "process":
            self._use(reward_to_go(standardized(rewards), starts, self.gamma), equal_shares(found))
        else:
            used = found.finished
            if not used.any():  # one segment in every sub-environment, all of the same length
                used, returns = np.ones(found.n, dtype=bool), reward_to_go(rewards, starts, self.gamma)[0]
            self._use(outcome_advantages(returns, used)[found.index], equal_shares(found, used))

    def _policy_loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        progress = self._current_progress_remaining
        surrogate, clipped = clipped_surrogate(batch.ratio, batch.advantages, self.clip_range(progress))
        log_ratio = batch.log_prob - batch.data.old_log_prob
        kl = torch.exp(-log_ratio) + log_ratio - 1.0
        weights = batch.data.returns
        figures = {"kl": kl.detach().mean(), "clip_fraction": clipped}
        return -(weights * (surrogate - self.beta(progress) * kl)).mean(), figures


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
