"""How plots look: one colour and marker per algorithm, safe for colour-blind readers and for print."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Okabe and Ito's palette without yellow, which paper swallows, and black, which is for reference lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B")
MARKERS = "osD^vPX*"
LINES = ("-", (0, (6, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
INK, MUTED, RULE = "#222222", "#666666", "#DDDDDD"

_RC: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "performative-rl",
    "savefig.dpi": 160,
}


@dataclass(frozen=True)
class Look:
    """How an algorithm is drawn."""

    color: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


def looks(algos: Sequence[str]) -> dict[str, Look]:
    """Return how each algorithm is drawn; PePG is blue wherever it takes part."""
    ordered = sorted(algos, key=lambda algo: algo != "pepg")
    return {
        algo: Look(
            PALETTE[index % len(PALETTE)],
            MARKERS[index % len(MARKERS)],
            LINES[(index // len(PALETTE) + index) % len(LINES)],
        )
        for index, algo in enumerate(ordered)
    }


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Apply the style to the figures made inside."""
    with mpl.rc_context(_RC):
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure (inches) with its axes, row by row; it belongs to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())
