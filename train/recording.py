"""Following a run: the exact figures of the policy in training, written down as they come."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from train.files import write_text
from train.judges import Judge

EVALUATIONS = "evaluations.csv"
COLUMNS = ("timesteps", "round", "performative_value", "stability_gap", "optimality_gap", "wall_time")


class EvaluationCallback(BaseCallback):
    """Evaluates the policy exactly at about ``n_evals`` points of the training, the first before it, the last after it.

    The points lie between rollouts, where one policy is at work. ``round`` counts the deployments made so far.

    Args:
        path: the CSV file to write; it is complete after every evaluation.
        judge: the judge of the world.
        n_timesteps: length of the training.
        n_evals: number of evaluations, at least 2.
        best_value: the best performative value known, or ``None``.
    """

    def __init__(self, path: Path, judge: Judge, n_timesteps: int, n_evals: int, best_value: float | None) -> None:
        super().__init__()
        self.path, self.judge, self.best_value = path, judge, best_value
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
        figures = self.judge.figures(self.judge.read(self.model), self.best_value)
        rounds = self.training_env.get_attr("round", indices=[0])[0]
        seconds = round(time.perf_counter() - self._start, 3)
        self._rows.append({"timesteps": self.num_timesteps, "round": rounds, **figures, "wall_time": seconds})
        write_text(self.path, evaluations_text(self._rows))
        for name in ("performative_value", "stability_gap"):
            self.logger.record(f"perf/{name.removeprefix('performative_')}", figures[name])


def evaluations_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the evaluations of a run as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
