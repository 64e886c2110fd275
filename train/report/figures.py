"""Plots of figures: learning curves, final values, gaps. Each function returns a figure of one world."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from train.report.statistics import Estimate, estimate_curve
from train.report.style import INK, MUTED, Look, new_figure
from train.report.summary import AlgorithmResults, WorldResults

Looks = Mapping[str, Look]
VALUE_LABEL = "performative value J"


def learning_curves(world: WorldResults, looks: Looks) -> Figure:
    """Draw the exact performative value along training: interquartile mean and 95 % interval."""
    return _value_along(world, looks, "timesteps", "environment steps")


def value_per_deployment(world: WorldResults, looks: Looks) -> Figure:
    """Draw the same over the number of deployments, on a logarithmic scale: rollouts differ in length."""
    figure = _value_along(world, looks, "round", "deployments")
    axes = figure.axes[0]
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    return figure


def _value_along(world: WorldResults, looks: Looks, column: str, label: str) -> Figure:
    figure, (axes,) = new_figure(5.6, 3.5)
    for results in world.algorithms:
        look = looks[results.algo]
        steps, scores = _curves(results, column)
        middle, low, high = estimate_curve(scores)
        axes.fill_between(steps, low, high, color=look.color, alpha=0.18, linewidth=0)
        axes.plot(
            steps,
            middle,
            color=look.color,
            linestyle=look.line,
            marker=look.marker,
            markersize=3.5,
            markevery=max(1, len(steps) // 10),
            linewidth=1.7,
            label=results.label,
        )
    _reference_lines(axes, world)
    axes.set(xlabel=label, ylabel=VALUE_LABEL)
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.margins(x=0.01)
    _legend_below(figure, axes)
    return figure


def final_values(world: WorldResults, looks: Looks) -> Figure:
    """Draw the performative value of every final policy, and interquartile mean and interval per algorithm."""
    figure, (axes,) = new_figure(5.6, max(3.5, 1.3 + 0.4 * len(world.algorithms)))
    for row, results in enumerate(world.algorithms):
        look = looks[results.algo]
        spread = np.linspace(-0.22, 0.0, len(results.runs)) if len(results.runs) > 1 else np.zeros(1)
        axes.scatter(results.values, row + spread, s=16, marker=look.marker, color=look.color, alpha=0.55, linewidths=0)
        _interval(axes, results.value, row + 0.22, look)
    _reference_lines(axes, world, vertical=True)
    axes.set(xlabel=f"{VALUE_LABEL} of the final policy", ylim=(len(world.algorithms) - 0.5, -0.5))
    axes.set_yticks(range(len(world.algorithms)), [results.label for results in world.algorithms])
    axes.grid(visible=False, axis="y")
    _legend_below(figure, axes)
    return figure


def gaps(world: WorldResults, looks: Looks) -> Figure:
    """Draw stability gap and, where an optimum is known, optimality gap: interquartile mean and interval."""
    names = ["stability_gap", *(["optimality_gap"] if world.best_value is not None else [])]
    figure, panels = new_figure(5.6, 2.6, columns=len(names))
    for axes, name in zip(panels, names, strict=True):
        for column, results in enumerate(world.algorithms):
            gap, look = results.estimated(name), looks[results.algo]
            axes.bar(column, gap.value, width=0.62, color=look.color, alpha=0.8)
            below, above = max(gap.value - gap.low, 0.0), max(gap.high - gap.value, 0.0)
            axes.errorbar(column, gap.value, [[below], [above]], color=INK, capsize=3, linewidth=1)
        axes.set_xticks(range(len(world.algorithms)), [results.label for results in world.algorithms])
        axes.set(title=name.replace("_", " "), ylabel="difference in J")
        axes.axhline(0.0, color=MUTED, linewidth=0.8)
        axes.grid(visible=False, axis="x")
    return figure


def _curves(results: AlgorithmResults, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the first run was evaluated, and the values of all runs there ``[n runs, points]``."""
    tables = [run.evaluations() for run in results.runs]
    steps = tables[0][column].to_numpy(dtype=np.float64)
    values = [np.interp(steps, table[column], table["performative_value"]) for table in tables]
    return steps, np.array(values)


def _reference_lines(axes: Axes, world: WorldResults, vertical: bool = False) -> None:
    draw = axes.axvline if vertical else axes.axhline
    if world.best_value is not None:
        draw(world.best_value, color=INK, linestyle=(0, (5, 3)), linewidth=1.1, label="best known optimum")
    draw(world.uniform_value, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.3, label="uniform policy")


def _interval(axes: Axes, estimate: Estimate, row: float, look: Look) -> None:
    ends = [estimate.low, estimate.high]
    axes.plot(ends, [row, row], color=look.color, linewidth=4, alpha=0.45, solid_capstyle="butt")
    axes.plot(estimate.value, row, marker="|", markersize=11, markeredgewidth=2.2, color=look.color)


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = len(labels) if len(labels) < 5 else -(-len(labels) // 2)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.8)


def _thousands(value: float, _: object) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"
