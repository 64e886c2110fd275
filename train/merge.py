"""Putting result folders of several machines together."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.files import write_text
from train.folders import ERROR, RESULT, beside, run_folder, settle
from train.locks import at_work_in, awaited
from train.plans import PLAN, Block, Key, Plan
from train.report.data import group
from train.results import (
    NOT_REPEATED,
    read_failures,
    read_plan,
    survey,
    write_failures,
    write_results,
)
from train.saved_runs import SavedRun, read_run
from train.verification import check_figures


def merge(out: Path, folders: Sequence[Path], command: str = "") -> Plan:
    """Copy the finished runs of several folders into one, and write its ``results.csv`` and the rest anew.

    Args:
        out: the folder that receives them; finished runs that it holds already stay there.
        folders: folders of benchmarks or of single runs.
        command: what to write down as the command that made the folder.

    Returns:
        The plan of all of them together.

    Raises:
        ValueError: a folder holds no finished run, the same run has other settings or another result in two folders, or
            runs of one world cannot be compared, or files of a run contradict each other. Nothing has been copied then.
    """
    found: dict[Key, SavedRun] = {}
    for folder in (out, *folders):
        here = survey(folder)
        for note in here.notes:
            print(f"note: {note}", file=sys.stderr)
        if not here.runs and folder != out:
            raise ValueError(f"{folder} holds no finished run (<algo>/<env>/seed_<k>/result.json)")
        for run in here.runs:
            _check_same(found.setdefault(_key(run.result), run), run)
    if not found:
        raise ValueError(f"{out} holds no finished run, and no other folder was given")
    _check_complete(list(found.values()))
    plan = _union([read_plan(folder) for folder in (out, *folders)], list(found), command)
    failures = [row for folder in (out, *folders) for row in read_failures(folder) if _key(row) not in found]
    with at_work_in(out):
        for run in found.values():
            _copy(run, out)
        write_text(out / PLAN, plan.dump())
        write_failures(out, list({_key(row): row for row in failures}.values()))
        write_results(out, plan)
    return plan


def _check_complete(runs: Sequence[SavedRun]) -> None:
    """Raise ``ValueError`` unless runs can be compared, and their files read and not contradict each other."""
    group(runs)
    check_figures(runs)
    for run in runs:
        _ = run.evaluations, run.moves


def _key(row: dict[str, Any]) -> Key:
    return row["env"], row["algo"], row["seed"]


def _check_same(one: SavedRun, other: SavedRun) -> None:
    if one.config != other.config:
        differ = [key for key in {**one.config, **other.config} if one.config.get(key) != other.config.get(key)]
        raise ValueError(f"the same run has other settings in {one.folder} than in {other.folder}: {', '.join(differ)}")
    differ = [
        key
        for key in {**one.result, **other.result}
        if key not in NOT_REPEATED and one.result.get(key) != other.result.get(key)
    ]
    if differ:
        raise ValueError(
            f"the same run has another result in {one.folder} than in {other.folder}: {', '.join(differ)}; "
            "leave one of them out"
        )


def _copy(run: SavedRun, out: Path) -> None:
    """Copy a run to where it belongs, unless it lies there; what an unfinished run has left there is replaced."""
    target = run_folder(out, *_key(run.result))
    if target.resolve() == run.folder.resolve():
        return
    with awaited(target):
        settle(target)
        if (target / RESULT).is_file() and not (target / ERROR).is_file():
            raise ValueError(
                f"{target} holds a result that has come meanwhile, or that of another run: nothing replaces it"
            )
        new = beside(target)
        try:
            shutil.copytree(run.folder, new, ignore=shutil.ignore_patterns(".[0-9]*", RESULT))
            _check_same(run, read_run(run.folder))  # it may have been replaced meanwhile
            shutil.copy2(run.folder / RESULT, new)
            settle(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _union(plans: Sequence[Plan | None], keys: Sequence[Key], command: str) -> Plan:
    """Return a plan of all that was planned and of all that was found, in the order of the folders."""
    known = [plan for plan in plans if plan is not None]
    steps, evals = ({getattr(plan, name) for plan in known} for name in ("n_timesteps", "n_evals"))
    planned = list(dict.fromkeys(block for plan in known for block in plan.blocks))
    asked = {key for block in planned for key in block.runs()}
    found: dict[tuple[str, str], list[int]] = {}
    for env, algo, seed in keys:
        if (env, algo, seed) not in asked:
            found.setdefault((env, algo), []).append(seed)
    return Plan(
        (*planned, *(Block((algo,), (env,), tuple(sorted(seeds))) for (env, algo), seeds in found.items())),
        command,
        steps.pop() if len(steps) == 1 else None,
        evals.pop() if len(evals) == 1 else None,
    )
