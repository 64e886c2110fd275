"""Reading saved results. Trains nothing and imports no agents."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from train.files import read_text, write_all, write_text
from train.folders import ERROR, run_folder
from train.plans import PLAN, Key, Plan
from train.saved_runs import SavedRun, read_result, read_run
from train.verification import check_figures

RESULTS, FAILURES = "results.csv", "failures.csv"
#: The same as ``results.csv``.
RESULTS_PARQUET = "results.parquet"
#: What ``results.csv`` leaves out: names for people, and times, which no run repeats.
NOT_REPEATED = ("label", "like", "seconds")
_FAILURE = ("algo", "env", "seed", "error")


@dataclass(frozen=True)
class Found:
    """The finished runs below a folder, and what was left out, in sentences."""

    runs: list[SavedRun]
    notes: list[str]


def find_runs(out: Path, plan: Plan | None = None) -> list[SavedRun]:
    """Return the finished runs below a folder, those of a plan in its order if one is given; see :func:`survey`."""
    return survey(out, plan).runs


def survey(out: Path, plan: Plan | None = None) -> Found:
    """Read the finished runs below a folder, those of a plan in its order if one is given, then those from elsewhere.

    A run counts where it belongs, ``<algo>/<env>/seed_<k>``; a copy elsewhere does not, nor does a result beside an
    ``error.txt``, whose run was to be replaced and failed.

    Raises:
        ValueError: a file cannot be read, or files of a run belong to different runs.
    """
    found, notes = {}, []
    for path in sorted(out.glob("*/*/*/result.json")):
        folder = path.parent
        if any(part.startswith(".") for part in folder.relative_to(out).parts):
            continue  # still being made
        result = read_result(path)
        key = (result["env"], result["algo"], result["seed"])
        home = run_folder(out, *key)
        if folder != home:
            notes.append(f"{folder} is left out: it holds {_named(key)}, whose place is {home}")
        elif (folder / ERROR).is_file():
            notes.append(f"{folder} is left out: it was to be made anew, and that failed ({folder / ERROR} says how)")
        else:
            found[key] = read_run(folder)
    keys = sorted(found) if plan is None else [key for key in plan.runs() if key in found]
    keys += [key for key in sorted(found) if key not in keys and found[key].is_from_elsewhere]
    return Found([found[key] for key in keys], notes)


def _named(key: Key) -> str:
    env, algo, seed = key
    return f"{algo} in {env}, seed {seed}"


def to_frame(runs: Sequence[SavedRun]) -> pd.DataFrame:
    """Return a table with one row per run."""
    frame = pd.DataFrame([{k: v for k, v in run.result.items() if k not in NOT_REPEATED} for run in runs])
    # A figure that no run has is a column of missing numbers, in Parquet as in CSV.
    return frame.astype(dict.fromkeys(frame.columns[frame.isna().all()], np.float64))


def write_results(out: Path, plan: Plan, folders: Collection[Path] | None = None) -> None:
    """Write the results of a benchmark as CSV and as Parquet, one row per finished run, in the order of its plan.

    Args:
        out: folder of the benchmark.
        plan: what it was asked for.
        folders: of the runs that count, all of the plan if ``None``.

    Raises:
        ValueError: a run cannot be read, or has figures that its policy has not.
    """
    found = find_runs(out, plan)
    runs = [run for run in found if folders is None or run.folder in folders or run.is_from_elsewhere]
    check_figures(runs)
    results, parquet = to_frame(runs), io.BytesIO()
    results.to_parquet(parquet, index=False)
    write_all(
        {out / RESULTS: results.to_csv(index=False).encode("utf-8"), out / RESULTS_PARQUET: parquet.getvalue()},
    )


def read_plan(out: Path) -> Plan | None:
    """Return the plan of a benchmark folder, ``None`` for a folder of single runs."""
    path = out / PLAN
    return Plan.load(path) if path.is_file() else None


def read_failures(out: Path) -> list[dict[str, Any]]:
    """Return the runs that failed, with their errors.

    Raises:
        ValueError: the file holds something else.
    """
    path = out / FAILURES
    if not path.is_file():
        return []
    text = read_text(path)
    try:
        table = pd.read_csv(io.StringIO(text))
        rows = table[list(_FAILURE)].astype({"seed": int, "algo": str, "env": str, "error": str})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a table of failures ({', '.join(_FAILURE)}): {error}; bench writes it anew"
        ) from None
    return rows.to_dict("records")  # type: ignore[return-value]


def write_failures(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """List the runs that failed; without any there is no such file."""
    path = out / FAILURES
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_text(path, pd.DataFrame(rows).to_csv(index=False))
