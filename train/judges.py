"""What a policy is worth, exactly: one judge per kind of world.

To a judge a policy is an array, as it is saved: a table ``[S, A]`` of probabilities in a tabular world; mean and
standard deviation of the actions, before clipping, ``[2, H, d]``, in one with continuous actions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.common.deploying import PerformativeProblem, deployable
from agents.common.queries import query_observations
from perf_envs import LinearPricingProblem, PerformativeMDP, exact
from perf_envs.sampling import cumulative, draw

Policy = NDArray[np.float64]
#: Draws actions ``[n, ...]`` in states ``[n]``.
Actor = Callable[[NDArray[np.int64], np.random.Generator], NDArray[Any]]


class Judge(ABC):
    """Judges the policies of one world.

    Attributes:
        problem: the world as a performative problem.
    """

    problem: PerformativeProblem

    def read(self, model: BaseAlgorithm) -> Policy:
        """Return the policy of a model that is in training in the world."""
        venv = model.get_env()
        if venv is None:
            raise ValueError(f"the model must be trained in a performative world, got {venv}")
        return np.asarray(deployable(model, self.problem, query_observations(venv)))

    def figures(self, policy: Policy, best_value: float | None) -> dict[str, float | None]:
        """Return performative value, stability gap and optimality gap (``None`` where no optimum is known)."""
        value = self.performative_value(policy)
        return {
            "performative_value": value,
            "stability_gap": self.stability_gap(policy),
            "optimality_gap": None if best_value is None else best_value - value,
        }

    @abstractmethod
    def performative_value(self, policy: Policy) -> float:
        """Return the value of a policy in the world that answers it."""

    @abstractmethod
    def stability_gap(self, policy: Policy) -> float:
        """Return what the best policy in the answering world would earn more than the policy itself."""

    @abstractmethod
    def best_known_value(self) -> float | None:
        """Return the best performative value known, ``None`` where there is none."""

    @abstractmethod
    def uniform_value(self) -> float:
        """Return the performative value of choosing every action with the same probability."""

    @abstractmethod
    def example(self) -> Policy:
        """Return some policy, such as training begins with."""

    @abstractmethod
    def respond(self, policy: Policy) -> object:
        """Return the world's answer to a policy."""

    @abstractmethod
    def largest_reward(self, answer: Any) -> float:
        """Return the largest expected reward of a step in the world's answer, in absolute value."""

    @abstractmethod
    def deployed(self, policy: Policy) -> Any:
        """Return a policy in the form in which the worlds are handed it."""

    @abstractmethod
    def actor(self, policy: Policy) -> Actor:
        """Return what draws the actions of a policy."""


class TabularJudge(Judge):
    """Judges tables of probabilities, in worlds with finitely many states and actions."""

    problem: PerformativeMDP

    def __init__(self, problem: PerformativeMDP) -> None:
        self.problem = problem

    def performative_value(self, policy: Policy) -> float:
        """Return ``J`` of a table."""
        with torch.no_grad():
            return float(exact.performative_value(self.problem, policy))

    def stability_gap(self, policy: Policy) -> float:
        """Return the stability gap of a table."""
        return exact.stability_gap(self.problem, policy)

    def best_known_value(self) -> float | None:
        """Return the value of the shipped optimum, if there is one."""
        try:
            return exact.best_known(self.problem).value
        except ValueError:
            return None

    def uniform_value(self) -> float:
        """Return the performative value of the uniform table."""
        return self.performative_value(self.example())

    def example(self) -> Policy:
        """Return the uniform table."""
        return np.full((self.problem.n_states, self.problem.n_actions), 1.0 / self.problem.n_actions)

    def respond(self, policy: Policy) -> object:
        """Return the dynamics that answer a table."""
        with torch.no_grad():
            return self.problem.response(policy)

    def largest_reward(self, answer: Any) -> float:
        """Return the largest of all states and actions."""
        return float(answer.rewards.abs().max())

    def deployed(self, policy: Policy) -> Any:
        """Return the table itself."""
        return policy

    def actor(self, policy: Policy) -> Actor:
        """Return what draws actions from the rows of a table."""
        thresholds = cumulative(policy)
        return lambda states, rng: draw(thresholds[states], rng.random(len(states)))


class GaussianJudge(Judge):
    """Judges Gaussian policies in the linear market, where all that is asked for has a closed form."""

    problem: LinearPricingProblem

    def __init__(self, problem: LinearPricingProblem) -> None:
        self.problem = problem

    def performative_value(self, policy: Policy) -> float:
        """Return ``J`` of a Gaussian policy."""
        return float(self.problem.performative_value(*policy))

    def stability_gap(self, policy: Policy) -> float:
        """Return the stability gap of a Gaussian policy."""
        return self.problem.stability_gap(*policy)

    def best_known_value(self) -> float | None:
        """Return the optimum, which is known."""
        return self.problem.optimal_value

    def uniform_value(self) -> float:
        """Return the performative value of actions that are uniform on the box.

        Prices are then uniform from the lowest to the highest, in every period, so that the mean deployed price is the
        middle of the range, whatever the weights of the periods; and the value depends on the mean price alone.
        """
        low, high = self.problem.price_low, self.problem.price_high
        middle = torch.full((self.problem.n_products,), (low + high) / 2.0, dtype=torch.float64)
        return self.problem.value_of_price(middle)

    def example(self) -> Policy:
        """Return the standard normal policy."""
        shape = (self.problem.horizon, self.problem.n_products)
        return np.stack([np.zeros(shape), np.ones(shape)])

    def respond(self, policy: Policy) -> object:
        """Return the market that answers a Gaussian policy."""
        return self.problem.response(*policy)

    def largest_reward(self, answer: Any) -> float:
        """Return that of the dearest prices, if customers bought (or brought back) as much of everything."""
        dearest = max(abs(self.problem.price_low), abs(self.problem.price_high))
        return dearest * float(answer.demand.abs().sum())

    def deployed(self, policy: Policy) -> Any:
        """Return mean and standard deviation as a pair."""
        mean, std = policy
        return mean, std

    def actor(self, policy: Policy) -> Actor:
        """Return what draws actions; the world clips them, as it does those of the algorithms."""
        mean, std = policy
        return lambda periods, rng: mean[periods] + std[periods] * rng.standard_normal((len(periods), mean.shape[1]))


def find_judge(problem: PerformativeProblem) -> Judge:
    """Return the judge of a world."""
    return TabularJudge(problem) if isinstance(problem, PerformativeMDP) else GaussianJudge(problem)
