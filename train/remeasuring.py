"""Finished runs measured against the best policy known today.

A better policy may turn up for a world after agents were trained in it. What they are worth stays the same; what they
are short of does not, and is written down anew, so that a benchmark continued later has one yardstick.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from train.files import read_json, write_json
from train.judges import find_judge
from train.recording import EVALUATIONS, write_evaluations
from train.run import RESULT, Run


def remeasure(finished: Iterable[Run]) -> int:
    """Write best value and optimality gaps of finished runs anew where a better policy is shipped now.

    Runs that were given a best value of their own keep it. The result is written last: whoever is killed on the way
    does the rest at the next start.

    Returns:
        The number of runs that have changed.
    """
    known: dict[tuple[str, str], float | None] = {}
    n_changed = 0
    for run in finished:
        if run.best_value is not None:
            continue
        world = (run.world, str(run.settings["env_kwargs"]))
        if world not in known:
            known[world] = _best_known_value(run)
        best, result = known[world], read_json(run.folder / RESULT)
        before = result.get("best_value")
        if best is not None and (before is None or best > before):
            _write_gaps(run.folder, result, best)
            n_changed += 1
    return n_changed


def _best_known_value(run: Run) -> float | None:
    problem = run.problem()
    return None if problem is None else find_judge(problem).best_known_value()


def _write_gaps(folder: Path, result: dict[str, Any], best: float) -> None:
    with (folder / EVALUATIONS).open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row["optimality_gap"] = best - float(row["performative_value"])
    write_evaluations(folder / EVALUATIONS, rows)
    gap = best - result["performative_value"]
    write_json(folder / RESULT, result | {"optimality_gap": gap, "best_value": best})
