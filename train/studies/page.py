"""What a study leaves behind: data, a plot, and a page with table, claims and findings that the data wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from train import provenance
from train.files import write_all
from train.locks import at_work_in
from train.report.document import to_svg
from train.studies.claims import Claim


@dataclass(frozen=True)
class StudyPage:
    """Everything a study says.

    Attributes:
        name: of the study.
        title: heading of its page.
        about: what was done, in which units.
        data: one row per measurement.
        columns: headings of the table.
        rows: its cells.
        claims: what was tested.
        findings: sentences about the data.
        figure: the plot.
    """

    name: str
    title: str
    about: str
    data: pd.DataFrame
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    claims: Sequence[Claim]
    findings: Sequence[str]
    figure: Figure

    def write(self, out: Path, command: str) -> Path:
        """Write ``NAME.csv``, ``NAME.svg`` and ``NAME.md``; return the page."""
        page = out / f"{self.name}.md"
        files = {
            out / f"{self.name}.csv": self.data.to_csv(index=False).encode("utf-8"),
            out / f"{self.name}.svg": to_svg(self.figure),
            page: self.to_markdown(command).encode("utf-8"),
        }
        with at_work_in(out):
            write_all(files)
        return page

    def to_markdown(self, command: str) -> str:
        """Return the page as Markdown."""
        table = [_line(self.columns), _line([":--", *("--:" for _ in self.columns[1:])]), *map(_line, self.rows)]
        claims = [_line(("claim", "verdict", "because")), _line((":--", ":--", ":--"))]
        claims += [_line((claim.text, f"**{claim.verdict}**", claim.because)) for claim in self.claims]
        git, machine = provenance.git_state(), provenance.machine()
        changed = " with local changes" if git and git["dirty"] else ""
        source = f"commit {git['commit'][:12]}{changed}" if git else "no repository"
        made = f"`{command}`, {source}, {machine['cores']} cores, {machine['platform']}."
        parts = [f"# {self.title}", self.about, f"![{self.title}]({self.name}.svg)", "\n".join(table)]
        parts += ["## Claims", "\n".join(claims), "## Findings", " ".join(self.findings), made]
        return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
