"""The first root of a function on the way from one point to another, by branch and bound.

The function is negative where the way begins. A segment of the way holds no root where an upper bound of the function
is negative on it, or where the function is monotone on it and negative at both ends; it holds exactly one where the
function rises all along and its sign changes. Every other segment is halved. So nothing hangs on a resolution. What
floating point cannot tell from a root, a maximum within rounding of zero, counts as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Index = Bools | NDArray[np.intp] | slice

#: Segments looked at together, those nearest to the start first: little is spent on what lies behind the root.
_BATCH = 128
#: A segment of this many floating-point steps is not halved any more.
_SHORTEST = 8.0


@dataclass(frozen=True, eq=False)
class Points:
    """Points on the way and what is known of the function there.

    Attributes:
        at: ``[n]``.
        value: the function, ``[n]``.
        known: what its bounds are computed from, ``[n, ...]``.
    """

    at: Floats
    value: Floats
    known: Floats

    def take(self, index: Index) -> Points:
        """Return some of the points."""
        return Points(self.at[index], self.value[index], self.known[index])

    def join(self, others: Points) -> Points:
        """Return these points and then the others."""
        pairs = ((self.at, others.at), (self.value, others.value), (self.known, others.known))
        return Points(*(np.concatenate(pair) for pair in pairs))

    def __len__(self) -> int:
        return len(self.at)


class BoundedFunction(Protocol):
    """A function of one variable that can be bounded on every segment of the way.

    Attributes:
        tolerance: values this near to zero may be zero but for rounding.
    """

    tolerance: float

    def points(self, at: Floats) -> Points:
        """Return the function at ``[n]``."""

    def largest(self, segments: Segments) -> Floats:
        """Return upper bounds of the function, ``[n]``."""

    def slopes(self, segments: Segments) -> tuple[Floats, Floats]:
        """Return lower and upper bounds of the derivative along the way, ``[n]`` each."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Parts of the way, in order, from ``near`` to ``far`` ``[n]``; there may be gaps between them."""

    near: Points
    far: Points

    @classmethod
    def of_way(cls, way: Points) -> Segments:
        """Return the segments between successive points."""
        return cls(way.take(slice(None, -1)), way.take(slice(1, None)))

    def take(self, index: Index) -> Segments:
        """Return some of the segments."""
        return Segments(self.near.take(index), self.far.take(index))

    def join(self, others: Segments) -> Segments:
        """Return these segments and then the others."""
        return Segments(self.near.join(others.near), self.far.join(others.far))

    def halves(self, function: BoundedFunction) -> Segments:
        """Return the two halves of every segment, in order."""
        middle = function.points(0.5 * (self.near.at + self.far.at))
        both = Segments(self.near.join(middle), middle.join(self.far))
        return both.take(np.arange(2 * len(self)).reshape(2, -1).T.ravel())

    @property
    def lengths(self) -> Floats:
        """``[n]``."""
        return np.abs(self.far.at - self.near.at)

    def __len__(self) -> int:
        return len(self.near)


class Bracket(NamedTuple):
    """Where the first root is.

    The function is negative at ``near`` and changes its sign once up to ``far``. Or they are the same point: there it
    comes within rounding of zero without changing its sign.
    """

    near: float
    far: float


def first_root(function: BoundedFunction, way: Points) -> Bracket | None:
    """Return where the first root is on a way given by points in order; ``None`` if there is none."""
    segments = Segments.of_way(way)
    while len(segments):
        crossed = np.flatnonzero(segments.far.value >= 0.0)
        segments = segments.take(slice(crossed[0] + 1 if len(crossed) else None))
        segments, later = segments.take(slice(_BATCH)), segments.take(slice(_BATCH, None))
        undecided, holds_root = _examine(function, segments)
        first = int(holds_root.argmax()) if holds_root.any() else len(segments)
        before = segments.take(undecided & (np.arange(len(segments)) < first))
        if first < len(segments):
            if not len(before):
                return _bracket(segments, first)
            later = segments.take(slice(first, first + 1))  # nothing behind it matters
        segments = before.halves(function).join(later) if len(before) else later
    return None


def _examine(function: BoundedFunction, segments: Segments) -> tuple[Bools, Bools]:
    """Return which segments are undecided, and which hold one root."""
    undecided, holds_root = np.zeros((2, len(segments)), dtype=np.bool_)
    possible = np.flatnonzero(function.largest(segments) >= -function.tolerance)
    if len(possible):
        undecided[possible], holds_root[possible] = _examine_slopes(function, segments.take(possible))
    return undecided, holds_root


def _examine_slopes(function: BoundedFunction, segments: Segments) -> tuple[Bools, Bools]:
    near, far = segments.near.value, segments.far.value
    least, most = function.slopes(segments)
    largest = _largest(segments, least, most)
    crosses, near_zero = far >= 0.0, np.maximum(near, far) >= -function.tolerance
    ends = np.maximum(np.abs(segments.near.at), np.abs(segments.far.at))
    shortest = segments.lengths <= _SHORTEST * np.spacing(ends)
    flat = shortest | (largest <= function.tolerance)
    holds_root = (
        ((least > 0.0) & crosses) | ((most < 0.0) & (near >= -function.tolerance)) | (flat & (crosses | near_zero))
    )
    decided = holds_root | shortest | (least > 0.0) | (most < 0.0) | (largest < -function.tolerance)
    return ~decided, holds_root


def _largest(segments: Segments, least: Floats, most: Floats) -> Floats:
    """Return upper bounds of the function from its values at the ends and bounds of its slope."""
    near, far, length = segments.near.value, segments.far.value, segments.lengths
    inside = (least < 0.0) & (most > 0.0)
    steepness = np.where(inside, most - least, 1.0)
    # As steeply up from here as there is down: where the two lines meet.
    peak = np.clip((far - near - least * length) / steepness, 0.0, length)
    return np.where(inside, near + most * peak, np.maximum(near, far))


def _bracket(segments: Segments, index: int) -> Bracket:
    near, far = segments.near, segments.far
    if far.value[index] >= 0.0:
        return Bracket(float(near.at[index]), float(far.at[index]))
    touching = near if near.value[index] >= far.value[index] else far
    return Bracket(float(touching.at[index]), float(touching.at[index]))
