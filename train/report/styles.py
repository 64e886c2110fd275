"""How plots look: one colour and marker per algorithm, safe for colour-blind readers and for print."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.report.names import KNOWN

#: Okabe and Ito's palette without yellow, which paper swallows, and black, which is for reference lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B")
MARKERS = "osD^vPX*"
LINES = ("-", (0, (6, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
INK, MUTED, RULE = "#222222", "#666666", "#DDDDDD"

_RC: Any = {
    "font.size": 9.0,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
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
    "xtick.major.size": 0.0,  # the grid shows where they are
    "ytick.major.size": 0.0,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "performative-rl",
    "svg.fonttype": "none",  # text stays text: a fifth of the size, and readable for machines
    "savefig.dpi": 110,
}


@dataclass(frozen=True)
class Look:
    """How an algorithm is drawn."""

    color: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


def looks(algos: Sequence[str]) -> dict[str, Look]:
    """Return how each algorithm is drawn: PePG blue, the others by their place among the known names, or after them."""
    unknown = [algo for algo in dict.fromkeys(algos) if algo not in KNOWN]
    return {algo: _look((*KNOWN, *unknown).index(algo)) for algo in algos}


def _look(index: int) -> Look:
    """Return the look of a place; the colour of the first is its own, the others' come again in another form."""
    turn = max(index - 1, 0) // (len(PALETTE) - 1)
    return Look(
        PALETTE[0] if index == 0 else PALETTE[1 + (index - 1) % (len(PALETTE) - 1)],
        MARKERS[(index + 2 * turn) % len(MARKERS)],
        LINES[(index + 2 * turn) % len(LINES)],
    )


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


#: Small panels side by side.
COLUMNS = 5
#: Inches: of the page, its margins, the main panel, the small ones and what lies between them.
_PAGE, _LEFT, _RIGHT, _TOP, _BOTTOM = 11.2, 0.65, 0.1, 0.15, 0.3
_MAIN_WIDTH, _MAIN_HEIGHT, _SMALL_HEIGHT, _GAP_X, _GAP_Y = 7.9, 3.3, 1.15, 0.45, 0.5


def new_sheet(n_small: int) -> tuple[Figure, Axes, list[Axes]]:
    """Return a figure with a main panel, room for its legend beside it, and small panels below it.

    Places are computed here: matplotlib's layout engines take seconds where there are many panels.
    """
    rows = -(-n_small // COLUMNS)
    height = _TOP + _MAIN_HEIGHT + 0.75 + rows * (_SMALL_HEIGHT + _GAP_Y) - _GAP_Y + _BOTTOM
    figure = Figure(figsize=(_PAGE, height))

    def add(left: float, top: float, width: float, tall: float) -> Axes:
        return figure.add_axes((left / _PAGE, 1.0 - (top + tall) / height, width / _PAGE, tall / height))

    main = add(_LEFT, _TOP, _MAIN_WIDTH, _MAIN_HEIGHT)
    width = (_PAGE - _LEFT - _RIGHT - (COLUMNS - 1) * _GAP_X) / COLUMNS
    first = _TOP + _MAIN_HEIGHT + 0.75
    small = [
        add(_LEFT + column * (width + _GAP_X), first + row * (_SMALL_HEIGHT + _GAP_Y), width, _SMALL_HEIGHT)
        for row, column in (divmod(index, COLUMNS) for index in range(n_small))
    ]
    return figure, main, small
