"""Finished runs measured against the best policy known today.

A better policy may turn up for a world after agents were trained in it. What they are worth stays the same; what they
are short of does not, and is written down anew, so that a benchmark continued later has one yardstick.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any

from train.files import read_text, write_json, write_text
from train.folders import RESULT
from train.judges import find_judge
from train.locks import awaited
from train.recording import EVALUATIONS, evaluations_text
from train.run import Run, read_result


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
        best = known[world]
        if best is not None and _is_better(best, read_result(run)):
            n_changed += _remeasure(run, best)
    return n_changed


def _best_known_value(run: Run) -> float | None:
    problem = run.problem()
    return None if problem is None else find_judge(problem).best_known_value()


def _is_better(best: float, result: dict[str, Any]) -> bool:
    before = result.get("best_value")
    return before is None or best > before


def _remeasure(run: Run, best: float) -> bool:
    """Write the gaps of a run anew, unless another process has replaced or remeasured it meanwhile."""
    with awaited(run.folder):
        if not run.is_finished():
            return False
        result = read_result(run)
        if not _is_better(best, result):
            return False
        rows: list[dict[str, Any]] = list(csv.DictReader(read_text(run.folder / EVALUATIONS).splitlines()))
        try:
            for row in rows:
                row["optimality_gap"] = best - float(row["performative_value"])
            gap = best - result["performative_value"]
            text = evaluations_text(rows)
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(
                f"{run.folder} does not hold what a run leaves, gaps cannot be measured: {error}"
            ) from None
        write_text(run.folder / EVALUATIONS, text)
        write_json(run.folder / RESULT, result | {"optimality_gap": gap, "best_value": best})
    return True
