"""The summary table, once: as text for the report, for Markdown and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from train.report.findings import lead, number
from train.report.statistics import Estimate
from train.report.summary import OURS, AlgorithmResults, Bench, WorldResults, advantage

_VALUES = ("J, IQM [95 % interval]", "J, worst seed", "J, best seed")
_FIGURES = (*_VALUES, "stability gap", "optimality gap", "discounted return", "episode return")
_ADVANTAGE = ("{ours} ahead, IQM", "{ours} ahead, worst vs best seed", "P({ours} better)")
#: The columns that a terminal has room for, by position.
_ON_TERMINAL = (0, 1, 2, 3, 9, 10)


@dataclass(frozen=True)
class Cell:
    """A figure and, where there is one, its interval."""

    text: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.interval}".strip()


@dataclass(frozen=True)
class Row:
    """What an algorithm came to in a world; ``leads``: nobody has a higher interquartile mean there."""

    label: str
    leads: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Summary:
    """Rows by world, under the headings of their cells."""

    columns: tuple[str, ...]
    worlds: tuple[tuple[str, tuple[Row, ...]], ...]

    def to_markdown(self) -> str:
        """Return the table as Markdown, leaders in bold."""
        lines = [_line("world", "algorithm", *self.columns), _line(":--", ":--", *("--:" for _ in self.columns))]
        for world, rows in self.worlds:
            for row in rows:
                label = f"**{row.label}**" if row.leads else row.label
                lines.append(_line(world, label, *map(str, row.cells)))
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """Return the table as a LaTeX ``tabular`` with the rules of ``booktabs``, leaders in bold."""
        lines = [r"% needs \usepackage{booktabs}", rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}", r"\toprule"]
        lines.append(_latex_line("algorithm", *self.columns))
        for world, rows in self.worlds:
            lines += [r"\midrule", rf"\multicolumn{{{len(self.columns) + 1}}}{{l}}{{{_latex(world)}}} \\"]
            for row in rows:
                line = _latex_line(row.label, *map(str, row.cells))
                lines.append(
                    line.replace(_latex(row.label), rf"\textbf{{{_latex(row.label)}}}", 1) if row.leads else line
                )
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def print(self, console: Console) -> None:
        """Print what fits a terminal, leaders in bold."""
        shown = [index for index in _ON_TERMINAL if index < len(self.columns)]
        for world, rows in self.worlds:
            table = Table(title=world, title_justify="left", title_style="bold", box=None, pad_edge=False)
            table.add_column("")
            for index in shown:
                table.add_column(self.columns[index], justify="right", no_wrap=index == 1)
            for row in rows:
                figures = [str(row.cells[index]) if index == 1 else row.cells[index].text for index in shown]
                table.add_row(row.label, *figures, style="bold" if row.leads else "")
            console.print(table)
            console.print()


def summarize(bench: Bench) -> Summary:
    """Return the summary table of a benchmark; our algorithm's advantage is there if it took part."""
    label = next((world.ours.label for world in bench.worlds if world.ours is not None), None)
    compared = label is not None and len(bench.algos) > 1
    headings = ("seeds", *_FIGURES, *(_ADVANTAGE if compared else ()))
    worlds = []
    for world in bench.worlds:
        best = world.ranking[0].value.value
        rows = [
            Row(
                results.label,
                results.value.value == best,
                _figures(bench, world, results) + (_advantage(world, results) if compared else ()),
            )
            for results in world.algorithms
        ]
        worlds.append((world.env, tuple(rows)))
    return Summary(tuple(heading.format(ours=label) for heading in headings), tuple(worlds))


def _figures(bench: Bench, world: WorldResults, results: AlgorithmResults) -> tuple[Cell, ...]:
    done, decimals = len(results.runs), world.decimals
    planned = len(bench.plan.seeds) if bench.plan else done
    optimality = None if world.best_value is None else results.estimated("optimality_gap")
    return (
        Cell(str(done) if done == planned else f"{done} of {planned}"),
        _estimate(results.value, done, decimals),
        Cell(number(float(results.values.min()), decimals)),
        Cell(number(float(results.values.max()), decimals)),
        _estimate(results.estimated("stability_gap"), done, decimals),
        _estimate(optimality, done, decimals),
        Cell(number(float(results.figures("discounted_return_mean").mean()), decimals)),
        Cell(number(float(results.figures("rollout_return_mean").mean()), decimals)),
    )


def _advantage(world: WorldResults, results: AlgorithmResults) -> tuple[Cell, ...]:
    if world.ours is None or results.algo == OURS:
        return (Cell(""), Cell(""), Cell(""))
    ahead = advantage(world.ours, results)
    return (
        Cell(lead(ahead.iqm, world.decimals)),
        Cell(lead(ahead.worst, world.decimals)),
        _estimate(ahead.probability, min(len(world.ours.runs), len(results.runs)), 2),
    )


def _estimate(value: Estimate | None, n_runs: int, decimals: int) -> Cell:
    """Return an estimate with its interval, which a single run does not have."""
    if value is None:
        return Cell(number(None, decimals))
    interval = f"[{number(value.low, decimals)}, {number(value.high, decimals)}]"
    return Cell(number(value.value, decimals), interval if n_runs > 1 else "")


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


#: What LaTeX reads differently, and the signs that not every font of it has.
_LATEX = {
    **{sign: rf"\{sign}" for sign in "%&#$_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "\u00a0": "~",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _latex_line(*cells: str) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"
