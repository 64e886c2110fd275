"""Putting result folders of several machines together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.files import write_text
from train.plans import PLAN, Block, Key, Plan
from train.report.summary import group
from train.results import (
    NOT_REPEATED,
    SavedRun,
    find_runs,
    read_failures,
    read_plan,
    write_failures,
    write_results,
)


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
            runs of one world cannot be compared. Nothing has been copied then.
    """
    found: dict[Key, SavedRun] = {}
    for folder in (out, *folders):
        runs = find_runs(folder)
        if not runs and folder != out:
            raise ValueError(f"{folder} holds no finished run (<algo>/<env>/seed_<k>/result.json)")
        for run in runs:
            _check_same(found.setdefault(_key(run.result), run), run)
    if not found:
        raise ValueError(f"{out} holds no finished run, and no other folder was given")
    group(list(found.values()))
    plan = _union([read_plan(folder) for folder in (out, *folders)], list(found), command)
    failures = [row for folder in (out, *folders) for row in read_failures(folder) if _key(row) not in found]
    for run in found.values():
        _copy(run, out)
    write_text(out / PLAN, plan.dump())
    write_failures(out, list({_key(row): row for row in failures}.values()))
    write_results(out, plan)
    return plan


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
    target = out / run.result["algo"] / run.result["env"] / f"seed_{run.result['seed']}"
    if target.resolve() == run.folder.resolve():
        return
    partial = target.with_name(f".{os.getpid()}.{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(run.folder, partial, ignore=shutil.ignore_patterns(".[0-9]*"))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
