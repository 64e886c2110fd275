"""Performative Policy Gradient (PePG; Basu et al. 2025, arXiv 2512.20576) for Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from agents.common.guards import check_finite
from agents.common.schedules import hold_then_fall, ramp
from agents.common.settings import Rule, choice, count, minibatch, number, scheduled
from agents.pepg.answering import AnsweringWorld
from agents.pepg.batches import PePGBatch
from agents.pepg.policies import PePGCnnPolicy, PePGLoss, PePGMultiInputPolicy, PePGPolicy, SoftmaxPolicy
from agents.pepg.response import TabularAnswer, WorldAnswer
from agents.pepg.rollouts import SeenRewards, batches, flatten, visit_times

SelfPePG = TypeVar("SelfPePG", bound="PePG")

#: The world's answer is phased in over the first half: followed in full from a random policy it leads to poor optima.
DEFAULT_PERFORMATIVE_COEF = ramp(0.5)
#: Entropy is kept until the answer is in, then given up.
DEFAULT_ENT_COEF = hold_then_fall(0.01, hold=0.5, zero=0.8)


class PePG(AnsweringWorld):
    """Actor-critic that differentiates through the world's answer to its own policy.

    At the start of every rollout the policy is deployed; the gradient then has, beside the usual policy term, a reward
    and a dynamics term: how ``r_pi`` and ``P_pi`` would move with the policy. In an ordinary environment (no response
    map) it warns and trains as the actor-critic it otherwise is.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"`` (images), ``"MultiInputPolicy"`` (dictionaries), ``"SoftmaxPolicy"``
            (one logit per state and action) or a :class:`PePGPolicy` class.
        env: a performative world, as ``VecEnv`` (:func:`agents.make_vec_env`), environment or id.
        learning_rate: step size of the optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and round.
        gamma: discount; ``None`` takes the world's own (0.99 where there is none).
        gae_lambda: trade-off of bias and variance in the advantages.
        performative_coef: weight of the world's answer, float or schedule: 1 is the performative policy gradient, 0 the
            myopic one. Schedules run over each call of ``learn``: to continue a trained model, set it to 1.0.
        ent_coef: weight of the entropy in units of the range of the world's rewards, float or schedule.
        vf_coef: weight of the critic's loss.
        max_grad_norm: gradients are clipped to this norm.
        use_sde, sde_sample_freq: state-dependent exploration for ``Box`` actions, as in Stable-Baselines3.
        rollout_buffer_class, rollout_buffer_kwargs: as in Stable-Baselines3.
        normalize_advantage: divide advantages and the world's answer by the standard deviation of the advantages of a
            batch; ``ent_coef`` is then in these units rather than in those of the rewards.
        policy_gradient: ``"expected"`` sums the policy term over all actions, by a step of lookahead in the dynamics
            that the response map gives (elsewhere it is sampled); ``"sampled"`` uses the actions taken and advantages
            by GAE.
        response_terms: what of the world's answer is followed: ``"both"``, or the ``"reward"`` or the ``"dynamics"``
            term alone, which is no gradient of anything, but shows what the other one is for.
        n_epochs: gradient passes over each round's data; later ones are importance weighted. 1 is the theory.
        batch_size: size of the mini-batches of a pass; ``None`` takes a whole round at once.
        discount_visits: weight the visit at time ``t`` of an episode by ``gamma^t``, as the theorem does.
        strict: raise ``ValueError`` instead of warning when the environment has no response map, or one without
            gradient.
        stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device, _init_setup_model: as in
            Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, ``n_steps * n_envs`` is 1, or the spaces are not supported.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": PePGPolicy,
        "CnnPolicy": PePGCnnPolicy,
        "MultiInputPolicy": PePGMultiInputPolicy,
        "SoftmaxPolicy": SoftmaxPolicy,
    }
    myopic = "as a myopic actor-critic"
    rules: ClassVar[Mapping[str, Rule]] = {
        "ent_coef": scheduled(),
        "n_epochs": count(),
        "batch_size": minibatch,
        "policy_gradient": choice(("expected", "sampled")),
        "response_terms": choice(("both", "reward", "dynamics")),
        "vf_coef": number(at_least=0.0),
        "max_grad_norm": number(above=0.0),
    }
    older_names: ClassVar[Mapping[str, str]] = {"ent_coef": "ent_coef_schedule"}

    def __init__(  # noqa: PLR0913, PLR0917 Stable-Baselines3's arguments, and its own
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-3,
        n_steps: int = 5,
        gamma: float | None = None,
        gae_lambda: float = 0.95,
        performative_coef: float | Schedule = DEFAULT_PERFORMATIVE_COEF,
        ent_coef: float | Schedule = DEFAULT_ENT_COEF,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        normalize_advantage: bool = False,
        policy_gradient: str = "expected",
        response_terms: str = "both",
        n_epochs: int = 1,
        batch_size: int | None = None,
        discount_visits: bool = False,
        strict: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.n_epochs, self.batch_size = n_epochs, batch_size
        self.policy_gradient, self.response_terms = policy_gradient, response_terms
        self.discount_visits = discount_visits
        self.normalize_advantage = normalize_advantage
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=self._expect_answers(performative_coef, strict, gamma),
            gae_lambda=gae_lambda,
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
            _init_setup_model=False,
            supported_action_spaces=(spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box),
        )
        if _init_setup_model:
            self._setup_model()

    def _enter(self, env: VecEnv, answer: WorldAnswer | None) -> None:
        super()._enter(env, answer)
        self._episode_steps = np.zeros(env.num_envs, dtype=np.int64)
        self._reward_range = (np.inf, -np.inf)
        if answer is not None:
            answer.terms = self.response_terms
            self._reward_range = answer.reward_range

    @property
    def reward_scale(self) -> float:
        """Range of the world's expected rewards (of those seen, where they are not known): unit of ``ent_coef``."""
        low, high = self._reward_range
        return high - low if high > low else 1.0

    def _acting(self) -> AbstractContextManager[None]:
        return self.policy.acting_from(None if self._answer is None else self._answer.table)

    def train(self) -> None:
        """Take the gradient steps of one round.

        Raises:
            ValueError: loss or gradient are not finite; parameters are as before the step in question.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        alpha, entropy_weight = self.value_of("performative_coef"), self.value_of("ent_coef")
        if not self.normalize_advantage:
            entropy_weight *= self.reward_scale
        if self._answer is not None:
            self._answer.terms = self.response_terms
        losses: list[PePGLoss] = []
        for batch in self._batches():
            loss = self.policy.pepg_loss(
                batch,
                self._answer,
                alpha,
                entropy_weight,
                self.vf_coef,
                self.normalize_advantage,
                self.policy_gradient == "expected",
            )
            check_finite("loss", loss.total.detach())
            self.policy.optimizer.zero_grad()
            loss.total.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            check_finite("gradient norm", norm)
            self.policy.optimizer.step()
            losses.append(loss)
        self._n_updates += len(losses)
        self._log(losses, alpha, entropy_weight)

    def _batches(self) -> Iterator[PePGBatch]:
        """Yield the mini-batches of all passes over the round."""
        answer, recorder = self._answer, self._recorder
        states = None if recorder is None else torch.from_numpy(flatten(recorder.visited)).to(self.device)
        indexed = isinstance(answer, TabularAnswer) and answer.indexed
        weights = torch.as_tensor(self._visit_weights(), dtype=torch.float32, device=self.device)
        return batches(self.rollout_buffer, weights, states, self.n_epochs, self.batch_size, indexed)

    def _visit_weights(self) -> NDArray[np.float64]:
        """Return the weight of every visit of the round, flattened as the buffer is; the mean is 1."""
        starts = self.rollout_buffer.episode_starts.astype(np.bool_)
        if not self.discount_visits:
            return np.ones(starts.size)
        times = visit_times(starts, self._episode_steps)
        self._episode_steps = times[-1]
        weights = flatten(self.gamma**times)
        return np.asarray(weights / weights.mean())

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Deploy the policy, then collect a round of experience under it."""
        if self._answer is not None:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        # Where no response map tells the range of the rewards, it grows with those seen. The buffer's rewards are no
        # longer those of the environment: at time limits the critic's values are added.
        seen = SeenRewards(env, self._reward_range)
        try:
            return super().collect_rollouts(seen, callback, rollout_buffer, n_rollout_steps)
        finally:
            self._reward_range = seen.range

    def _log(self, losses: list[PePGLoss], alpha: float, entropy_weight: float) -> None:
        buffer, record = self.rollout_buffer, self.logger.record
        for key, term in (
            ("loss", "total"),
            ("policy_gradient_loss", "policy"),
            ("response_loss", "response"),
            ("entropy_loss", "entropy"),
            ("value_loss", "value"),
        ):
            record(f"train/{key}", float(np.mean([getattr(loss, term).item() for loss in losses])))
        record("train/explained_variance", explained_variance(buffer.values.flatten(), buffer.returns.flatten()))
        record("train/performative_coef", alpha)
        record("train/ent_coef", entropy_weight)
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        if hasattr(self.policy, "log_std"):
            record("train/std", float(self.policy.log_std.detach().exp().mean()))

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log, if anybody reads it with the exact figures of the policy deployed last."""
        if self._answer is not None and self.logger.output_formats:
            for name, figure in self._answer.figures().items():
                self.logger.record(f"perf/{name}", figure)
        super().dump_logs(iteration)

    def learn(
        self: SelfPePG,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 10,
        tb_log_name: str = "PePG",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfPePG:
        """Train for ``total_timesteps``, as in Stable-Baselines3."""
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
