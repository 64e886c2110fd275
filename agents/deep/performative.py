"""What turns a trust region method into a performative one: deployments, and the response terms of PePG.

The response terms are the gradient of the world's answer ``R(theta)`` (:mod:`agents.pepg.response`). A trust region
method works on a surrogate that is built once per round around the deployed policy; here that of ``R``,

    R(theta) - R(old)  ~  sum (x - x_old) B,    B = dR/dx at x_old,

which has the gradient of ``R`` at the deployed policy. ``x`` is what the world answers to: the table ``pi(a|s)``, in
which ``B`` is centred in each state, or mean and standard deviation of continuous actions. In a table ``B(s,a)``,
divided by the share of visits to ``s``, is the advantage of ``a`` that comes from the world's answer.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, Schedule
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.common.deploying import log_deployment, performative_problem
from agents.common.schedules import as_schedule
from agents.deep._base import CheckedOnPolicyAlgorithm
from agents.pepg.policies import PePGCnnPolicy, PePGMultiInputPolicy, PePGPolicy, SoftmaxPolicy
from agents.pepg.response import ContinuousAnswer, TabularAnswer, WorldAnswer
from agents.pepg.states import StateRecorder, read_states
from agents.pepg.worlds import ask, check_shown, find_answer

POLICIES: dict[str, type[BasePolicy]] = {
    "MlpPolicy": PePGPolicy,
    "CnnPolicy": PePGCnnPolicy,
    "MultiInputPolicy": PePGMultiInputPolicy,
    "SoftmaxPolicy": SoftmaxPolicy,
}


class LinearAnswer(NamedTuple):
    """The response terms of a round.

    Attributes:
        deployed: ``x_old``: probabilities ``[S, A]``, or means and standard deviations ``[2, Q, d]``.
        slope: ``B``, of the same shape.
        unit: what a clip range is measured in: the probabilities, or the standard deviations.
        observations: where the policy is asked for ``x``.
    """

    deployed: Tensor
    slope: Tensor
    unit: Tensor
    observations: PyTorchObs


class AnsweringWorld(CheckedOnPolicyAlgorithm):
    """Mixin: deploys the policy at the start of every rollout, and knows how the world would answer another one.

    Attributes:
        performative_coef: weight of the response terms, a schedule.
        strict: whether an environment without a response map is an error, or trained on without response terms.
    """

    #: Nothing else needs to deploy its policy.
    deploys_itself = True

    policy: PePGPolicy
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
        self._recorder: StateRecorder | None = None
        problem = None if self.env is None else performative_problem(self.env)
        if problem is not None and self._own_discount is None:
            self.gamma = problem.gamma
        super()._setup_model()
        if not isinstance(self.policy, PePGPolicy):
            raise ValueError(f"policy must be a PePGPolicy, which worlds can ask, got {self.policy_class.__name__}")
        if self.env is not None:
            self._enter(self.env, self._find_answer(self.env))

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Change the environment, as in Stable-Baselines3; the response map is the new world's."""
        venv = self._wrap_env(env, self.verbose)
        check_for_correct_spaces(venv, self.observation_space, self.action_space)
        answer = self._find_answer(venv)
        super().set_env(venv, force_reset=force_reset)
        self._enter(venv, answer)

    def _find_answer(self, env: VecEnv) -> WorldAnswer | None:
        answer = find_answer(env, self.policy, self.gamma)
        if answer is None or not answer.has_gradient:
            missing = "the environment has no response map" if answer is None else "the world's answer has no gradient"
            message = f"{missing}: {type(self).__name__} trains without response terms there"
            if self.strict:
                raise ValueError(f"{message}, which strict=True forbids; got {env}")
            warnings.warn(message, stacklevel=4)
        return answer

    def _enter(self, env: VecEnv, answer: WorldAnswer | None) -> None:
        """Begin to work in an environment."""
        self._answer = answer
        shown = answer is None or not isinstance(answer, TabularAnswer) or answer.indexed
        self._recorder = None if shown else StateRecorder(env)
        if answer is not None:
            env.env_method("set_deployment", "declared")

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Deploy the policy, then collect a round of experience under it."""
        self.policy.set_training_mode(False)
        if self._answer is not None:
            if self._vec_normalize_env is not None:  # its statistics have moved
                self._answer.observations = ask(env, self.policy)
            log_deployment(self, self._answer.deploy(self.policy, env))
        if self._recorder is not None and self._last_obs is not None:
            if self.num_timesteps == self._num_timesteps_at_start:
                check_shown(env, self._last_obs, read_states(env))
            self._recorder.forget()
            env = self._recorder
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def _begin_round(self) -> None:
        super()._begin_round()
        self._weight_now = self.performative_coef(self._current_progress_remaining)
        answer = self._answer
        wanted = answer is not None and answer.has_gradient and self._weight_now != 0.0
        self._linear = self._linearise(answer) if answer is not None and wanted else None

    def _linearise(self, answer: WorldAnswer) -> LinearAnswer:
        """Differentiate the world's answer at the policy the rollout was collected with."""
        self.policy.set_training_mode(False)
        with torch.no_grad():
            deployed = self._answered(answer.observations)
        moving = deployed.cpu().clone().requires_grad_()
        (slope,) = torch.autograd.grad(self._worth(answer, moving), moving)
        self.policy.set_training_mode(True)
        unit = deployed
        if isinstance(answer, TabularAnswer):
            slope = slope - (moving.detach() * slope).sum(-1, keepdim=True)
        else:
            unit = deployed[1].expand_as(deployed)
        return LinearAnswer(deployed, slope.to(deployed), unit, answer.observations)

    def _answered(self, observations: PyTorchObs) -> Tensor:
        """Return what the world answers to, at the current policy, with gradient."""
        if isinstance(self._answer, TabularAnswer):
            return self.policy.tabulate(observations, with_critic_gradient=False).probs
        return torch.stack(self.policy.gaussian(observations))

    def _worth(self, answer: WorldAnswer, answered: Tensor) -> Tensor:
        """Return ``R`` over the visits of the rollout, as a function of what the world answers to."""
        buffer = self.rollout_buffer
        if isinstance(answer, TabularAnswer):
            visited = buffer.observations if self._recorder is None else self._recorder.visited
            states = torch.as_tensor(visited).long().flatten()
            visits = torch.bincount(states, minlength=len(answered)) / len(states)
            with torch.no_grad():
                values = self.policy.predict_values(answer.observations).flatten().cpu()
            return answer.objective(answered, values, visits)
        if not isinstance(answer, ContinuousAnswer):
            raise TypeError(f"no surrogate is known for {type(answer).__name__}")
        actions = torch.as_tensor(buffer.actions, dtype=torch.float64).flatten(0, 1)
        mean, std = answered.to(torch.float64)
        return answer.problem.expected_rewards(answer.problem.response(mean, std), actions).mean()

    def _response_surrogate(self, clip_range: float | None = None) -> Tensor:
        """Return the surrogate of the world's answer at the current policy, a scalar with gradient.

        With ``clip_range`` it is clipped entry by entry, as PPO clips its own: no entry of ``x`` gains by going further
        than ``clip_range`` of its units.
        """
        if self._linear is None:
            return torch.zeros((), device=self.device)
        deployed, slope, unit, observations = self._linear
        moved = self._answered(observations) - deployed
        gain = moved * slope
        if clip_range is not None:
            gain = torch.min(gain, torch.clamp(moved, -clip_range * unit, clip_range * unit) * slope)
        return gain.sum()

    def _excluded_save_params(self) -> list[str]:
        """The response map belongs to the environment and is found again when one is set."""
        return [*super()._excluded_save_params(), "_answer", "_linear", "_recorder"]
