"""The loop under the retraining methods: deploy, look at the world, retrain, and write down what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from agents.retraining.model import Floats, TabularModel
from agents.retraining.program import OccupancyProgram, OccupancySolution
from agents.retraining.result import RetrainingResult
from agents.retraining.samples import UNVISITED, SampledWorld, empirical_model
from agents.retraining.stability import bound_in
from perf_envs import Dynamics, PerformativeMDP
from perf_envs.exact.values import evaluate
from perf_envs.tabular_rounds import TabularRounds
from perf_envs.tensor_checks import policy_or_uniform
from perf_envs.validation import check_choice, check_count, check_number

#: From the last planned occupancy and what is known of the world since, the next one.
Update = Callable[[Tensor, TabularModel], OccupancySolution]


class Rounds:
    """The world a method deploys in, and what it learns of it: exact dynamics or samples of the rounds.

    Args:
        problem: the world.
        adaptation_rate: share of the world that answers a deployment at once.
        n_samples: transitions drawn per deployment; ``None`` for exact dynamics.
        unvisited: what to do about pairs without samples.
        seed: of the samples.
        weights: of the rounds between two retrainings, oldest first.
    """

    def __init__(
        self,
        problem: PerformativeMDP,
        adaptation_rate: float,
        n_samples: int | None,
        unvisited: str,
        seed: int,
        weights: Sequence[float] | Floats = (1.0,),
    ) -> None:
        self.problem, self.weights = problem, [float(weight) for weight in weights]
        self.unvisited = check_choice("unvisited", unvisited, UNVISITED)
        seed = check_count("seed", seed, at_least=0)
        self.sampled = None if n_samples is None else SampledWorld(problem, n_samples, adaptation_rate, seed)
        if self.sampled is None:
            self.rounds = TabularRounds(problem, "declared", adaptation_rate=adaptation_rate)
        else:
            self.rounds = self.sampled.env.rounds

    def deploy(self, policy: Tensor) -> TabularModel:
        """Deploy a policy as often as there are weights; return the model to retrain on."""
        if self.sampled is not None:
            samples = [self.sampled.play(policy.numpy()) for _ in self.weights]
            used = [(weight, round_) for weight, round_ in zip(self.weights, samples, strict=True) if weight > 0.0]
            weights, rounds = zip(*used, strict=True)
            return empirical_model(rounds, self.problem.rho.numpy(), self.problem.n_actions, weights, self.unvisited)
        mixed: Dynamics | None = None
        total = 0.0
        for weight in self.weights:
            self.rounds.deploy(policy)
            if weight > 0.0:
                total += weight
                mixed = self.rounds.dynamics if mixed is None else mixed.mix(self.rounds.dynamics, weight / total)
        return TabularModel.from_dynamics(self.rounds.dynamics if mixed is None else mixed)

    @property
    def steps(self) -> int:
        """Environment steps made so far."""
        return 0 if self.sampled is None else self.sampled.n_steps

    def answer(self, policy: Tensor) -> Dynamics:
        """Return the world's whole answer to the policy deployed last, for the record."""
        if self.rounds.adaptation_rate == 1.0 and np.array_equal(self.rounds.policy.probs, policy.numpy()):
            return self.rounds.dynamics
        with torch.no_grad():
            return self.problem.response(policy).detach()


@dataclass
class _Record:
    """What is written down of every policy."""

    problem: PerformativeMDP
    policies: list[Tensor] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    induced: list[Tensor] = field(default_factory=list)
    deployments: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def ready(self, policy: Tensor, rounds: Rounds) -> None:
        """Note a new policy and what it took to get there."""
        self.policies.append(policy)
        self.deployments.append(rounds.rounds.round)
        self.steps.append(rounds.steps)

    def answered(self, policy: Tensor, answer: Dynamics) -> None:
        """Note what the policy is worth in the world that answers it."""
        evaluation = evaluate(answer, policy, gamma=self.problem.gamma)
        self.values.append(float(self.problem.rho @ evaluation.state_values))
        visits = evaluation.occupancy(self.problem.rho) / (1.0 - self.problem.gamma)
        self.induced.append(torch.where(answer.absorbing, 0.0, visits)[:, None] * policy)


def retrain(
    rounds: Rounds,
    program: OccupancyProgram,
    update: Update,
    n_iterations: int,
    initial_policy: object | None,
    tolerance: float,
    method: str,
) -> RetrainingResult:
    """Deploy and retrain ``n_iterations`` times, and write down what came of it."""
    problem = rounds.problem
    check_count("n_iterations", n_iterations)
    check_number("tolerance", tolerance, at_least=0.0)
    policy = policy_or_uniform(initial_policy, problem.n_states, problem.n_actions, "initial_policy")
    record = _Record(problem)
    residuals: list[float] = []
    planned: list[Tensor] = []
    record.ready(policy, rounds)
    for _ in range(n_iterations):
        world = rounds.deploy(policy)
        record.answered(policy, rounds.answer(policy))
        if not planned:
            planned.append(record.induced[0])
        solution = update(planned[-1], world)
        planned.append(solution.occupancy)
        residuals.append(solution.residual)
        policy = solution.policy
        record.ready(policy, rounds)
    answer = rounds.answer(policy)
    record.answered(policy, answer)
    bound = bound_in(answer, policy, program)
    changes = _changes(planned)
    result = RetrainingResult(
        policy=policy,
        value=record.values[-1],
        history=torch.tensor(record.values, dtype=torch.float64),
        policies=torch.stack(record.policies),
        planned=torch.stack(planned),
        induced=torch.stack(record.induced),
        planned_change=changes,
        induced_change=_changes(record.induced),
        residuals=torch.tensor(residuals, dtype=torch.float64),
        deployments=torch.tensor(record.deployments),
        env_steps=torch.tensor(record.steps),
        n_iter=n_iterations,
        converged=float(changes[-1]) <= tolerance,
        method=method,
        stability_gap=bound.gap,
        stability_bound=bound.bound,
    )
    return result if rounds.sampled is not None else result.warn_unless_converged()


def _changes(occupancies: Sequence[Tensor]) -> Tensor:
    """Return the relative changes of a sequence of occupancies."""
    stacked = torch.stack(list(occupancies)).flatten(1)
    changes: Tensor = (stacked[1:] - stacked[:-1]).norm(dim=1) / stacked[:-1].norm(dim=1)
    return changes
