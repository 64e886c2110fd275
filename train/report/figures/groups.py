"""Figures over several worlds: aggregates, performance profiles, probabilities of improvement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.report.figures.curves import FEW, Looks
from train.report.figures.finals import draw_interval, name_rows
from train.report.groups import Entrant, Group
from train.report.names import OURS, is_main
from train.report.resampling import Floats
from train.report.statistics import performance_profile
from train.report.styles import MUTED, new_figure

_MEASURES = {"iqm": "interquartile mean", "median": "median", "optimality_gap": "optimality gap"}
#: Scores below this lie left of the profiles.
_LOWEST = -1.0


def aggregate_intervals(group: Group, looks: Looks) -> Figure:
    """Draw interquartile mean, median and optimality gap of every algorithm, with intervals."""
    rows = group.entrants
    figure, panels = new_figure(11.2, _height(len(rows)), columns=len(_MEASURES))
    for axes, (name, title) in zip(panels, _MEASURES.items(), strict=True):
        for row, entrant in enumerate(rows):
            draw_interval(axes, getattr(entrant.aggregate, name), row, looks[entrant.algo])
        axes.set_title(f"{title} ({'lower' if name == 'optimality_gap' else 'higher'} is better)")
        axes.set(xlabel="normalised score" if name != "optimality_gap" else "missing to a score of 1")
        name_rows(axes, [entrant.label for entrant in rows], named=axes is panels[0])
    return figure


def performance_profiles(group: Group, looks: Looks) -> Figure:
    """Draw the share of runs above every score; beyond a few algorithms, main comparison and others side by side."""
    main = [entrant for entrant in group.entrants if is_main(entrant.algo) or len(group.entrants) <= FEW]
    rest = [entrant for entrant in group.entrants if entrant not in main]
    panels = [part for part in (main, rest) if part]
    figure, axes = new_figure(11.2 if len(panels) > 1 else 7.0, 4.6, columns=len(panels))
    scores = np.concatenate([entrant.scores.ravel() for entrant in group.entrants])
    thresholds = np.linspace(max(_LOWEST, scores.min()) - 0.02, max(1.0, scores.max()) + 0.02, 121)
    ours = [entrant for entrant in main if entrant.algo == OURS]
    titles = ("Main comparison", "Other methods, ablations and defaults") if len(panels) > 1 else ("",)
    for panel, entrants, title in zip(axes, panels, titles, strict=True):
        _profiles(panel, entrants if entrants is main else [*ours, *entrants], looks, thresholds)
        panel.set_title(title)
        panel.set(xlabel="normalised score τ", ylabel="share of runs above τ", ylim=(-0.02, 1.02))
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, handlelength=3.2)
    return figure


def improvements(group: Group, looks: Looks, ours: str) -> Figure:
    """Draw how probably a run of our algorithm beats one of each other."""
    rows = sorted(group.improvements, key=lambda item: -item.probability.value)
    figure, (axes,) = new_figure(7.0, _height(len(rows)))
    for row, item in enumerate(rows):
        draw_interval(axes, item.probability, row, looks[item.algo])
    axes.axvline(0.5, color=MUTED, linewidth=0.9, linestyle=(0, (5, 3)))
    axes.set(xlabel=f"probability that a run of {ours} is better", xlim=(-0.02, 1.02))
    name_rows(axes, [item.label for item in rows])
    return figure


def _profiles(axes: Axes, entrants: Sequence[Entrant], looks: Looks, thresholds: Floats) -> None:
    for entrant in entrants:
        share, low, high = performance_profile(entrant.scores, thresholds)
        look = looks[entrant.algo]
        axes.fill_between(thresholds, low, high, color=look.color, alpha=0.15, linewidth=0)
        axes.plot(
            thresholds,
            share,
            color=look.color,
            linestyle=look.line,
            marker=look.marker,
            markersize=3.5,
            markevery=12,
            linewidth=1.6,
            label=entrant.label,
        )


def _height(rows: int) -> float:
    return 1.2 + 0.27 * max(rows, 3)
