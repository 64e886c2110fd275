"""The world's answer, as PePG deploys to it and differentiates it.

From a batch of states and actions met under the deployed policy, with a critic ``V``,

    R(theta) = E_s sum_a pi(a|s) [ r_{pi_theta}(s, a) + gamma sum_s' P_{pi_theta}(s'|s, a) V(s') ]

with ``pi(a|s)`` and ``V`` held fixed: its gradient is the reward and the dynamics term of the performative policy
gradient. In a tabular world actions and successors are summed over instead of scored where sampled, which removes their
variance. In a world of continuous actions without dynamics the sampled actions are held fixed instead,

    R(theta) = E_{s, a} [ r_{pi_theta}(s, a) ].

Answers are computed in float64 on the CPU, wherever the networks are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.common.deploying import declare
from agents.pepg.batches import Evaluated, PePGBatch, PolicyTable
from perf_envs import Dynamics, LinearPricingProblem, PerformativeMDP, Shift, exact
from perf_envs.validation import as_policy

if TYPE_CHECKING:
    from agents.pepg.policies import PePGPolicy


class WorldAnswer(ABC):
    """The response map of a world, and where a policy has to be asked to feed it.

    Attributes:
        problem: the performative problem.
        observations: the observations the policy is asked at, as its tensors.
        gamma: the discount the agent learns with.
        table: the policy deployed last, where experience can be collected from a table; ``None`` elsewhere.
    """

    table: PolicyTable | None = None

    def __init__(self, problem: Any, observations: PyTorchObs, gamma: float) -> None:
        self.problem = problem
        self.observations = observations
        self.gamma = gamma

    @abstractmethod
    def deploy(self, policy: PePGPolicy, venv: VecEnv) -> Shift:
        """Deploy the current policy in all worlds of ``venv``; return how far the first one moved."""

    @abstractmethod
    def evaluate(self, policy: PePGPolicy, batch: PePGBatch, with_response: bool) -> tuple[Evaluated, Tensor | None]:
        """Return the batch under the current policy and, if asked for, ``R(theta)`` as a float64 scalar."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Return performative value and stability gap of the policy deployed last, exact, by name."""

    @property
    def has_gradient(self) -> bool:
        """Whether the answer tells how it would move with the policy."""
        return True

    @property
    @abstractmethod
    def reward_range(self) -> tuple[float, float]:
        """Lowest and highest expected reward of the unshifted world."""


class TabularAnswer(WorldAnswer):
    """The answer of a world with finitely many states and actions.

    Args:
        problem: the performative Markov decision process.
        observations: the observation of every state.
        gamma: the discount the agent learns with.
        indexed: whether the observation of a state is its index.
    """

    problem: PerformativeMDP

    def __init__(self, problem: PerformativeMDP, observations: PyTorchObs, gamma: float, indexed: bool = True) -> None:
        super().__init__(problem, observations, gamma)
        self.indexed = indexed
        self._deployed: tuple[Tensor, Dynamics] | None = None

    @property
    def reward_range(self) -> tuple[float, float]:
        """Lowest and highest expected reward of the unshifted world."""
        rewards = self.problem.unshifted().rewards
        return float(rewards.min()), float(rewards.max())

    @property
    def has_gradient(self) -> bool:
        """Whether the response map passes gradients on."""
        shape = (self.problem.n_states, self.problem.n_actions)
        answer = self.problem.response(torch.full(shape, 1.0 / shape[1], dtype=torch.float64, requires_grad=True))
        return answer.probs.requires_grad or answer.rewards.requires_grad

    def deploy(self, policy: PePGPolicy, venv: VecEnv) -> Shift:
        """Deploy the policy's table, and keep the answer: the first gradient step after it asks for the same one."""
        with torch.no_grad():
            table = policy.tabulate(self.observations)
        pi = as_policy(table.probs.cpu(), self.problem.n_states, self.problem.n_actions, "policy").requires_grad_()
        answer = self.problem.response(pi)
        shift = declare(venv, pi.detach().numpy(), answer.detach())
        self._deployed = (pi, answer)
        self.table = table if self.indexed else None
        return shift

    def evaluate(self, policy: PePGPolicy, batch: PePGBatch, with_response: bool) -> tuple[Evaluated, Tensor | None]:
        """Evaluate the policy once, at every state, where that serves batch and answer alike."""
        if batch.states is None:
            raise ValueError("the answer of a tabular world needs the states of the batch")
        look_up = self.indexed and (with_response or self.problem.n_states <= len(batch.states))
        table = None
        if look_up or with_response:
            table = policy.tabulate(self.observations, with_critic_gradient=look_up)
        if table is not None and look_up:
            evaluated = table.at(batch.states, batch.actions)
        else:
            evaluated = policy.evaluate_batch(batch)
        if table is None or not with_response:
            return evaluated, None
        visits = self._visits(batch.states, batch.weights)
        return evaluated, self.objective(table.probs.cpu(), table.values.detach().cpu(), visits)

    def objective(self, pi: Tensor, values: Tensor, state_weights: Tensor) -> Tensor:
        """Return ``R(theta)``, a scalar whose gradient runs through the response map only.

        Args:
            pi: the policy's probabilities at every state, ``[S, A]``, with gradient.
            values: the critic at every state, ``[S]``; absorbing states count as 0.
            state_weights: share of the batch in each state, ``[S]``, sums to 1.
        """
        pi = as_policy(pi, self.problem.n_states, self.problem.n_actions)
        if self._deployed is None or not torch.equal(self._deployed[0], pi):
            return self._expected(self.problem.response(pi), pi, values, state_weights)
        deployed, answer = self._deployed
        known = self._expected(answer, pi, values, state_weights)
        if not known.requires_grad:
            return known
        (slope,) = torch.autograd.grad(known, deployed, retain_graph=True)
        return known.detach() + (slope * (pi - pi.detach())).sum()

    def _expected(self, answer: Dynamics, pi: Tensor, values: Tensor, state_weights: Tensor) -> Tensor:
        future = torch.where(answer.absorbing, 0.0, values.to(torch.float64))
        payoff = answer.rewards + self.gamma * answer.expected_next(future)
        return (state_weights.to(torch.float64)[:, None] * pi.detach() * payoff).sum()

    def _visits(self, states: Tensor, weights: Tensor) -> Tensor:
        counts = torch.bincount(states.cpu(), weights.to("cpu", torch.float64), minlength=self.problem.n_states)
        return counts / len(states)

    def figures(self) -> dict[str, float]:
        """Return performative value and stability gap of the policy deployed last."""
        if self._deployed is None:
            return {}
        pi, answer = self._deployed[0].detach(), self._deployed[1].detach()
        if self.problem.is_random:  # the answer is one of many
            value = float(exact.performative_value(self.problem, pi))
            return {"value": value, "stability_gap": exact.stability_gap(self.problem, pi)}
        values = exact.state_values(answer, pi)
        _, best = exact.optimal_policy(answer, start=pi)
        rho = self.problem.rho
        return {"value": float(rho @ values), "stability_gap": max(0.0, float(rho @ (best - values)))}


class ContinuousAnswer(WorldAnswer):
    """The answer of a world with continuous actions to a Gaussian policy, and no dynamics that could move."""

    problem: LinearPricingProblem

    def __init__(self, problem: LinearPricingProblem, observations: PyTorchObs, gamma: float) -> None:
        super().__init__(problem, observations, gamma)
        self._deployed: tuple[Tensor, Tensor] | None = None

    @property
    def reward_range(self) -> tuple[float, float]:
        """Lowest and highest expected reward of the unshifted world, in which demand is positive."""
        ends = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(-1, self.problem.n_products)
        lowest, highest = self.problem.expected_rewards(self.problem.unshifted(), ends).tolist()
        return lowest, highest

    def deploy(self, policy: PePGPolicy, venv: VecEnv) -> Shift:
        """Deploy the policy's mean and standard deviation."""
        with torch.no_grad():
            mean, std = policy.gaussian(self.observations)
        self._deployed = mean.to("cpu", torch.float64), std.to("cpu", torch.float64)
        return declare(venv, tuple(part.numpy() for part in self._deployed))

    def evaluate(self, policy: PePGPolicy, batch: PePGBatch, with_response: bool) -> tuple[Evaluated, Tensor | None]:
        """Evaluate the batch, and the expected rewards of its actions in the world that answers the policy."""
        evaluated = policy.evaluate_batch(batch)
        if not with_response:
            return evaluated, None
        mean, std = policy.gaussian(self.observations)
        answer = self.problem.response(mean.to("cpu", torch.float64), std.to("cpu", torch.float64))
        rewards = self.problem.expected_rewards(answer, batch.actions.to("cpu", torch.float64))
        return evaluated, (batch.weights.to("cpu", torch.float64) * rewards).mean()

    def figures(self) -> dict[str, float]:
        """Return performative value and stability gap of the policy deployed last."""
        if self._deployed is None:
            return {}
        value = float(self.problem.performative_value(*self._deployed))
        return {"value": value, "stability_gap": self.problem.stability_gap(*self._deployed)}
