"""What was compared, on what, with which budget."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from train.report.data import Bench, WorldResults
from train.report.words import counted, listing
from train.report.world_tables import span


def facts(bench: Bench) -> tuple[tuple[str, str], ...]:
    """Return the facts of a benchmark as pairs of name and text."""
    metas = [run.meta for run in bench.runs]
    versions = _distinct(", ".join(f"{k} {v}" for k, v in meta.get("versions", {}).items()) for meta in metas)
    machines = _distinct(_machine(meta.get("machine", {})) for meta in metas)
    commits = _distinct(_commit(meta.get("git")) for meta in metas)
    seconds = sum(run.result.get("seconds") or 0.0 for run in bench.runs)
    started = sorted(str(meta.get("started", "")) for meta in metas)
    found = [
        ("Command", bench.plan.command if bench.plan else ""),
        ("Compared", _compared(bench)),
        ("Runs", f"{len(bench.runs)} finished, {len(bench.failures)} failed; {_time(seconds)} of one core"),
        ("Left out", "; ".join(bench.notes)),
        ("Budget", _budget(bench)),
        ("Started", started[0].replace("T", " ").replace("+00:00", " UTC")),
        ("Source", "; ".join(commits)),
        ("Machine", "; ".join(machines)),
        ("Versions", "; ".join(versions)),
    ]
    return tuple((name, text) for name, text in found if text)


def unequal(bench: Bench) -> str:
    """Return a sentence about what was not equal between the algorithms of a world, if anything was."""
    names = {"steps": "environment steps", "deployments": "deployments"}
    found = []
    for figure, name in names.items():
        for world in bench.worlds:
            amounts = [float(results.figures(figure).mean()) for results in world.algorithms]
            if max(amounts) > 1.1 * min(amounts) and name not in found:
                found.append(name)
    return f"The algorithms did not have the same number of {' and '.join(found)}." if found else ""


def left_out(bench: Bench) -> str:
    """Return a sentence about the algorithms that cannot act in some of the worlds, if there are any."""
    missing = {world.env: _without_runs(bench, world) for world in bench.worlds}
    unable = list(dict.fromkeys(algo for algos in missing.values() for algo in algos))
    worlds = [env for env, algos in missing.items() if algos]
    if not worlds:
        return ""
    verb, who = ("does", "it") if len(unable) == 1 else ("do", "they")
    labels = listing([bench.labels.get(algo, algo) for algo in unable])
    return f"{labels} {verb} not apply in {listing(worlds)}: {who} cannot take actions of that kind."


def _without_runs(bench: Bench, world: WorldResults) -> list[str]:
    """Return the algorithms that were asked for in a world, and neither ran nor failed there."""
    if bench.plan is None:
        return []
    failed = {row["algo"] for row in bench.failures if row["env"] == world.env}
    asked = [algo for algo in bench.plan.algos if bench.plan.seeds_of(algo, world.env)]
    return [algo for algo in asked if world.find(algo) is None and algo not in failed and algo in bench.algos]


def _compared(bench: Bench) -> str:
    versions = {
        results.algo for world in bench.worlds for results in world.algorithms if results.variant_of is not None
    }
    algos = counted(len(bench.algos), "algorithm")
    extra = f" ({len(versions)} of them versions of others)" if versions else ""
    return f"{algos}{extra} in {counted(len(bench.worlds), 'world')}"


def _budget(bench: Bench) -> str:
    every = [results for world in bench.worlds for results in world.algorithms]
    steps, rounds = (np.concatenate([results.figures(name) for results in every]) for name in ("steps", "deployments"))
    seeds = np.array([len(results.runs) for results in every], dtype=np.float64)
    return f"per run {span(steps)} environment steps and {span(rounds)} deployments; {span(seeds)} seeds"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"


def _machine(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores, {machine['platform']}" if machine else ""


def _commit(git: dict[str, Any] | None) -> str:
    if not git:
        return "no repository"
    return f"commit {git['commit'][:12]}{' with local changes' if git['dirty'] else ''}"


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
