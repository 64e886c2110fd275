"""Plots, tables and report of a results folder. Reads what was saved; trains nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from train.files import write_all
from train.locks import at_work_in
from train.report.contents import make_report
from train.report.data import read_bench
from train.report.page import render_report
from train.report.render import PLOTS, to_latex, to_markdown
from train.report.styles import drawing
from train.report.world_findings import findings
from train.report.world_tables import world_table

REPORT, SUMMARY, SUMMARY_LATEX = "report.html", "summary.md", "summary.tex"


def plot(out: Path, console: Console | None = None) -> Path:
    """Draw everything there is to draw in a results folder; return the report.

    Args:
        out: folder of a benchmark or of single runs.
        console: where the summary tables are printed.

    Raises:
        ValueError: there is no finished run, files cannot be read or contradict each other, or runs cannot be compared.
    """
    bench = read_bench(out)
    for note in bench.notes:
        print(f"note: {note}", file=sys.stderr)
    with drawing():
        report = make_report(bench)
    pages = {SUMMARY: to_markdown(report), SUMMARY_LATEX: to_latex(report), REPORT: render_report(report)}
    files = {out / PLOTS / item.file: item.data for section in report.sections for item in section.plots}
    files |= {out / name: text.encode("utf-8") for name, text in pages.items()}
    with at_work_in(out):
        (out / PLOTS).mkdir(exist_ok=True)
        write_all(files)
    console = console or Console()
    for world in bench.worlds:
        world_table(bench, world).print(console)
        console.print(f"{world.title}: {' '.join(findings(world)[:2])}\n", highlight=False, markup=False)
    console.print(f"report: {(out / REPORT).resolve()}", highlight=False, markup=False, soft_wrap=True)
    return out / REPORT
