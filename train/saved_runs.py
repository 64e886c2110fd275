"""A finished run as it was saved: its files, read and held against each other. Imports no agents.

A folder may have been copied, edited, or filled from two runs. What is wrong with a file is said in words, with its
name.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from train.csv_tables import read_csv
from train.files import read_json
from train.yaml_files import read_mapping
from train.yardstick import measured

#: What is read of the log of a training.
MOVES = ("perf/round", "perf/shift", "perf/reward_shift")
#: What makes a run: the same in every file that says whose it is.
IDENTITY = ("algo", "env", "seed")
_ADVICE = "bench makes the run again when its result.json is removed"
_FINAL = ("performative_value", "stability_gap")
#: Columns of the evaluations whose last entry is a figure of the result.
_ENDS_WITH = (("timesteps", "steps"), ("round", "deployments"), *(2 * (name,) for name in _FINAL))
_EVALUATIONS = ("timesteps", "round", "performative_value", "stability_gap")
#: Columns that may be empty: what is not known of some worlds.
_MAY_BE_EMPTY = ("stability_gap",)


@dataclass(frozen=True)
class SavedRun:
    """A finished run as it was saved."""

    folder: Path
    result: dict[str, Any]
    config: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether an agent was trained by another program, so that no plan of a benchmark asked for the run."""
        return self.config.get("n_timesteps") == 0

    @cached_property  # several plots are drawn from the same table
    def evaluations(self) -> pd.DataFrame:
        """The exact figures along the training, the last of which are those of the result.

        Raises:
            ValueError: the file cannot be read, is not complete or belongs to another run.
        """
        with _reading(self.folder / "evaluations.csv") as path:
            table = _read_table(path, _EVALUATIONS)
            if (table["timesteps"].diff().dropna() < 0).any():
                raise ValueError("timesteps must not fall")
            last = table.iloc[-1]
            for column, name in _ENDS_WITH:
                if self.result[name] is None and np.isnan(last[column]):
                    continue  # it is known at no time
                if not _same(float(last[column]), float(self.result[name])):
                    raise ValueError(
                        f"it ends with {column} {last[column]:.10g}, but result.json says {self.result[name]:.10g}: it "
                        "is cut off, or one of them belongs to another run"
                    )
        return table

    @cached_property
    def moves(self) -> pd.DataFrame:
        """How far the world moved at the logged deployments; an empty table where that was not logged.

        Raises:
            ValueError: the file cannot be read, is not complete or belongs to another run.
        """
        path = self.folder / "progress.csv"
        if not path.is_file() or not path.stat().st_size:
            return pd.DataFrame()
        with _reading(path):
            table = _read_table(path, (), usecols=lambda column: column in MOVES)
            rounds, most = table.get("perf/round"), self.result["deployments"]
            if rounds is not None and (rounds > most).any():
                raise ValueError(f"it counts {rounds.max():g} deployments, but result.json {most}: not the same run")
        return table

    def policy(self) -> NDArray[np.float64]:
        """Return the final policy: a table ``[S, A]``, or mean and deviation of continuous actions ``[2, H, d]``.

        Raises:
            ValueError: the file cannot be read or holds something else.
        """
        with _reading(self.folder / "policy.npy") as path:
            table = np.load(path)
            if not isinstance(table, np.ndarray) or table.dtype.kind not in "fiu" or table.ndim not in (2, 3):
                raise ValueError("it must hold a table of probabilities, or means and deviations")
            if not np.isfinite(table).all():
                raise ValueError("its numbers must be finite")
        return table.astype(np.float64)


def read_run(folder: Path) -> SavedRun:
    """Return the finished run in a folder.

    Raises:
        ValueError: a file cannot be read, is not what it should be, or belongs to another run.
    """
    config_path, meta_path = folder / "config.yaml", folder / "meta.json"
    result, config, meta = read_result(folder / "result.json"), read_mapping(config_path), read_json(meta_path)
    for path, data, needed in ((config_path, config, IDENTITY), (meta_path, meta, ("started",))):
        for name in needed:
            if name not in data:
                raise ValueError(f"{path} is not what a run leaves: it has no {name!r}; {_ADVICE}")
    _check_entries(config_path, config, _CONFIG)
    _check_entries(meta_path, meta, _META)
    _check_same_run(folder, result, config, meta)
    return SavedRun(folder, measured(result, config), config, meta)


def read_result(path: Path) -> dict[str, Any]:
    """Return the result of a run.

    Raises:
        ValueError: the file cannot be read or is not the result of a run.
    """
    result = read_json(path)
    for name in (*IDENTITY, *_NEEDED):
        if name not in result:
            raise ValueError(f"{path} is not the result of a run: it has no {name!r}; {_ADVICE}")
    _check_entries(path, result, _RESULT)
    return result


def _check_same_run(folder: Path, result: dict[str, Any], config: dict[str, Any], meta: dict[str, Any]) -> None:
    of_files = {"config.yaml": config, "meta.json": meta.get("run", {})}
    for file, data in of_files.items():
        for name in IDENTITY:
            if name in data and data[name] != result[name]:
                raise ValueError(
                    f"{folder / file} and result.json belong to different runs: {name} is {data[name]!r} and "
                    f"{result[name]!r}; {_ADVICE}"
                )
    if "seconds" in result and meta.get("wall_seconds", result["seconds"]) != result["seconds"]:
        raise ValueError(
            f"{folder / 'meta.json'} and result.json belong to different runs: they took {meta['wall_seconds']} and "
            f"{result['seconds']} seconds; {_ADVICE}"
        )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Say of a file of a finished run that cannot be read which one it is, and how to get it back."""
    try:
        yield path
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}; {_ADVICE}") from None


def _read_table(path: Path, columns: tuple[str, ...], usecols: Callable[[str], bool] | None = None) -> pd.DataFrame:
    """Return a complete table of numbers that has some columns at least."""
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        raise ValueError("its last line is cut off")
    table = read_csv(text, usecols)
    if table.empty and len(table.columns):
        raise ValueError("it has no rows")
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}")
    for column in columns or table.columns:
        kind = table[column].dtype.kind
        if kind not in "fiu" and table[column].notna().any():
            raise ValueError(f"{column} must be numbers")
        values = table[column].to_numpy(dtype=np.float64)
        if column in _MAY_BE_EMPTY and np.isnan(values).all():
            continue
        if columns and not np.isfinite(values).all():
            raise ValueError(f"{column} must be finite numbers")
    return table


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-300)


Check = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number with hundreds of digits
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_world(value: Any) -> bool:
    """Whether this may be the id of a world, with a namespace or without."""
    return isinstance(value, str) and all(value.split("/")) and value.count("/") <= 1


def _is_machine(value: Any) -> bool:
    return isinstance(value, Mapping) and (not value or {"cores", "platform"} <= set(value))


def _is_git(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and isinstance(value.get("commit"), str) and "dirty" in value)


_NUMBER: Check = (_is_number, "a finite number")
_NUMBER_OR_NONE: Check = (lambda value: value is None or _is_number(value), "a finite number or null")
_COUNT: Check = (_is_count, "a whole number >= 0")
_COUNT_OR_NONE: Check = (lambda value: value is None or _is_count(value), "a whole number >= 0 or null")
_TEXT: Check = (lambda value: isinstance(value, str), "a text")
_NAME: Check = (lambda value: isinstance(value, str) and bool(value) and "/" not in value, "a name")
_TEXT_OR_NONE: Check = (lambda value: value is None or isinstance(value, str), "a text or null")
_MAPPING: Check = (lambda value: isinstance(value, Mapping), "a mapping")
_WORLD: Check = (_is_world, "a name")
_IDENTITY: dict[str, Check] = {"algo": _NAME, "env": _WORLD, "seed": _COUNT}
_FIGURES: dict[str, Check] = {
    "performative_value": _NUMBER,
    "stability_gap": _NUMBER_OR_NONE,
    "uniform_value": _NUMBER_OR_NONE,
    "steps": _COUNT,
    "deployments": _COUNT,
}
_NEEDED = tuple(_FIGURES)
_RETURNS = [f"{kind}_return_{figure}" for kind in ("rollout", "discounted") for figure in ("mean", "se")]
_RESULT: dict[str, Check] = {
    **_IDENTITY,
    **_FIGURES,
    "label": _TEXT,
    "like": _TEXT_OR_NONE,
    "variant_of": _TEXT_OR_NONE,
    "uses_response_map": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
    "evaluation": (lambda value: value in ("exact", "played"), "exact or played"),
    "n_episodes": _COUNT_OR_NONE,
    **dict.fromkeys(
        ("optimality_gap", "best_value", "performative_value_se", "gamma", "seconds", *_RETURNS), _NUMBER_OR_NONE
    ),
}
_CONFIG: dict[str, Check] = {
    **_IDENTITY,
    "env_kwargs": _MAPPING,
    "n_timesteps": _COUNT,
    "best_value": _NUMBER_OR_NONE,
}
_META: dict[str, Check] = {
    "run": _MAPPING,
    "started": _TEXT,
    "versions": _MAPPING,
    "machine": (_is_machine, "a mapping with cores and platform"),
    "git": (_is_git, "null or a mapping with commit and dirty"),
}


def _check_entries(path: Path, data: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Raise ``ValueError`` at an entry that is there and not what it should be."""
    for name, (is_valid, expected) in checks.items():
        if name in data and not is_valid(data[name]):
            raise ValueError(f"{path}: {name} must be {expected}, got {data[name]!r}; {_ADVICE}")
