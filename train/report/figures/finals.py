"""Figures of the final policies of one world: values and gaps, a row per algorithm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.report.data import AlgorithmResults, WorldResults
from train.report.figures.curves import VALUE_LABEL, Looks, reference_lines
from train.report.statistics import Estimate
from train.report.styles import MUTED, Look, new_figure

_GAPS = ("stability_gap", "optimality_gap")


def final_values(world: WorldResults, looks: Looks) -> Figure:
    """Draw the performative value of every final policy, and interquartile mean and interval per algorithm."""
    rows = _rows(world)
    figure, (axes,) = new_figure(5.6, _height(len(rows)))
    for row, results in enumerate(rows):
        look = looks[results.algo]
        spread = np.linspace(-0.22, 0.0, len(results.runs)) if len(results.runs) > 1 else np.zeros(1)
        axes.scatter(results.values, row + spread, s=16, marker=look.marker, color=look.color, alpha=0.55, linewidths=0)
        draw_interval(axes, results.value, row + 0.22, look)
    reference_lines(axes, world, vertical=True)
    axes.set(xlabel=f"{VALUE_LABEL} of the final policy")
    name_rows(axes, [results.label for results in rows])
    figure.legend(loc="outside lower center", ncols=2, handlelength=2.8)
    return figure


def gaps(world: WorldResults, looks: Looks) -> Figure | None:
    """Draw stability gap and optimality gap, where they are known: interquartile mean and interval."""
    rows = _rows(world)
    known = [name for name in _GAPS if any(results.estimated(name) is not None for results in rows)]
    if not known:
        return None
    figure, panels = new_figure(5.6, _height(len(rows)) - 0.3, columns=len(known))
    for axes, name in zip(panels, known, strict=True):
        for row, results in enumerate(rows):
            gap, look = results.estimated(name), looks[results.algo]
            if gap is not None:
                axes.barh(row, gap.value, height=0.6, color=look.color, alpha=0.35)
                draw_interval(axes, gap, row, look)
        axes.set_title(name.replace("_", " "))
        axes.set(xlabel="difference in J")
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        name_rows(axes, [results.label for results in rows], named=axes is panels[0])
    return figure


def draw_interval(axes: Axes, estimate: Estimate, row: float, look: Look) -> None:
    """Draw an interval as a bar, and the figure as a tick in it."""
    ends = [estimate.low, estimate.high]
    axes.plot(ends, [row, row], color=look.color, linewidth=4, alpha=0.45, solid_capstyle="butt")
    axes.plot(estimate.value, row, marker="|", markersize=9, markeredgewidth=2.2, color=look.color)


def name_rows(axes: Axes, names: Sequence[str], named: bool = True) -> None:
    """Write the names of the algorithms beside their rows, the first on top; or leave only their places."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names if named else [""] * len(names))
    axes.grid(visible=False, axis="y")


def _rows(world: WorldResults) -> list[AlgorithmResults]:
    """Return the algorithms as they are listed from top to bottom, ablations last."""
    return sorted(world.algorithms, key=lambda results: results.variant_of is not None)


def _height(rows: int) -> float:
    return max(2.6, 1.2 + (0.4 if rows <= 8 else 0.27) * rows)
