"""What a trial came to, and its line in a CSV file."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.files import read_text, write_text
from train.folders import world_folder

TRIALS = "trials.csv"
#: Columns of the repository's file; times and errors are those of one machine.
COLUMNS = ("algo", "env", "trial", "n_timesteps", "params", "values", "mean")
ALL_COLUMNS = (*COLUMNS, "seconds", "error")


@dataclass(frozen=True)
class Trial:
    """One setting, trained with every tuning seed.

    Attributes:
        algo: name of the algorithm.
        env: id of the world.
        trial: its number; 0 is the shipped setting.
        n_timesteps: environment steps of each run.
        params: the settings that were tried.
        values: exact final performative value by seed, ``None`` where the run failed.
        seconds: how long it took.
        error: of the last run that failed.
    """

    algo: str
    env: str
    trial: int
    n_timesteps: int
    params: dict[str, Any]
    values: dict[int, float | None]
    seconds: float = 0.0
    error: str = ""

    @property
    def mean(self) -> float:
        """Mean value over the seeds, minus infinity if a run failed."""
        values = [value for value in self.values.values() if value is not None]
        return math.fsum(values) / len(values) if len(values) == len(self.values) > 0 else -math.inf


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the highest mean, the first of several; ``None`` if all of them failed."""
    best = max(trials, key=lambda trial: trial.mean, default=None)
    return None if best is None or best.mean == -math.inf else best


def by_world(trials: Iterable[Trial]) -> list[tuple[str, list[Trial]]]:
    """Return the trials of each world, worlds by name."""
    ordered = sorted(trials, key=lambda trial: (trial.env, trial.trial))
    return [(env, list(group)) for env, group in itertools.groupby(ordered, key=lambda trial: trial.env)]


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write trials as CSV in one piece."""
    write_text(path, trials_text(trials))


def trials_text(trials: Sequence[Trial], columns: Sequence[str] = ALL_COLUMNS) -> str:
    """Return trials as CSV; parameters and values are JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for trial in trials:
        as_json = {"params": json.dumps(trial.params), "values": json.dumps(trial.values)}
        writer.writerow({**vars(trial), **as_json, "mean": trial.mean})
    return text.getvalue()


def read_trials(path: Path) -> list[Trial]:
    """Return the trials of a file that :func:`write_trials` wrote; none if there is no such file.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.is_file():
        return []
    text = read_text(path)
    try:
        return [_read_row(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of trials: {error!r}") from None


def read_search(folder: Path) -> list[Trial]:
    """Return the trials of the search whose folder this is, ``ALGO/ENV``.

    Raises:
        ValueError: the folder holds something else, such as a copy of another search.
    """
    path = folder / TRIALS
    trials = read_trials(path)
    for number, trial in enumerate(trials):
        if (trial.algo, world_folder(trial.env), trial.trial) != (folder.parent.name, folder.name, number):
            raise ValueError(
                f"{path} must hold the trials of {folder.parent.name} in {folder.name} from 0, got {trial.trial} of "
                f"{trial.algo} in {trial.env} at place {number}: move what was copied out of the folder"
            )
    return trials


def _read_row(row: dict[str, str]) -> Trial:
    params, values = json.loads(row["params"]), json.loads(row["values"])
    if not isinstance(params, dict) or not all(value is None or _is_number(value) for value in values.values()):
        raise ValueError(f"params must be a mapping and values numbers or null, got {params} and {values}")
    return Trial(
        row["algo"],
        row["env"],
        int(row["trial"]),
        int(row["n_timesteps"]),
        params,
        {int(seed): value for seed, value in values.items()},
        float(row.get("seconds", 0.0)),
        row.get("error", ""),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
