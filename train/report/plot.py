"""Plots, tables and report of a results folder. Reads what was saved; trains nothing."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from train.files import write_text, write_with
from train.report.findings import findings
from train.report.page import render_report
from train.report.plain import PLOTS, to_latex, to_markdown
from train.report.section import Plot
from train.report.sections import make_report
from train.report.style import drawing
from train.report.summary import read_bench
from train.report.tables import world_table

REPORT, SUMMARY, SUMMARY_LATEX = "report.html", "summary.md", "summary.tex"


def plot(out: Path, console: Console | None = None) -> Path:
    """Draw everything there is to draw in a results folder; return the report.

    Args:
        out: folder of a benchmark or of single runs.
        console: where the summary tables are printed.

    Raises:
        ValueError: there is no finished run, or a study's data cannot be read.
    """
    bench = read_bench(out)
    with drawing():
        report = make_report(bench)
    for section in report.sections:
        for item in section.plots:
            _save(out / PLOTS, item)
    write_text(out / SUMMARY, to_markdown(report))
    write_text(out / SUMMARY_LATEX, to_latex(report))
    write_text(out / REPORT, render_report(report))
    console = console or Console()
    for world in bench.worlds:
        world_table(bench, world).print(console)
        console.print(f"{world.title}: {' '.join(findings(world)[:2])}\n", highlight=False, markup=False)
    console.print(f"report: {(out / REPORT).resolve()}", highlight=False, markup=False, soft_wrap=True)
    return out / REPORT


def _save(folder: Path, item: Plot) -> None:
    folder.mkdir(exist_ok=True)
    write_with(folder / item.file, lambda path: path.write_bytes(item.data))
