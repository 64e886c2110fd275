"""The world's answer, as PePG deploys to it and differentiates it.

From a batch of states and actions met under the deployed policy, with a critic ``V``,

    R(theta) = E_s sum_a pi(a|s) [ r_{pi_theta}(s, a) + gamma sum_s' P_{pi_theta}(s'|s, a) V(s') ]

with ``pi(a|s)`` and ``V`` held fixed: its gradient is the reward and the dynamics term of the performative policy
gradient. In a tabular world actions and successors are summed over instead of scored where sampled, which removes their
variance. In a world of continuous actions without dynamics the sampled actions are held fixed instead,

    R(theta) = E_{s, a} [ r_{pi_theta}(s, a) ].

A response map also tells the dynamics in force, and they give the policy term without sampled actions (an *expected
policy gradient*, Ciosek and Whiteson 2020): with ``P`` and ``r`` those of the round,

    E(theta) = E_s sum_a pi_theta(a|s) [ r(s, a) + gamma sum_s' P(s'|s, a) V(s') - V(s) ].

Answers are computed in float64 on the CPU, wherever the networks are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.common.deploying import deploy_to_envs
from agents.common.queries import query_observations
from agents.pepg.batches import Evaluated, PePGBatch, PolicyTable
from perf_envs import Dynamics, LinearPricingProblem, PerformativeMDP, Shift, exact
from perf_envs.tensor_checks import as_policy, policy_or_uniform

if TYPE_CHECKING:
    from agents.pepg.policies import PePGPolicy


class Answered(NamedTuple):
    """A batch under the current policy, and the terms of the loss that the response map gives, float64 scalars."""

    evaluated: Evaluated
    response: Tensor | None
    """``R(theta)``, if asked for."""
    expected: Tensor | None
    """``E(theta)``, if asked for and known."""


class WorldAnswer(ABC):
    """The response map of a world, and where a policy has to be asked to feed it.

    Attributes:
        problem: the performative problem.
        observations: the observations the policy is asked at, as its tensors.
        gamma: the discount the agent learns with.
        table: the policy deployed last, where experience can be collected from a table; ``None`` elsewhere.
    """

    table: PolicyTable | None = None
    #: Which terms ``R`` has: ``"both"``, or the ``"reward"`` or the ``"dynamics"`` term alone.
    terms: str = "both"

    def __init__(self, problem: Any, observations: PyTorchObs, gamma: float) -> None:
        self.problem = problem
        self.observations = observations
        self.gamma = gamma

    @staticmethod
    @abstractmethod
    def supports(problem: Any) -> bool:
        """Whether this is the model of the responses of such a problem."""

    @classmethod
    @abstractmethod
    def of(cls, env: VecEnv, policy: PePGPolicy, problem: Any, observations: PyTorchObs, gamma: float) -> WorldAnswer:
        """Return the model of an environment.

        Raises:
            ValueError: the policy is none that its worlds respond to.
        """

    @staticmethod
    @abstractmethod
    def probe(problem: Any) -> list[Tensor]:
        """Return all that an agent can tell of a problem's response to one policy that is not uniform."""

    @abstractmethod
    def deploy(self, policy: PePGPolicy, venv: VecEnv) -> Shift | None:
        """Deploy the current policy in all worlds of ``venv``; return how far the first one moved."""

    @abstractmethod
    def evaluate(self, policy: PePGPolicy, batch: PePGBatch, with_response: bool, with_expected: bool) -> Answered:
        """Return the batch under the current policy and the terms asked for."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Return performative value and stability gap of the policy deployed last, exact, by name.

        Nothing where that would take longer than to train.
        """

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
        gradual: whether the world moves only part of the way at a deployment.
    """

    problem: PerformativeMDP

    def __init__(
        self,
        problem: PerformativeMDP,
        observations: PyTorchObs,
        gamma: float,
        indexed: bool = True,
        gradual: bool = False,
    ) -> None:
        super().__init__(problem, observations, gamma)
        self.indexed = indexed
        self.gradual = gradual
        self._deployed: tuple[Tensor, Dynamics] | None = None
        self._in_force: Dynamics | None = None

    @staticmethod
    def supports(problem: Any) -> bool:
        """Whether a problem has finitely many states and actions."""
        return isinstance(problem, PerformativeMDP)

    @classmethod
    def of(cls, env: VecEnv, policy: PePGPolicy, problem: Any, observations: PyTorchObs, gamma: float) -> TabularAnswer:
        """Return the model of an environment."""
        space = env.observation_space
        indexed = isinstance(space, spaces.Discrete) and np.array_equal(
            query_observations(env), np.arange(int(space.n))
        )
        gradual = env.get_attr("adaptation_rate", indices=[0])[0] < 1.0
        return cls(problem, observations, gamma, indexed, gradual)

    @staticmethod
    def probe(problem: Any) -> list[Tensor]:
        """Return successors, probabilities and rewards of a response, and the start distribution."""
        logits = torch.arange(problem.n_states * problem.n_actions, dtype=torch.float64).sin()
        dynamics = problem.response(torch.softmax(logits.reshape(problem.n_states, problem.n_actions), -1))
        return [dynamics.expanded_successors().double(), dynamics.probs, dynamics.rewards, problem.rho]

    @property
    def reward_range(self) -> tuple[float, float]:
        """Lowest and highest expected reward of the unshifted world."""
        rewards = self.problem.unshifted().rewards
        return float(rewards.min()), float(rewards.max())

    @cached_property
    def has_gradient(self) -> bool:
        """Whether the response map passes gradients on; a response to find out, so it is asked once."""
        uniform = policy_or_uniform(None, self.problem.n_states, self.problem.n_actions)
        answer = self.problem.response(uniform.requires_grad_())
        return answer.probs.requires_grad or answer.rewards.requires_grad

    def deploy(self, policy: PePGPolicy, venv: VecEnv) -> Shift | None:
        """Deploy the policy's table, and keep the answer: the first gradient step after it asks for the same one."""
        with torch.no_grad():
            table = policy.tabulate(self.observations)
        pi = as_policy(table.probs.cpu(), self.problem.n_states, self.problem.n_actions, "policy").requires_grad_()
        answer = self.problem.response(pi)
        shift = deploy_to_envs(venv, pi.detach().numpy(), answer.detach())
        self._deployed = (pi, answer)
        if not self.problem.is_random:  # what a random world has drawn is not for the agent to know
            self._in_force = venv.get_attr("dynamics", indices=[0])[0] if self.gradual else answer.detach()
        self.table = table if self.indexed else None
        return shift

    def evaluate(self, policy: PePGPolicy, batch: PePGBatch, with_response: bool, with_expected: bool) -> Answered:
        """Evaluate the policy once, at every state, where that serves batch and answer alike."""
        if batch.states is None:
            raise ValueError("the answer of a tabular world needs the states of the batch")
        with_expected = with_expected and self._in_force is not None
        everywhere = with_response or with_expected
        look_up = self.indexed and (everywhere or self.problem.n_states <= len(batch.states))
        table = None
        if look_up or everywhere:
            table = policy.tabulate(self.observations, with_critic_gradient=look_up)
        if table is not None and look_up:
            evaluated = table.at(batch.states, batch.actions)
        else:
            evaluated = policy.evaluate_batch(batch)
        if table is None or not everywhere:
            return Answered(evaluated, None, None)
        pi, values = table.probs.cpu(), table.values.detach().cpu()
        visits = self._visits(batch.states, batch.weights)
        return Answered(
            evaluated,
            self.objective(pi, values, visits) if with_response else None,
            self.expected(pi, values, visits) if with_expected else None,
        )

    def objective(self, pi: Tensor, values: Tensor, state_weights: Tensor) -> Tensor:
        """Return ``R(theta)``, a scalar whose gradient runs through the response map only.

        Args:
            pi: the policy's probabilities at every state, ``[S, A]``, with gradient.
            values: the critic at every state, ``[S]``; absorbing states count as 0.
            state_weights: share of the batch in each state, ``[S]``, sums to 1.
        """
        pi = as_policy(pi, self.problem.n_states, self.problem.n_actions)
        if self._deployed is None or not torch.equal(self._deployed[0], pi):
            return self._held(self.problem.response(pi), pi, values, state_weights)
        deployed, answer = self._deployed
        known = self._held(answer, pi, values, state_weights)
        if not known.requires_grad:
            return known
        (slope,) = torch.autograd.grad(known, deployed, retain_graph=True)
        return known.detach() + (slope * (pi - pi.detach())).sum()

    def expected(self, pi: Tensor, values: Tensor, state_weights: Tensor) -> Tensor:
        """Return ``E(theta)``, a scalar whose gradient runs through the policy alone; arguments as above."""
        if self._in_force is None:
            raise ValueError("the expected policy gradient needs the dynamics in force: deploy first")
        advantages = self._payoff(self._in_force, values) - values.to(torch.float64)[:, None]
        return (state_weights.to(torch.float64)[:, None] * pi.to(torch.float64) * advantages).sum()

    def _held(self, answer: Dynamics, pi: Tensor, values: Tensor, state_weights: Tensor) -> Tensor:
        """Return what ``R`` is with the policy held fixed outside of the answer."""
        if self.terms == "reward":
            answer = replace(answer, probs=answer.probs.detach())
        elif self.terms == "dynamics":
            answer = replace(answer, rewards=answer.rewards.detach())
        return (state_weights.to(torch.float64)[:, None] * pi.detach() * self._payoff(answer, values)).sum()

    def _payoff(self, dynamics: Dynamics, values: Tensor) -> Tensor:
        """Return reward and discounted future of every state and action, ``[S, A]``."""
        future = torch.where(dynamics.absorbing, 0.0, values.to(torch.float64))
        return dynamics.rewards + self.gamma * dynamics.expected_next(future)

    def _visits(self, states: Tensor, weights: Tensor) -> Tensor:
        counts = torch.bincount(states.cpu(), weights.to("cpu", torch.float64), minlength=self.problem.n_states)
        return counts / len(states)

    def figures(self) -> dict[str, float]:
        """Return performative value and stability gap of the policy deployed last."""
        if self._deployed is None or self.problem.is_random:  # averages over many answers would outlast the training
            return {}
        pi, answer = self._deployed[0].detach(), self._deployed[1].detach()
        evaluation, rho = exact.evaluate(answer, pi), self.problem.rho
        best, _ = exact.optimal_policy(answer, start=pi)
        return {"value": float(rho @ evaluation.state_values), "stability_gap": max(0.0, evaluation.gain(best, rho))}


class ContinuousAnswer(WorldAnswer):
    """The answer of a world with continuous actions to a Gaussian policy, and no dynamics that could move."""

    problem: LinearPricingProblem

    def __init__(self, problem: LinearPricingProblem, observations: PyTorchObs, gamma: float) -> None:
        super().__init__(problem, observations, gamma)
        self._deployed: tuple[Tensor, Tensor] | None = None

    @staticmethod
    def supports(problem: Any) -> bool:
        """Whether a problem is a linear market."""
        return isinstance(problem, LinearPricingProblem)

    @classmethod
    def of(
        cls, env: VecEnv, policy: PePGPolicy, problem: Any, observations: PyTorchObs, gamma: float
    ) -> ContinuousAnswer:
        """Return the model of an environment."""
        if policy.squash_output:
            raise ValueError("squash_output must be False in this world, whose answer is to a Gaussian policy")
        return cls(problem, observations, gamma)

    @staticmethod
    def probe(problem: Any) -> list[Tensor]:
        """Return demand, its deviation and prices of a response."""
        mean = torch.arange(problem.horizon * problem.n_products, dtype=torch.float64).sin()
        mean = mean.reshape(problem.horizon, problem.n_products)
        market = problem.response(mean, torch.full_like(mean, 0.3))
        return [market.demand, market.demand_std, market.prices(mean)]

    @property
    def reward_range(self) -> tuple[float, float]:
        """Lowest and highest expected reward of the unshifted world, in which demand is positive."""
        ends = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(-1, self.problem.n_products)
        lowest, highest = self.problem.expected_rewards(self.problem.unshifted(), ends).tolist()
        return lowest, highest

    def deploy(self, policy: PePGPolicy, venv: VecEnv) -> Shift | None:
        """Deploy the policy's mean and standard deviation."""
        with torch.no_grad():
            mean, std = policy.gaussian(self.observations)
        self._deployed = mean.to("cpu", torch.float64), std.to("cpu", torch.float64)
        return deploy_to_envs(venv, tuple(part.numpy() for part in self._deployed))

    def evaluate(self, policy: PePGPolicy, batch: PePGBatch, with_response: bool, with_expected: bool) -> Answered:
        """Evaluate the batch, and the expected rewards of its actions in the world that answers the policy."""
        evaluated = policy.evaluate_batch(batch)
        if not with_response or self.terms == "dynamics":  # prices do not move the season
            return Answered(evaluated, None, None)
        mean, std = policy.gaussian(self.observations)
        answer = self.problem.response(mean.to("cpu", torch.float64), std.to("cpu", torch.float64))
        rewards = self.problem.expected_rewards(answer, batch.actions.to("cpu", torch.float64))
        return Answered(evaluated, (batch.weights.to("cpu", torch.float64) * rewards).mean(), None)

    def figures(self) -> dict[str, float]:
        """Return performative value and stability gap of the policy deployed last."""
        if self._deployed is None:
            return {}
        value = float(self.problem.performative_value(*self._deployed))
        return {"value": value, "stability_gap": self.problem.stability_gap(*self._deployed)}
