"""A table, once: as text for the report, for Markdown, for LaTeX and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as TerminalTable

from train.report.statistics import Estimate
from train.report.words import bracket, number

#: Tables with more columns than this are shrunk to the width of a LaTeX page.
_WIDE = 6


@dataclass(frozen=True)
class Cell:
    """A figure and, where there is one, its interval; ``strong`` marks the best."""

    text: str
    interval: str = ""
    strong: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.interval}".strip()

    @classmethod
    def of(cls, value: Estimate | None, n_runs: int, decimals: int, strong: bool = False) -> Cell:
        """Return the cell of an estimate; a single run has no interval, and what is not known is a dash."""
        if value is None:
            return cls(number(None, decimals))
        return cls(number(value.value, decimals), bracket(value, decimals, n_runs), strong)


@dataclass(frozen=True)
class Row:
    """What an algorithm came to; ``leads``: nobody is ahead of it."""

    label: str
    cells: tuple[Cell, ...]
    leads: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under the headings of their cells.

    Attributes:
        title: what the table is about.
        columns: headings, without that of the labels.
        rows: one per line.
        head: heading of the labels.
        note: how to read it.
        on_terminal: the columns a terminal has room for, by position.
        text: whether cells are words rather than figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    head: str = "algorithm"
    note: str = ""
    on_terminal: tuple[int, ...] = ()
    text: bool = False

    def to_markdown(self) -> str:
        """Return the table as Markdown, what leads in bold."""
        side = ":--" if self.text else "--:"
        lines = [_line(self.head, *self.columns), _line(":--", *(side for _ in self.columns))]
        lines += [
            _line(_bold(row.label, row.leads), *(_bold(str(cell), cell.strong) for cell in row.cells))
            for row in self.rows
        ]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """Return the table as a LaTeX ``table`` with the rules of ``booktabs``, what leads in bold."""
        side = "l" if self.text else "r"
        inner = [rf"\begin{{tabular}}{{l{side * len(self.columns)}}}", r"\toprule"]
        inner += [_latex_line(latex(self.head), *map(latex, self.columns)), r"\midrule"]
        for row in self.rows:
            cells = [_latex_bold(str(cell), cell.strong) for cell in row.cells]
            inner.append(_latex_line(_latex_bold(row.label, row.leads), *cells))
        inner += [r"\bottomrule", r"\end{tabular}"]
        if len(self.columns) > _WIDE:
            inner = [r"\resizebox{\textwidth}{!}{%", *inner, "}"]
        note = [rf"\par\smallskip\footnotesize {latex(self.note)}"] if self.note else []
        opening = [r"\begin{table}[p]", r"\centering", rf"\caption{{{latex(self.title)}}}"]
        return "\n".join([*opening, *inner, *note, r"\end{table}"]) + "\n"

    def print(self, console: Console) -> None:
        """Print the columns that fit a terminal, what leads in bold."""
        table = TerminalTable(title=self.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("")
        for index in self.on_terminal:
            table.add_column(self.columns[index], justify="right", no_wrap=index == 1)
        for row in self.rows:
            figures = [str(row.cells[index]) if index == 1 else row.cells[index].text for index in self.on_terminal]
            table.add_row(row.label, *figures, style="bold" if row.leads else "")
        console.print(table)
        console.print()


def words_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Table:
    """Return a table of texts; the first column holds the labels."""
    made = tuple(Row(label, tuple(map(Cell, cells))) for label, *cells in rows)
    return Table(title, tuple(columns[1:]), made, head=columns[0], note=note, text=True)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _bold(text: str, strong: bool) -> str:
    return f"**{text}**" if strong else text


#: What LaTeX reads differently, and the signs that not every font of it has.
_LATEX = {
    **{sign: rf"\{sign}" for sign in "%&#$_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "λ": r"$\lambda$",
    "η": r"$\eta$",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
}


def latex(text: str) -> str:
    """Return a text as LaTeX wants it."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _latex_bold(text: str, strong: bool) -> str:
    return rf"\textbf{{{latex(text)}}}" if strong else latex(text)


def _latex_line(*cells: str) -> str:
    return " & ".join(cells) + r" \\"
