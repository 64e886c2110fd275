"""What turns a trust region method into a performative one: deployments, and the response terms of PePG.

The response terms are the gradient of the world's answer ``R(theta)`` (:mod:`agents.pepg.response`). A trust region
method works on a surrogate that is built once per round around the deployed policy; here that of ``R``,

    R(theta) - R(old)  ~  sum (x - x_old) B,    B = dR/dx at x_old,

which has the gradient of ``R`` at the deployed policy. ``x`` is what the world answers to: the table ``pi(a|s)``, in
which ``B`` is centred in each state, or mean and standard deviation of continuous actions. In a table ``B(s,a)``,
divided by the share of visits to ``s``, is the advantage of ``a`` that comes from the world's answer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from agents.deep._base import CheckedOnPolicyAlgorithm
from agents.pepg.answering import AnsweringWorld
from agents.pepg.policies import PePGCnnPolicy, PePGMultiInputPolicy, PePGPolicy, SoftmaxPolicy
from agents.pepg.response import ContinuousAnswer, TabularAnswer, WorldAnswer

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


class ResponseSurrogate(AnsweringWorld, CheckedOnPolicyAlgorithm):
    """Mixin: adds the response terms of PePG to a surrogate that is built once per round."""

    myopic = "without response terms"

    def _setup_model(self) -> None:
        self._linear: LinearAnswer | None = None
        super()._setup_model()

    def _begin_round(self) -> None:
        super()._begin_round()
        self._weight_now = self.value_of("performative_coef")
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
        """It belongs to a round."""
        return [*super()._excluded_save_params(), "_linear"]
