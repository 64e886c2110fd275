"""The drawing surface under all renderers: shapes, arrows, images and text in pygame, without opening a display.

Lengths are in pixels of the finished picture. Everything is drawn enlarged and scaled down at the end, which smooths
edges and letters. Text comes last, on top of all shapes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from perf_envs.extras import MissingExtraError, check_extra

if TYPE_CHECKING:
    import pygame

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pixels = NDArray[np.uint8]

# Okabe and Ito's palette, which colour-blind readers can tell apart.
AGENT: Colour = (0, 90, 160)
WORLD: Colour = (200, 82, 0)
GOAL: Colour = (120, 200, 170)
MARKER: Colour = (240, 228, 66)
INK: Colour = (35, 35, 40)
MUTED: Colour = (105, 105, 112)
RULE: Colour = (205, 205, 208)
PAPER: Colour = (255, 255, 255)

#: Ramps for numbers in [0, 1]: what the agent does, how the world answers, and change in either direction.
AGENT_RAMP = ((246, 249, 253), (150, 195, 226), (8, 69, 130))
WORLD_RAMP = ((255, 249, 243), (250, 178, 108), (158, 62, 0))
CHANGE_RAMP = ((20, 90, 160), (247, 247, 247), (200, 84, 0))

#: Font sizes. Few, because every one costs half a millisecond per picture.
SMALL, BODY, HEAD, TITLE = 15, 17, 20, 28

_ENLARGED = 2


class Box(NamedTuple):
    """A rectangle: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Bottom edge."""
        return self.y + self.height

    @property
    def centre(self) -> Point:
        """Centre."""
        return self.x + self.width / 2, self.y + self.height / 2

    def cell(self, row: int, column: int, shape: tuple[int, int]) -> Box:
        """Return one cell of the box divided into ``shape`` rows and columns."""
        width, height = self.width / shape[1], self.height / shape[0]
        return Box(self.x + column * width, self.y + row * height, width, height)


def import_pygame() -> Any:
    """Return pygame, or say how to get it."""
    try:
        check_extra("render", "drawing")
    except MissingExtraError as error:
        raise DependencyNotInstalled(str(error)) from error
    import pygame

    return pygame


def ramp(values: Any, stops: tuple[Colour, ...]) -> Pixels:
    """Return colours ``[..., 3]`` of numbers in [0, 1], interpolated between evenly spaced ``stops``."""
    at = np.linspace(0.0, 1.0, len(stops))
    channels = [np.interp(values, at, channel) for channel in zip(*stops, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def blend(colour: Colour, other: Colour, weight: float) -> Colour:
    """Return ``(1 - weight) * colour + weight * other``."""
    red, green, blue = (round(old + weight * (new - old)) for old, new in zip(colour, other, strict=True))
    return red, green, blue


def readable_on(background: Pixels) -> Colour:
    """Return the text colour that reads well on a background ``[3]``."""
    luminance = float(background @ np.array([0.299, 0.587, 0.114]))
    return INK if luminance > 140 else PAPER


class Canvas:
    """A picture in the making.

    Args:
        width: of the finished picture.
        height: of the finished picture.
    """

    def __init__(self, width: int, height: int) -> None:
        self._pygame = import_pygame()
        self.width, self.height = width, height
        self._surface = self._pygame.Surface((width * _ENLARGED, height * _ENLARGED))
        self._surface.fill(PAPER)
        self._texts: list[tuple[str, Point, int, Colour, str]] = []

    def rectangle(
        self, box: Box, fill: Colour | None = None, outline: Colour | None = None, width: float = 1.0
    ) -> None:
        """Draw a rectangle, filled, outlined, or both."""
        # Rounding the edges rather than the size keeps neighbouring boxes flush.
        left, top, right, bottom = (round(edge * _ENLARGED) for edge in (box.x, box.y, box.right, box.bottom))
        area = (left, top, max(right - left, 1), max(bottom - top, 1))
        if fill is not None:
            self._pygame.draw.rect(self._surface, fill, area)
        if outline is not None:
            self._pygame.draw.rect(self._surface, outline, area, round(width * _ENLARGED))

    def circle(
        self,
        centre: Point,
        radius: float,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1.0,
    ) -> None:
        """Draw a disc, filled, outlined, or both."""
        middle = self._enlarged(centre)
        if fill is not None:
            self._pygame.draw.circle(self._surface, fill, middle, radius * _ENLARGED)
        if outline is not None:
            self._pygame.draw.circle(self._surface, outline, middle, radius * _ENLARGED, round(width * _ENLARGED))

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Draw a filled polygon."""
        self._pygame.draw.polygon(self._surface, colour, [self._enlarged(point) for point in points])

    def line(self, start: Point, end: Point, colour: Colour, width: float = 1.0) -> None:
        """Draw a straight line."""
        across, _ = self._directions(start, end)
        if across is None:
            return
        half = (across[0] * width / 2, across[1] * width / 2)
        corners = [(start, 1), (end, 1), (end, -1), (start, -1)]
        self.polygon([(x + sign * half[0], y + sign * half[1]) for (x, y), sign in corners], colour)

    def path(self, points: list[Point], colour: Colour, width: float = 1.0, dash: float | None = None) -> None:
        """Draw straight lines from point to point; with ``dash``, in dashes and gaps of that length."""
        gone = 0.0
        for start, end in pairwise(points):
            if dash is None:
                self.line(start, end, colour, width)
                continue
            length = math.dist(start, end)
            # Dashes run on across the corners; otherwise short pieces would close up to a solid line.
            for number in range(int(gone / dash), int((gone + length) / dash) + 1):
                if number % 2 == 0:
                    ends = (max(number * dash - gone, 0.0), min((number + 1) * dash - gone, length))
                    first, last = (_between(start, end, reach / length) for reach in ends)
                    self.line(first, last, colour, width)
            gone += length

    def arrow(self, start: Point, end: Point, colour: Colour, width: float, head: float) -> None:
        """Draw an arrow with a shaft of ``width`` and a head ``head`` long and wide."""
        across, along = self._directions(start, end)
        if across is None or along is None:
            return
        head = min(head, math.dist(start, end))
        neck = (end[0] - along[0] * head, end[1] - along[1] * head)
        self.line(start, neck, colour, width)
        wings = [(neck[0] + sign * across[0] * head * 0.6, neck[1] + sign * across[1] * head * 0.6) for sign in (1, -1)]
        self.polygon([end, *wings], colour)

    def image(self, colours: Pixels, box: Box) -> None:
        """Fill a box with an image ``[rows, columns, 3]``, every pixel of it a flat rectangle."""
        picture = self._pygame.surfarray.make_surface(colours.swapaxes(0, 1))
        left, top = self._enlarged((box.x, box.y))
        right, bottom = self._enlarged((box.right, box.bottom))
        self._surface.blit(self._pygame.transform.scale(picture, (right - left, bottom - top)), (left, top))

    def text(self, string: str, at: Point, size: int = BODY, colour: Colour = INK, anchor: str = "topleft") -> None:
        """Write one line; ``anchor`` names the point of it that is ``at``, as pygame does (``"midright"``, ...)."""
        self._texts.append((string, at, size, colour, anchor))

    def finish(self) -> pygame.Surface:
        """Return the finished picture."""
        # Fonts die with pygame.quit(), which any other environment in the process may call: keep none between pictures.
        self._pygame.font.init()
        sizes = {size for _, _, size, _, _ in self._texts}
        fonts = {size: self._pygame.font.Font(None, size * _ENLARGED) for size in sizes}
        for string, at, size, colour, anchor in self._texts:
            written = fonts[size].render(string, True, colour)
            self._surface.blit(written, written.get_rect(**{anchor: self._enlarged(at)}))
        return self._pygame.transform.smoothscale(self._surface, (self.width, self.height))  # type: ignore[no-any-return]

    @staticmethod
    def _enlarged(point: Point) -> tuple[int, int]:
        return round(point[0] * _ENLARGED), round(point[1] * _ENLARGED)

    @staticmethod
    def _directions(start: Point, end: Point) -> tuple[Point, Point] | tuple[None, None]:
        """Return unit vectors across and along a line; ``None`` where it has no length."""
        length = math.dist(start, end)
        if length == 0.0:
            return None, None
        along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        return (-along[1], along[0]), along


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
