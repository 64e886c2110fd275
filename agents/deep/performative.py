"""What turns a trust region method into a performative one: deployments, and the response terms of PePG.

The response terms are the gradient of :meth:`agents.pepg.response.WorldAnswer.objective`, ``R(theta)``. A trust region
method works on a surrogate that is built once per round around the deployed policy ``pi_old``; here that of ``R``,

    R(theta) - R(old)  ~  sum_s sum_a (pi_theta - pi_old)(a|s) B(s,a),   B = dR/dpi at pi_old, centred in each state,

which has the gradient of ``R`` at ``pi_old``. ``B(s,a)``, divided by the share of visits to ``s``, is the
advantage of ``a`` that comes from the world's answer.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import Tensor

from agents.common.deploying import deploy, log_deployment, performative_problem, query_observations
from agents.common.schedules import as_schedule
from agents.deep._base import CheckedOnPolicyAlgorithm
from agents.pepg.response import WorldAnswer


class LinearAnswer(NamedTuple):
    """The response terms of a round: the deployed policy and ``B``, both ``[S, A]``, and every state's observation."""

    deployed: Tensor
    slope: Tensor
    observations: Tensor


class AnsweringWorld(CheckedOnPolicyAlgorithm):
    """Mixin: deploys the policy at the start of every rollout, and knows how the world would answer another one.

    Attributes:
        performative_coef: weight of the response terms, a schedule.
        strict: whether an environment without a response map is an error, or trained on without response terms.
    """

    performative_coef: Schedule
    strict: bool
    _own_discount: float | None

    def _expect_answers(self, performative_coef: float | Schedule, strict: bool, gamma: float | None) -> float:
        """Take the arguments all performative methods have; return the discount to start with."""
        self.performative_coef = as_schedule("performative_coef", performative_coef)
        self.strict = strict
        self._own_discount = gamma
        return 0.99 if gamma is None else gamma

    def _setup_model(self) -> None:
        self._answer: WorldAnswer | None = None
        self._linear: LinearAnswer | None = None
        problem = None if self.env is None else performative_problem(self.env)
        if problem is not None and self._own_discount is None:
            self.gamma = problem.gamma
        super()._setup_model()
        if self.env is not None:
            self._meet_world(self.env)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Change the environment, as in Stable-Baselines3; the response map is the new world's."""
        super().set_env(env, force_reset=force_reset)
        if self.env is not None:
            self._meet_world(self.env)

    def _meet_world(self, env: VecEnv) -> None:
        """Find the response map of the environment, and check that the policy can be asked at every state."""
        problem = performative_problem(env)
        if problem is None:
            self._answer = None
            message = f"the environment has no response map: {type(self).__name__} trains without response terms there"
            if self.strict:
                raise ValueError(f"{message}, which strict=True forbids; got {env}")
            warnings.warn(message, stacklevel=4)
            return
        if not isinstance(self.observation_space, spaces.Discrete) or self.observation_space.n != problem.n_states:
            raise ValueError(
                f"observation_space must be Discrete({problem.n_states}), the states of the world, "
                f"got {self.observation_space}"
            )
        normalizer = unwrap_vec_normalize(env)
        if normalizer is not None and normalizer.norm_reward:
            raise ValueError("VecNormalize must have norm_reward=False: the response map has the world's own rewards")
        observations, _ = self.policy.obs_to_tensor(query_observations(env))
        self._answer = WorldAnswer(problem, observations, self.gamma)  # type: ignore[arg-type]
        env.env_method("set_deployment", "declared")

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Deploy the policy, then collect a round of experience under it."""
        if self._answer is not None:
            log_deployment(self, deploy(self, env))
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def _begin_round(self) -> None:
        super()._begin_round()
        self._weight_now = self.performative_coef(self._current_progress_remaining)
        self._linear = None if self._answer is None or self._weight_now == 0.0 else self._linearise(self._answer)

    def _linearise(self, answer: WorldAnswer) -> LinearAnswer:
        """Differentiate the world's answer at the policy the rollout was collected with."""
        self.policy.set_training_mode(False)
        with torch.no_grad():
            pi, values = self._probabilities(answer.observations).cpu(), self.policy.predict_values(answer.observations)
        self.policy.set_training_mode(True)
        states = torch.as_tensor(self.rollout_buffer.observations).long().flatten()
        visits = torch.bincount(states, minlength=len(pi)) / len(states)
        moving = pi.clone().requires_grad_()
        (slope,) = torch.autograd.grad(answer.objective(moving, values.flatten().cpu(), visits), moving)
        slope = slope - (pi * slope).sum(-1, keepdim=True)
        return LinearAnswer(pi.to(self.device), slope.to(self.device), answer.observations)

    def _response_surrogate(self, clip_range: float | None = None) -> Tensor:
        """Return the surrogate of the world's answer at the current policy, a scalar with gradient.

        With ``clip_range`` it is clipped action by action, as PPO clips its own.
        """
        if self._linear is None:
            return torch.zeros((), device=self.device)
        deployed, slope, observations = self._linear
        pi = self._probabilities(observations)
        gain = pi * slope
        if clip_range is not None:
            # Not by way of the ratio pi / deployed: the deployed policy may have rounded to 0.
            near = torch.clamp(pi, (1.0 - clip_range) * deployed, (1.0 + clip_range) * deployed)
            gain = torch.min(gain, near * slope)
        return gain.sum()

    def _probabilities(self, observations: Tensor) -> Tensor:
        probs: Tensor = self.policy.get_distribution(observations).distribution.probs  # type: ignore[union-attr]
        return probs

    def _excluded_save_params(self) -> list[str]:
        """The response map belongs to the environment and is found again when one is set."""
        return [*super()._excluded_save_params(), "_answer", "_linear"]
