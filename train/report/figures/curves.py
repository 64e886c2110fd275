"""What happened along the training, one curve per algorithm: the value, and how far the world moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from train.report.data import AlgorithmResults, WorldResults
from train.report.names import OURS
from train.report.resampling import Floats
from train.report.statistics import estimate_curve, iqm
from train.report.styles import COLUMNS, INK, MUTED, Look, new_figure, new_sheet

Looks = Mapping[str, Look]
VALUE_LABEL = "performative value J"
#: Up to so many algorithms share one panel.
FEW = 7
#: Logarithmic where the curves span more than this factor.
_WIDE = 30.0
#: Names side by side in a legend below a panel: more would be wider than the panel.
_LEGEND_COLUMNS = 3
#: Points of a curve that are drawn, about.
_POINTS = 60


@dataclass(frozen=True)
class Curve:
    """A curve and, where it has one, its band."""

    at: Floats
    middle: Floats
    low: Floats | None = None
    high: Floats | None = None


@dataclass(frozen=True)
class _Axis:
    """What all panels of a figure have in common."""

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    references: Callable[[Axes], None] | None = None


def learning_curves(world: WorldResults, looks: Looks) -> Figure:
    """Draw the exact performative value along training: interquartile mean and 95 % interval."""
    curves = {results.algo: _values(results, "timesteps") for results in world.algorithms}
    axis = _Axis("environment steps", VALUE_LABEL, references=lambda axes: reference_lines(axes, world))
    return _draw(world, looks, curves, axis)


def value_per_deployment(world: WorldResults, looks: Looks) -> Figure:
    """Draw the same over the number of deployments, on a logarithmic scale: rollouts differ in length."""
    curves = {results.algo: _values(results, "round") for results in world.algorithms}
    axis = _Axis("deployments", VALUE_LABEL, log_x=True, references=lambda axes: reference_lines(axes, world))
    return _draw(world, looks, curves, axis)


def moves(world: WorldResults, looks: Looks, column: str, label: str, main_only: bool = False) -> Figure | None:
    """Draw how far the world moved at the deployments along training: interquartile mean over seeds.

    Args:
        world: the world.
        looks: of the algorithms.
        column: of ``progress.csv``.
        label: of the vertical axis.
        main_only: leave out the small panels where there would be some.

    Returns:
        ``None`` where nothing moved, or nothing was recorded.
    """
    found = {results.algo: _recorded(results, column) for results in world.algorithms}
    curves = {algo: curve for algo, curve in found.items() if curve is not None}
    if main_only and len(curves) > FEW:
        curves = {results.algo: curves[results.algo] for results in world.main if results.algo in curves}
    heights = np.concatenate([curve.middle[curve.middle > 0.0] for curve in curves.values()] or [np.zeros(0)])
    if not heights.size:
        return None
    low, high = np.percentile(heights, (2.0, 100.0))
    return _draw(world, looks, curves, _Axis("deployments", label, log_x=True, log_y=bool(high > _WIDE * low)))


def reference_lines(axes: Axes, world: WorldResults, vertical: bool = False) -> None:
    """Mark the best known value and that of the uniform policy."""
    draw = axes.axvline if vertical else axes.axhline
    if world.best_value is not None:
        draw(world.best_value, color=INK, linestyle=(0, (5, 3)), linewidth=1.1, label="best known optimum")
    if world.uniform_value is not None:
        draw(world.uniform_value, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.3, label="uniform policy")


def _values(results: AlgorithmResults, column: str) -> Curve:
    """Return the value where the first run was evaluated."""
    at, values = _over_seeds([run.evaluations for run in results.runs], column, "performative_value")
    return Curve(at, *estimate_curve(values))


def _recorded(results: AlgorithmResults, column: str) -> Curve | None:
    tables = [run.moves for run in results.runs]
    if not all({column, "perf/round"} <= set(table.columns) for table in tables):
        return None
    tables = [table[["perf/round", column]].dropna() for table in tables]
    if not all(len(table) for table in tables):
        return None
    at, values = _over_seeds(tables, "perf/round", column)
    keep = np.unique(np.geomspace(1, len(at), _POINTS).round().astype(int)) - 1
    return Curve(at[keep], np.array([iqm(values[:, index]) for index in keep]))


def _over_seeds(tables: Sequence[pd.DataFrame], x: str, y: str) -> tuple[Floats, Floats]:
    """Return where the first table has points, and what all of them have there ``[n runs, points]``."""
    at = tables[0][x].to_numpy(dtype=np.float64)
    return at, np.array([np.interp(at, table[x].to_numpy(), table[y].to_numpy(dtype=np.float64)) for table in tables])


def _draw(world: WorldResults, looks: Looks, curves: Mapping[str, Curve], axis: _Axis) -> Figure:
    """Draw all curves in one panel; where there are many, the main comparison, and a small panel for each other."""
    shown = [results for results in world.algorithms if results.algo in curves]
    main = shown if len(shown) <= FEW else [results for results in world.main if results.algo in curves] or shown[:FEW]
    rest = [results for results in shown if results not in main]
    if not rest:
        figure, (axes,) = new_figure(5.6, 3.5)
        _main_panel(axes, main, looks, curves, axis)
        handles, labels = axes.get_legend_handles_labels()
        rows = -(-len(labels) // _LEGEND_COLUMNS)
        columns = -(-len(labels) // rows)
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns,
            handlelength=2.8,
            columnspacing=1.2,
            fontsize=9.0,
        )
        return figure
    figure, large, small = new_sheet(len(rest))
    _main_panel(large, main, looks, curves, axis)
    large.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=3.2, fontsize=9.5)
    ours = next((results for results in main if results.algo == OURS), None)
    rest.sort(key=lambda results: results.variant_of is not None)
    for index, (axes, results) in enumerate(zip(small, rest, strict=True)):
        if ours is not None:
            _plot(axes, ours, looks, curves, width=0.9)
        _plot(axes, results, looks, curves, width=1.4)
        _finish(axes, axis, ticks=3)
        axes.set_title(results.label, fontsize=7.5, fontweight="normal", pad=4.0)
        axes.grid(visible=False)
        axes.tick_params(labelsize=7.0, labelleft=index % COLUMNS == 0)
    _share_heights(small)
    return figure


def _main_panel(
    axes: Axes, main: Sequence[AlgorithmResults], looks: Looks, curves: Mapping[str, Curve], axis: _Axis
) -> None:
    for results in main:
        _plot(axes, results, looks, curves, marked=True)
    _finish(axes, axis)
    axes.set(xlabel=axis.x, ylabel=axis.y)


def _plot(
    axes: Axes,
    results: AlgorithmResults,
    looks: Looks,
    curves: Mapping[str, Curve],
    width: float = 1.7,
    marked: bool = False,
) -> None:
    look, curve = looks[results.algo], curves[results.algo]
    if curve.low is not None and curve.high is not None and width > 1.0:
        axes.fill_between(curve.at, curve.low, curve.high, color=look.color, alpha=0.18, linewidth=0)
    axes.plot(
        curve.at,
        np.where(curve.middle > 0.0, curve.middle, np.nan) if curve.low is None else curve.middle,
        color=look.color,
        linestyle=look.line if marked else "-",
        marker=look.marker if marked else "",
        markersize=3.5,
        markevery=max(1, len(curve.at) // 10),
        linewidth=width,
        label=results.label,
    )


def _finish(axes: Axes, axis: _Axis, ticks: int = 7) -> None:
    if axis.references is not None:
        axis.references(axes)
    if axis.log_y:
        axes.set_yscale("log")
    if axis.log_x:
        axes.set_xscale("log")
    for part, log in ((axes.xaxis, axis.log_x), (axes.yaxis, axis.log_y)):
        part.set_major_locator(LogLocator(numticks=ticks) if log else MaxNLocator(ticks))
        part.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.margins(x=0.01)


def _share_heights(panels: Sequence[Axes]) -> None:
    limits = np.array([axes.get_ylim() for axes in panels])
    for axes in panels:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def _thousands(value: float, _: object) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"
