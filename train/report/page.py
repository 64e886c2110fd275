"""The report: one HTML file that carries everything it shows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from train.report.summary import Bench, WorldResults
from train.report.tables import Summary

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Plot:
    """A picture with its heading and caption."""

    name: str
    title: str
    caption: str
    svg: bytes

    @property
    def uri(self) -> str:
        """The picture as a data URI, so that no file and no network is needed to show it."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


@dataclass(frozen=True)
class WorldSection:
    """What the report says about a world."""

    title: str
    findings: tuple[str, ...]
    plots: tuple[Plot, ...]


def render_report(bench: Bench, summary: Summary, sections: Sequence[WorldSection]) -> str:
    """Return the report as HTML."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template("report.html").render(
        summary=summary,
        sections=sections,
        facts=_facts(bench),
        efforts=[effort for world in bench.worlds for effort in _efforts(world)],
        unequal=_unequal(bench),
        failures=bench.failures,
        n_runs=len(bench.runs),
    )


def _facts(bench: Bench) -> list[tuple[str, str]]:
    """Return what was compared, and on what, as pairs of name and text."""
    metas = [run.meta for run in bench.runs]
    versions = _distinct(", ".join(f"{k} {v}" for k, v in meta.get("versions", {}).items()) for meta in metas)
    machines = _distinct(_machine(meta.get("machine", {})) for meta in metas)
    commits = _distinct(_commit(meta.get("git")) for meta in metas)
    seconds = sum(run.result["seconds"] for run in bench.runs)
    started = sorted(str(meta.get("started", "")) for meta in metas)
    facts = [("Command", bench.plan.command)] if bench.plan and bench.plan.command else []
    facts += [
        ("Runs", f"{len(bench.runs)} finished, {len(bench.failures)} failed; {seconds / 60:.1f} core minutes"),
        ("Started", started[0].replace("T", " ").replace("+00:00", " UTC")),
        ("Machine", "; ".join(machines)),
        ("Versions", "; ".join(versions)),
        ("Source", "; ".join(commits)),
    ]
    return [(name, text) for name, text in facts if text]


def _efforts(world: WorldResults) -> list[tuple[str, ...]]:
    """Return how much every algorithm was given: steps, deployments, speed."""
    rows: list[tuple[str, ...]] = []
    for results in world.algorithms:
        steps, rounds = results.figures("steps"), results.figures("deployments")
        speed = sum(steps) / sum(results.figures("seconds"))
        seeds = results.seeds
        consecutive = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 1
        named = f"{seeds[0]}–{seeds[-1]}" if consecutive else ", ".join(map(str, seeds))
        rows.append((world.env, results.label, named, _span(steps), _span(rounds), f"{speed:,.0f}"))
    return rows


def _unequal(bench: Bench) -> str:
    """Return a sentence about what was not equal between the algorithms of a world, if anything was."""
    names = {"steps": "environment steps", "deployments": "deployments"}
    unequal = []
    for figure, name in names.items():
        for world in bench.worlds:
            amounts = [float(results.figures(figure).mean()) for results in world.algorithms]
            if max(amounts) > 1.1 * min(amounts) and name not in unequal:
                unequal.append(name)
    return f"The algorithms did not have the same number of {' and '.join(unequal)}." if unequal else ""


def _span(values: Any) -> str:
    low, high = int(min(values)), int(max(values))
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _machine(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores, {machine['platform']}" if machine else ""


def _commit(git: dict[str, Any] | None) -> str:
    if not git:
        return "no repository"
    return f"commit {git['commit'][:12]}{' with local changes' if git['dirty'] else ''}"


def _distinct(texts: Any) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
