"""What the pictures are made of: axes with lines and points, heat maps, legends, the course of a number over rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_envs.rendering.canvas import (
    HEAD,
    INK,
    MUTED,
    PAPER,
    RULE,
    SMALL,
    TITLE,
    Box,
    Canvas,
    Colour,
    Pixels,
    Point,
    readable_on,
)

#: Rounds kept for the chart of a number over rounds.
_ROUNDS_KEPT = 50


def number(value: float, form: str = "z.2f") -> str:
    """Return a number as text, with a true minus sign."""
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def ticks(low: float, high: float, at_most: int) -> list[float]:
    """Return at most ``at_most + 1`` round numbers between two numbers."""
    rough = (high - low) / max(at_most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]


def bound(values: NDArray[np.float64]) -> float:
    """Return a round upper bound for an axis of numbers in [0, 1]."""
    return next(high for high in (0.1, 0.2, 0.5, 1.0) if float(values.max()) <= 0.95 * high or high == 1.0)


class Axes:
    """A plot in a box: data coordinates, ticks, lines and points.

    Args:
        canvas: to draw on.
        box: the plot itself; tick labels go outside, below and to the left.
        x: range of the horizontal axis.
        y: range of the vertical axis.
    """

    def __init__(self, canvas: Canvas, box: Box, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._canvas, self.box, self._x, self._y = canvas, box, x, y

    def at(self, x: float, y: float) -> Point:
        """Return where a point of the data lies in the picture."""
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return self.box.x + across * self.box.width, self.box.bottom - up * self.box.height

    def frame(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, form: str = "g") -> None:
        """Draw base line, horizontal rules, tick labels and the name of the horizontal axis."""
        for tick in y_ticks:
            _, y = self.at(self._x[0], tick)
            self._canvas.line((self.box.x, y), (self.box.right, y), RULE)
            self._canvas.text(number(tick, form), (self.box.x - 6, y), SMALL, MUTED, "midright")
        self._canvas.line((self.box.x, self.box.bottom), (self.box.right, self.box.bottom), MUTED)
        for tick in x_ticks:
            x, _ = self.at(tick, self._y[0])
            self._canvas.text(number(tick, "g"), (x, self.box.bottom + 5), SMALL, MUTED, "midtop")
        self._canvas.text(x_label, (self.box.right, self.box.bottom + 20), SMALL, MUTED, "topright")

    def line(self, xs: Any, ys: Any, colour: Colour, width: float = 2.0, dash: float | None = None) -> None:
        """Draw a line through points of the data."""
        self._canvas.path([self.at(x, y) for x, y in zip(xs, ys, strict=True)], colour, width, dash)

    def level(self, y: float, colour: Colour, width: float = 2.0, dash: float | None = None) -> None:
        """Draw a horizontal line, if it lies in range."""
        if self._y[0] <= y <= self._y[1]:
            self.line(self._x, (y, y), colour, width, dash)

    def dots(self, xs: Any, ys: Any, colour: Colour, radius: float = 3.0) -> None:
        """Draw points."""
        for x, y in zip(xs, ys, strict=True):
            self._canvas.circle(self.at(x, y), radius, colour, PAPER, 0.5)


def label_step(count: int, available: float, needed: float) -> int:
    """Return ``k`` such that every ``k``-th of ``count`` labels has ``needed`` of ``available`` pixels to itself."""
    return max(1, math.ceil(count * needed / max(available, 1.0)))


def heat_map(
    canvas: Canvas,
    box: Box,
    colours: Pixels,
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    write: Callable[[int, int], str] | None = None,
) -> None:
    """Draw a coloured table with its row and column names.

    Args:
        canvas: to draw on.
        box: the table; names go to its left and below.
        colours: ``[rows, columns, 3]``.
        rows: name of each row; as many are written as fit.
        columns: name of each column.
        write: text of a cell, written where the cells are large enough.
    """
    canvas.image(colours, box)
    shape = colours.shape[:2]
    cell = box.cell(0, 0, shape)
    if cell.height >= 8 and cell.width >= 8:
        for row in range(1, shape[0]):
            canvas.line((box.x, box.y + row * cell.height), (box.right, box.y + row * cell.height), PAPER)
        for column in range(1, shape[1]):
            canvas.line((box.x + column * cell.width, box.y), (box.x + column * cell.width, box.bottom), PAPER)
    for row in range(0, shape[0], label_step(shape[0], box.height, 14)):
        canvas.text(str(rows[row]), (box.x - 6, box.cell(row, 0, shape).centre[1]), SMALL, MUTED, "midright")
    for column in range(0, shape[1], label_step(shape[1], box.width, 26)):
        at = (box.cell(0, column, shape).centre[0], box.bottom + 5)
        canvas.text(str(columns[column]), at, SMALL, MUTED, "midtop")
    if write is not None and cell.width >= 26 and cell.height >= 14:
        for row, column in np.ndindex(shape):
            where = box.cell(row, column, shape).centre
            canvas.text(write(row, column), where, SMALL, readable_on(colours[row, column]), "center")


def mark_cell(canvas: Canvas, box: Box, colour: Colour = INK) -> None:
    """Frame a cell of a table so that it stands out on any background."""
    frame, width = Box(box.x - 1, box.y - 1, box.width + 2, box.height + 2), min(2.5, max(1.0, 0.3 * box.height))
    canvas.rectangle(frame, outline=PAPER, width=1.6 * width)
    canvas.rectangle(frame, outline=colour, width=width)


def header(canvas: Canvas, title: str, note: str, colour: Colour = INK) -> None:
    """Write the title of the whole picture and, below it, what happened last."""
    canvas.text(title, (24, 16), TITLE)
    canvas.text(note, (24, 50), HEAD, colour)


def heading(canvas: Canvas, at: Point, title: str, note: str = "") -> None:
    """Write the title of a part of the picture and, below it, how to read it."""
    canvas.text(title, at, 19)
    if note:
        canvas.text(note, (at[0], at[1] + 20), SMALL, MUTED)


class RoundHistory:
    """The course of one number over round 0 and the latest rounds that were drawn.

    Args:
        unshifted: the number in the world before any deployment.
    """

    def __init__(self, unshifted: float) -> None:
        self._unshifted = unshifted
        self._values = {0: unshifted}

    def note(self, round_number: int, value: float) -> None:
        """Take down the number of the round in force."""
        last = max(self._values)
        known = self._values.get(round_number, value)
        if round_number < last or known != value:  # the world was restarted
            self._values = {0: self._unshifted}
        self._values[round_number] = value
        while len(self._values) > _ROUNDS_KEPT:
            del self._values[min(self._values)]

    @property
    def rounds(self) -> list[int]:
        """The rounds that are known, in order."""
        return sorted(self._values)

    @property
    def values(self) -> NDArray[np.float64]:
        """Their numbers."""
        return np.array([self._values[index] for index in self.rounds])

    def change(self) -> str:
        """Return in words how the number moved since the round drawn before; empty in round 0."""
        if len(self._values) == 1:
            return ""
        before, now = self.values[-2:]
        moved = number(now - before, "+z.2f")
        return f"{moved} since round {self.rounds[-2]}"

    def draw(self, canvas: Canvas, box: Box, colour: Colour, low: float, high: float) -> Axes:
        """Draw the course between two bounds and return the axes."""
        rounds, values = self.rounds, self.values
        first, last = rounds[0], max(rounds[-1], rounds[0] + 1)
        margin = 0.03 * (last - first)
        axes = Axes(canvas, box, (first - margin, last + margin), (low, high))
        whole = sorted({round(tick) for tick in ticks(first, last, max(int(box.width / 45), 1))})
        axes.frame(whole, ticks(low, high, max(int(box.height / 24), 1)), "round")
        axes.line(rounds, values, colour)
        axes.dots(rounds[:-1], values[:-1], colour, 3)
        axes.dots(rounds[-1:], values[-1:], colour, 5)
        return axes
