"""Reading saved results. Trains nothing and imports no agents."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from train.files import read_json, write_with
from train.plans import PLAN, Plan
from train.yaml_files import read_mapping

RESULTS, FAILURES = "results.csv", "failures.csv"
#: The same as ``results.csv``.
RESULTS_PARQUET = "results.parquet"
#: What ``results.csv`` leaves out: names for people, and times, which no run repeats.
NOT_REPEATED = ("label", "like", "seconds")
#: What is read of the log of a training.
MOVES = ("perf/round", "perf/shift", "perf/reward_shift")


@dataclass(frozen=True)
class SavedRun:
    """A finished run as it was saved."""

    folder: Path
    result: dict[str, Any]
    config: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)

    @cached_property  # several plots are drawn from the same table
    def evaluations(self) -> pd.DataFrame:
        """The exact figures along the training."""
        with _reading(self.folder / "evaluations.csv") as path:
            return pd.read_csv(path)

    @cached_property
    def moves(self) -> pd.DataFrame:
        """How far the world moved at the logged deployments; an empty table where that was not logged."""
        path = self.folder / "progress.csv"
        if not path.is_file() or not path.stat().st_size:
            return pd.DataFrame()
        return pd.read_csv(path, usecols=lambda column: column in MOVES)

    def policy(self) -> NDArray[np.float64]:
        """Return the final policy: a table ``[S, A]``, or mean and deviation of continuous actions ``[2, H, d]``."""
        with _reading(self.folder / "policy.npy") as path:
            table: NDArray[np.float64] = np.load(path)
        return table


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Say of a file of a finished run that cannot be read which one it is, and how to get it back."""
    try:
        yield path
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"cannot read {path}: {error}; bench makes the run again when its result.json is removed"
        ) from None


def find_runs(out: Path, plan: Plan | None = None) -> list[SavedRun]:
    """Return the finished runs below a folder, those of a plan in its order if one is given."""
    found = {}
    for path in sorted(out.glob("*/*/seed_*/result.json")):
        result, folder = read_json(path), path.parent
        for name in ("env", "algo", "seed"):
            if name not in result:
                raise ValueError(f"{path} is not the result of a run: it has no {name!r}")
        found[result["env"], result["algo"], result["seed"]] = SavedRun(
            folder, result, read_mapping(folder / "config.yaml"), read_json(folder / "meta.json")
        )
    if plan is None:
        return [found[key] for key in sorted(found)]
    return [found[key] for key in plan.runs() if key in found]


def to_frame(runs: Sequence[SavedRun]) -> pd.DataFrame:
    """Return a table with one row per run."""
    frame = pd.DataFrame([{k: v for k, v in run.result.items() if k not in NOT_REPEATED} for run in runs])
    # A figure that no run has is a column of missing numbers, in Parquet as in CSV.
    return frame.astype(dict.fromkeys(frame.columns[frame.isna().all()], np.float64))


def collect(out: Path, plan: Plan) -> pd.DataFrame:
    """Return the results of a benchmark, one row per finished run, in the order of its plan."""
    return to_frame(find_runs(out, plan))


def write_results(out: Path, plan: Plan) -> None:
    """Write the results of a benchmark as CSV and as Parquet."""
    results = collect(out, plan)
    write_with(out / RESULTS, lambda path: results.to_csv(path, index=False))
    write_with(out / RESULTS_PARQUET, lambda path: results.to_parquet(path, index=False))


def read_plan(out: Path) -> Plan | None:
    """Return the plan of a benchmark folder, ``None`` for a folder of single runs."""
    path = out / PLAN
    return Plan.load(path) if path.is_file() else None


def read_failures(out: Path) -> list[dict[str, Any]]:
    """Return the runs that failed, with their errors."""
    path = out / FAILURES
    return pd.read_csv(path).to_dict("records") if path.is_file() else []  # type: ignore[return-value]


def write_failures(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """List the runs that failed; without any there is no such file."""
    path = out / FAILURES
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_with(path, lambda partial: pd.DataFrame(rows).to_csv(partial, index=False))
