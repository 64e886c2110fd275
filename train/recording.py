"""Following a run: the exact figures of the policy in training, written down as they come."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents.common.deploying import query_observations, tabular_problem
from perf_envs import PerformativeMDP, policy_table
from train.evaluation import Table, exact_figures
from train.files import write_text

COLUMNS = ("timesteps", "round", "performative_value", "stability_gap", "optimality_gap", "wall_time")


def current_table(model: BaseAlgorithm) -> Table:
    """Return the policy table ``[S, A]`` of a model in training."""
    venv = model.get_env()
    problem = None if venv is None else tabular_problem(venv)
    if venv is None or problem is None:
        raise ValueError(f"the model must be trained in a tabular performative world, got {venv}")
    return policy_table(model, query_observations(venv), problem.n_actions)


class EvaluationCallback(BaseCallback):
    """Evaluates the policy exactly at about ``n_evals`` points of the training, the first before it, the last after it.

    The points lie between rollouts, where one policy is at work. ``round`` counts the deployments made so far.

    Args:
        path: the CSV file to write; it is complete after every evaluation.
        problem: the world.
        n_timesteps: length of the training.
        n_evals: number of evaluations, at least 2.
        best_value: the best performative value known, or ``None``.
    """

    def __init__(
        self, path: Path, problem: PerformativeMDP, n_timesteps: int, n_evals: int, best_value: float | None
    ) -> None:
        super().__init__()
        self.path, self.problem, self.best_value = path, problem, best_value
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
        figures = exact_figures(self.problem, current_table(self.model), self.best_value)
        rounds = self.training_env.get_attr("round", indices=[0])[0]
        seconds = round(time.perf_counter() - self._start, 3)
        self._rows.append({"timesteps": self.num_timesteps, "round": rounds, **figures, "wall_time": seconds})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())
        for name in ("performative_value", "stability_gap"):
            self.logger.record(f"perf/{name.removeprefix('performative_')}", figures[name])
