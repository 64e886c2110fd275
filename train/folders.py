"""The folder of a run, and how another run takes its place: made beside it, and put there when it is finished.

What is in the place of a run is either finished, with a ``result.json``, or nothing that anybody reads. Whoever changes
it holds its lock, see :mod:`train.locks`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

RESULT, ERROR = "result.json", "error.txt"
INPUTS = ("config.yaml", "command.txt", "meta.json")
#: All that a run writes; anything else in its folder is somebody else's and stays.
FILES = (RESULT, *INPUTS, "progress.csv", "evaluations.csv", "policy.npy", "model.zip", ERROR)


def world_folder(env: str) -> str:
    """Return the name of a world as that of a folder or file; the namespace of an id is no folder of its own."""
    return env.replace("/", "__")


def run_folder(out: Path, env: str, algo: str, seed: int) -> Path:
    """Return where a run belongs."""
    return out / algo / world_folder(env) / f"seed_{seed}"


def workplace(folder: Path) -> Path:
    """Return where a run is made: its folder itself, or one beside it while that holds a finished run."""
    return beside(folder) if (folder / RESULT).is_file() else folder


def beside(folder: Path) -> Path:
    """Return where the successor of a finished run is made."""
    return folder.with_name(f".{folder.name}.new")


def clear(folder: Path) -> None:
    """Remove what a run has written into a folder, the result first."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    _remove_logs(folder)


def settle(folder: Path) -> None:
    """Put a finished successor into the place of a run, or throw away an unfinished one, which a killed process left.

    The successor's result is moved last: until then the successor is finished and what it replaces is not, so that the
    next one who comes can go on where somebody was killed.
    """
    new = beside(folder)
    if not new.is_dir():
        return
    if (new / RESULT).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / RESULT).is_file():
            _remove_logs(folder)
        for name in (RESULT, ERROR):
            (folder / name).unlink(missing_ok=True)
        for path in sorted(new.iterdir(), key=lambda path: path.name == RESULT):
            os.replace(path, folder / path.name)
    shutil.rmtree(new)


def _remove_logs(folder: Path) -> None:
    for log in folder.glob("events.out.tfevents.*"):
        log.unlink()
