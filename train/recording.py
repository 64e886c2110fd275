"""Following a run: what the policy in training is worth, written down as it comes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from agents import DeployCallback
from perf_envs.record_rounds import evaluations_text
from train.evaluators import Evaluator
from train.files import write_text

EVALUATIONS = "evaluations.csv"


class EvaluationCallback(BaseCallback):
    """Evaluates the policy at about ``n_evals`` points of the training, the first before it, the last after it.

    The points lie between rollouts, where one policy is at work. ``round`` counts the deployments made so far.

    Args:
        path: the CSV file to write; it is complete after every evaluation.
        evaluator: says what policies are worth in the world.
        n_timesteps: length of the training.
        n_evals: number of evaluations, at least 2.
        deployments: counts the deployments of environments that do not.
    """

    def __init__(
        self, path: Path, evaluator: Evaluator, n_timesteps: int, n_evals: int, deployments: DeployCallback
    ) -> None:
        super().__init__()
        self.path, self.evaluator, self._deployments = path, evaluator, deployments
        # Half a step early: 0.1 * n_timesteps should not miss its boundary by a rounding error.
        self._due = [point - 0.5 for point in np.linspace(0.0, n_timesteps, n_evals)[:-1]]
        self._rows: list[dict[str, Any]] = []
        self._start = time.perf_counter()

    def _on_rollout_start(self) -> None:
        if self._due and self.num_timesteps >= self._due[0]:
            self._due = [point for point in self._due if point > self.num_timesteps]
            self._evaluate()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._evaluate()

    @property
    def last(self) -> dict[str, Any]:
        """The latest evaluation."""
        return self._rows[-1]

    def _evaluate(self) -> None:
        figures = self.evaluator.figures(self.evaluator.read(self.model))
        rounds = self._deployments.n_deployments
        if self.training_env.has_attr("round"):
            rounds = self.training_env.get_attr("round", indices=[0])[0]
        seconds = round(time.perf_counter() - self._start, 3)
        self._rows.append({"timesteps": self.num_timesteps, "round": rounds, **figures, "wall_time": seconds})
        write_text(self.path, evaluations_text(self._rows))
        for name in ("performative_value", "stability_gap"):
            if figures[name] is not None:
                self.logger.record(f"perf/{name.removeprefix('performative_')}", figures[name])


class LogCallback(BaseCallback):
    """Writes a line of the log every few rollouts of an off-policy algorithm, which counts episodes itself.

    Args:
        every: rollouts between two lines.
    """

    model: OffPolicyAlgorithm

    def __init__(self, every: int) -> None:
        super().__init__()
        self._every, self._rollouts = every, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self._every == 0:
            self.model.dump_logs()
