"""Plots, tables and report of a results folder. Reads what was saved; trains nothing."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from train.files import write_text, write_with
from train.report.figures import final_values, gaps, learning_curves, value_per_deployment
from train.report.findings import findings
from train.report.page import Plot, WorldSection, render_report
from train.report.policy_figures import caption, deployed_policies
from train.report.style import drawing, looks
from train.report.summary import Bench, WorldResults, read_bench
from train.report.tables import Summary, summarize

REPORT, SUMMARY, SUMMARY_LATEX, PLOTS = "report.html", "summary.md", "summary.tex", "plots"


@dataclass(frozen=True)
class _Drawn:
    name: str
    title: str
    caption: str
    figure: Figure


def plot(out: Path, console: Console | None = None) -> Path:
    """Draw everything there is to draw in a results folder; return the report.

    Args:
        out: folder of a benchmark or of single runs.
        console: where the summary table is printed.

    Raises:
        ValueError: there is no finished run.
    """
    bench = read_bench(out)
    summary = summarize(bench)
    with drawing():
        sections = [_section(bench, world) for world in bench.worlds]
    write_text(out / SUMMARY, _markdown(bench, summary))
    write_text(out / SUMMARY_LATEX, summary.to_latex())
    write_text(out / REPORT, render_report(bench, summary, sections))
    console = console or Console()
    summary.print(console)
    for section in sections:
        console.print(f"{section.title}: {' '.join(section.findings[:2])}\n", highlight=False, markup=False)
    console.print(f"report: {(out / REPORT).resolve()}", highlight=False, markup=False, soft_wrap=True)
    return out / REPORT


def _section(bench: Bench, world: WorldResults) -> WorldSection:
    look = looks(bench.algos)
    drawn = [
        _Drawn(
            "learning_curves",
            "Learning curves",
            "Exact performative value of the policy in training: interquartile mean over seeds, 95 % interval.",
            learning_curves(world, look),
        ),
        _Drawn(
            "value_per_deployment",
            "Value per deployment",
            "The same policies over the number of times a policy has been handed to the world (logarithmic).",
            value_per_deployment(world, look),
        ),
        _Drawn(
            "final_values",
            "Final policies",
            "One point per seed; the bar is the 95 % interval of the interquartile mean.",
            final_values(world, look),
        ),
        _Drawn(
            "gaps",
            "Gaps",
            "Stability gap: what the best answer to the world as it stands would gain. Optimality gap: what is missing "
            "to the best known policy. Interquartile means with 95 % intervals; lower is closer.",
            gaps(world, look),
        ),
        _Drawn(
            "policies", "Deployed policies", f"Each algorithm's median seed. {caption(world)}", deployed_policies(world)
        ),
    ]
    folder = bench.folder / PLOTS
    folder.mkdir(exist_ok=True)
    for item in drawn:
        write_with(folder / f"{world.env}_{item.name}.png", item.figure.savefig)
    plots = tuple(Plot(item.name, item.title, item.caption, _svg(item.figure)) for item in drawn)
    return WorldSection(world.title, tuple(findings(world)), plots)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _markdown(bench: Bench, summary: Summary) -> str:
    said = "\n".join(f"- **{world.title}**: {' '.join(findings(world))}" for world in bench.worlds)
    return f"{summary.to_markdown()}\n{said}\n"
