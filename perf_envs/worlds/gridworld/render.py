"""The gridworld: cells, the agent and its policy, and where the followers intervene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perf_envs.rendering.canvas import (
    AGENT,
    BODY,
    GOAL,
    INK,
    MARKER,
    MUTED,
    RULE,
    SMALL,
    TITLE,
    WORLD,
    Box,
    Canvas,
    Colour,
    Pixels,
    Point,
    blend,
    ramp,
)
from perf_envs.rendering.charts import RoundHistory, bound, header, heading, number
from perf_envs.rendering.renderer import Renderer
from perf_envs.worlds.gridworld.grids import CELLS, MOVES

if TYPE_CHECKING:
    from perf_envs.worlds.gridworld.env import PerformativeGridWorld

_MOVE_NAMES = ("left", "right", "up", "down")
_MOVE_SIGNS = "<>^v"
_CELL_NAMES = {".": "plain", "F": "F", "H": "hazard", "G": "goal"}
_CELL_RAMP = ((252, 251, 247), (232, 222, 196), (186, 180, 200))

_MARGIN, _HEADER, _PANEL = 24, 84, 250
_LARGEST_CELL, _GRID_WIDTH, _GRID_HEIGHT = 120, 720, 620
#: How much of a small cell's colour a certain intervention replaces; the rest still tells what the cell pays.
_TINT = 0.65
#: Cells at least this large show arrows; at least this large show numbers and letters too.
_ARROWS_FROM, _TEXT_FROM = 16, 44


class GridWorldRenderer(Renderer["PerformativeGridWorld"]):
    """Draws a :class:`perf_envs.worlds.gridworld.env.PerformativeGridWorld`."""

    title = "Performative gridworld"

    def __init__(self, env: PerformativeGridWorld) -> None:
        super().__init__(env)
        self._shape: tuple[int, int] = env.grid.shape
        self._characters = cell_characters(env.grid)
        self._live = ~env.goals
        self._history = RoundHistory(self._mean(env.rounds._unshifted.latents["interventions"].numpy()))

    # -- what there is to see -------------------------------------------------------------------------------------

    @property
    def _interventions(self) -> NDArray[np.float64]:
        """Probability that the followers make each move, ``[S, 4]``."""
        return np.asarray(self.env.rounds.dynamics.latents["interventions"][:, :4])

    def _mean(self, interventions: NDArray[np.float64]) -> float:
        return float(interventions[self._live.ravel(), :4].sum(-1).mean())

    def observe(self) -> None:
        """Take down the mean intervention probability of this round."""
        self._history.note(self.env.round, self._mean(self._interventions))

    def _last_step(self) -> str:
        if not self.last:
            return "start of an episode"
        return f"{self._last_move()}: reward {number(self.last['reward'], '+.3g')}"

    def _last_move(self) -> str:
        step = np.subtract(*(np.unravel_index(s, self._shape) for s in (self.env.state, self.last["state"])))
        moved = next((name for name, move in zip(_MOVE_NAMES, MOVES, strict=True) if (step == move).all()), None)
        chosen = _MOVE_NAMES[self.last["action"]]
        if self.last["intervention"]:
            return f"agent chose {chosen}, a follower " + (f"moved it {moved}" if moved else "pushed it into a wall")
        return f"agent moved {moved}" if moved else f"agent chose {chosen}, into a wall"

    def _summary(self) -> str:
        change = self._history.change()
        words = f"mean intervention probability {number(self._history.values[-1])}"
        return f"{words} ({change})" if change else words

    # -- text -----------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """Return maps of cells, policy and interventions, one character per cell."""
        row, column = np.unravel_index(self.env.state, self._shape)
        cells = self._characters.copy()
        here, cells[row, column] = cells[row, column], "@"
        maps = [cells, *(self._on_live_cells(signs) for signs in (self._policy_signs(), self._intervention_tenths()))]
        blocks = [[name, *(" ".join(line) for line in chars)] for name, chars in zip(_MAPS, maps, strict=True)]
        if self._shape[1] > 20:  # too wide for side by side
            body = "\n\n".join("\n".join(block) for block in blocks)
        else:
            width = max(2 * self._shape[1], 16)
            body = "\n".join("".join(part.ljust(width) for part in line).rstrip() for line in zip(*blocks, strict=True))
        legend = ", ".join(" ".join(dict.fromkeys(kind)) for kind in self._legend())
        return "\n".join(
            [
                f"{self.title}, round {self.env.round}: {self._last_step()}",
                self._summary(),
                "",
                body,
                "",
                f"@ agent, at row {row}, column {column}, on {here}; {legend}",
                "policy: most probable move, + where several are; interventions: tenths of the moves overridden",
            ]
        )

    def _on_live_cells(self, signs: NDArray[np.str_]) -> NDArray[np.str_]:
        return np.where(self._live, signs.reshape(self._shape), self._characters)

    def _policy_signs(self) -> NDArray[np.str_]:
        policy = self.env.rounds.policy.probs
        best = policy >= policy.max(-1, keepdims=True) - 1e-9
        return np.asarray(np.where(best.sum(-1) == 1, np.array(list(_MOVE_SIGNS))[best.argmax(-1)], "+"))

    def _intervention_tenths(self) -> NDArray[np.str_]:
        tenths = np.minimum((10.0 * self._interventions.sum(-1) + 1e-9).astype(int), 9)
        return np.asarray(tenths.astype(str))

    def _legend(self) -> list[tuple[str, str, str]]:
        """Return character, name and reward of every kind of cell, the best paying first; a few of many."""
        rewards = np.unique(self.env.grid)[::-1]
        if len(rewards) > 6:
            rewards = rewards[np.linspace(0, len(rewards) - 1, 6).round().astype(int)]
        kinds = [(self._characters[self.env.grid == reward][0], number(reward, "+.3g")) for reward in rewards]
        return [(char, _CELL_NAMES.get(char, "cell"), reward) for char, reward in kinds]

    # -- picture --------------------------------------------------------------------------------------------------

    def draw(self) -> Canvas:
        """Return the grid with its header and legend."""
        rows, columns = self._shape
        size = max(min(_LARGEST_CELL, _GRID_WIDTH // columns, _GRID_HEIGHT // rows), 1)
        width, height = max(size * columns, 340), max(size * rows, 500)
        canvas = Canvas(width + _PANEL + 3 * _MARGIN, height + _HEADER + _MARGIN)
        grid = Box(_MARGIN + (width - size * columns) // 2, _HEADER, size * columns, size * rows)
        self._draw_header(canvas)
        self._draw_cells(canvas, grid, size)
        if size >= _ARROWS_FROM:
            self._draw_arrows(canvas, grid, size)
        self._draw_agent(canvas, grid, size)
        self._draw_panel(canvas, Box(width + 2 * _MARGIN, _HEADER, _PANEL, height), size)
        return canvas

    def _draw_header(self, canvas: Canvas) -> None:
        colour = WORLD if self.last.get("intervention") else AGENT
        header(canvas, f"{self.title}: round {self.env.round}", self._last_step(), colour if self.last else MUTED)

    def _cell_colours(self) -> Pixels:
        """Return a colour per cell ``[rows, columns, 3]`` by what landing there pays."""
        grid, live = self.env.grid, self._live
        values, rank = np.unique(-grid, return_inverse=True)
        rank = rank.reshape(self._shape) - len(np.unique(grid[~live]))
        span = len(values) - len(np.unique(grid[~live])) - 1
        colours = ramp(rank / max(span, 1), _CELL_RAMP)
        colours[~live] = GOAL
        return colours

    def _draw_cells(self, canvas: Canvas, grid: Box, size: int) -> None:
        colours = self._cell_colours()
        share = self._interventions.sum(-1).reshape(self._shape)
        if size < _ARROWS_FROM:  # no room for arrows: a tint stands for them
            weight = _TINT * np.where(self._live, share, 0.0)[..., None]
            colours = ((1.0 - weight) * colours + weight * np.array(WORLD)).astype(np.uint8)
        canvas.image(colours, grid)
        if size >= 8:
            for row, column in np.ndindex(self._shape):
                canvas.rectangle(grid.cell(row, column, self._shape), outline=RULE, width=0.5)
        if size < _TEXT_FROM:
            return
        for row, column in np.ndindex(self._shape):
            cell, char = grid.cell(row, column, self._shape), str(self._characters[row, column])
            if char != ".":
                canvas.text(char, (cell.x + 6, cell.y + 5), BODY, MUTED)
            if self._live[row, column] and share[row, column] >= 0.005:
                canvas.text(f"{100 * share[row, column]:.0f}", (cell.right - 5, cell.y + 5), SMALL, WORLD, "topright")

    def _draw_arrows(self, canvas: Canvas, grid: Box, size: int) -> None:
        for state in np.flatnonzero(self._live):
            row, column = divmod(int(state), self._shape[1])
            centre = grid.cell(row, column, self._shape).centre
            for move in range(4):
                draw_policy_arrow(canvas, centre, size, move, self.env.rounds.policy.probs[state, move])
                draw_push(canvas, centre, size, move, self._interventions[state, move])

    def _draw_agent(self, canvas: Canvas, grid: Box, size: int) -> None:
        row, column = divmod(self.env.state, self._shape[1])
        centre = grid.cell(row, column, self._shape).centre
        colour = WORLD if self.last.get("intervention") else AGENT
        radius = max(0.15 * size, 5.0)
        if self.last and self.last["state"] != self.env.state:
            row, column = divmod(self.last["state"], self._shape[1])
            start = grid.cell(row, column, self._shape).centre
            canvas.circle(start, radius * 0.6, MARKER, colour, 1.5)
            canvas.line(start, centre, colour, max(0.05 * size, 2.0))
        canvas.circle(centre, radius, MARKER, colour if self.last else INK, max(0.04 * size, 1.5))

    def _draw_panel(self, canvas: Canvas, box: Box, size: int) -> None:
        y = box.y
        for char, name, reward in self._legend():
            swatch = Box(box.x, y, 20, 20)
            canvas.image(self._cell_colours()[self._characters == char][:1, None], swatch)
            canvas.rectangle(swatch, outline=RULE)
            canvas.text("" if char == "." else char, swatch.centre, BODY, MUTED, "center")
            canvas.text(f"{name}: pays {reward}", (box.x + 30, y + 4))
            y += 25
        y += 8
        canvas.circle((box.x + 10, y + 10), 8, MARKER, INK, 2)
        canvas.text("agent, and where it came from", (box.x + 30, y + 4))
        y = self._draw_arrow_legend(canvas, box.x, y + 30, size)
        heading(canvas, (box.x, y + 20), "Mean intervention probability")
        value = number(self._history.values[-1])
        canvas.text(value, (box.x, y + 42), TITLE, WORLD)
        canvas.text(self._history.change(), (box.x + 56, y + 49), BODY, MUTED)
        self._history.draw(canvas, Box(box.x + 34, y + 80, box.width - 44, 96), WORLD, 0.0, bound(self._history.values))

    @staticmethod
    def _draw_arrow_legend(canvas: Canvas, x: float, y: float, size: int) -> float:
        if size < _ARROWS_FROM:
            canvas.rectangle(Box(x, y, 20, 20), blend((252, 251, 247), WORLD, _TINT))
            canvas.text("followers intervene (the more,", (x + 30, y))
            canvas.text("the more orange)", (x + 30, y + 17))
            return y + 36
        draw_policy_arrow(canvas, (x - 9, y + 16), 72, 1, 0.8)
        canvas.text("policy the world believes in:", (x + 30, y))
        canvas.text("the longer, the likelier", (x + 30, y + 17))
        y += 42
        draw_push(canvas, (x - 22, y + 16), 72, 1, 0.8)
        canvas.text("followers override the move:", (x + 30, y))
        canvas.text("the larger, the likelier", (x + 30, y + 17))
        y += 40
        if size >= _TEXT_FROM:
            canvas.text("37", (x + 10, y), BODY, WORLD, "midtop")
            canvas.text("% of the moves overridden", (x + 30, y))
            y += 20
        return y


_MAPS = ("cells", "policy", "interventions")


def draw_policy_arrow(canvas: Canvas, centre: Point, size: float, move: int, probability: float) -> None:
    """Draw one move of the policy: an arrow that starts beside the centre of the cell, where the agent stands."""
    if probability < 0.02:
        return
    row, column = MOVES[move]
    start, end = 0.16 * size, (0.16 + 0.06 + 0.14 * probability) * size
    colour: Colour = blend((190, 208, 226), AGENT, min(1.0, 0.25 + probability))
    ends = [(centre[0] + column * reach, centre[1] + row * reach) for reach in (start, end)]
    canvas.arrow(ends[0], ends[1], colour, max(0.03 * size, 1.2), (0.05 + 0.07 * probability) * size)


def draw_push(canvas: Canvas, centre: Point, size: float, move: int, probability: float) -> None:
    """Draw the followers' share of a move: a wedge at the edge of the cell, its area in proportion."""
    if probability < 0.005:
        return
    row, column = MOVES[move]
    depth, half = 0.13 * size * probability**0.5, 0.26 * size * probability**0.5
    edge = 0.48 * size
    tip = (centre[0] + column * edge, centre[1] + row * edge)
    back = (tip[0] - column * depth, tip[1] - row * depth)
    corners = [(back[0] + sign * row * half, back[1] + sign * column * half) for sign in (1, -1)]
    canvas.polygon([tip, *corners], WORLD)


def cell_characters(grid: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return a character per cell ``[rows, columns]``.

    The published ones where they fit; else ``G`` for goals and ``a``, ``b``, … from the best paying cell to the worst.
    """
    known = {reward: char for char, reward in CELLS.items()}
    others = [value for value in np.unique(grid)[::-1] if value <= 0.0 and value not in known]
    letters = {value: chr(ord("a") + min(index * 26 // len(others), index)) for index, value in enumerate(others)}
    names = {value: "G" if value > 0.0 else known.get(value) or letters[value] for value in np.unique(grid)}
    return np.array([[names[value] for value in row] for row in grid])
