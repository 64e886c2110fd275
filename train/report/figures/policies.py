"""Pictures of deployed policies: arrows on the grid, posted prices over the season, or the table itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from perf_envs import Dynamics, PerformativeEnv, exact
from perf_envs.worlds.gridworld.env import PerformativeGridWorld
from perf_envs.worlds.gridworld.grids import MOVES
from perf_envs.worlds.linear_pricing.env import LinearPricing
from perf_envs.worlds.pricing.env import PerformativePricing
from train.report.data import WorldResults
from train.report.linear_pricing_figure import CAPTION, draw_prices, legend
from train.report.styles import INK, MUTED, RULE, new_figure
from train.report.words import number
from train.saved_runs import SavedRun
from train.verification import make_world

Table = NDArray[np.float64]

#: Fill of the kinds of cells.
_CELL_COLORS = ("#FFFFFF", "#F0E6CB", "#B7B1C8", "#A5DBC7")
_CELL_NAMES = ("plain", "costs a little", "hazard", "goal")
#: Landing cost from which a cell counts as a hazard.
_HAZARD = 0.1
#: What the agent does is blue, how the world answers is orange, as in the pictures of the environments.
_AGENT_COLOR, _WORLD_COLOR = "#005AA0", "#C85200"
#: Probability of an action below which it is not drawn, and of a state below which it counts as never visited.
_FAINT, _NEVER = 0.05, 1e-9
#: Arrows in units of cells.
_ARROW: Any = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "units": "xy", "width": 0.05}
_ARROW |= {"headwidth": 3.8, "headlength": 3.6, "headaxislength": 3.4}
#: Cells, in all panels, up to which numbers are written into a heat map.
_WRITABLE = 600
#: Panels beyond which they are drawn smaller, and how much.
_FEW, _SHRUNK = 6, 0.82
#: Between the two parts of a panel's title: in narrow panels they stand on two lines.
_BREAK = {False: " ", True: "\n"}


def has_picture(world: WorldResults) -> bool:
    """Whether the policies of a world can be drawn: they are tables, or those of a world that we have a picture of."""
    if world.is_played:
        return False
    return isinstance(_make(world.algorithms[0].median_run), PerformativeEnv | LinearPricing)


def deployed_policies(world: WorldResults) -> tuple[Figure, str]:
    """Draw the policy of every algorithm's median run, and how the world answers it.

    Returns:
        The picture and what it shows, in words.
    """
    env = _make(world.algorithms[0].median_run)
    picture = _picture(env)
    many = len(world.algorithms) > _FEW
    columns = min(len(world.algorithms), 4 if many else 3)
    rows = -(-len(world.algorithms) // columns)
    shrunk = _SHRUNK if many else 1.0
    size = (shrunk * picture.width * columns, shrunk * picture.height * rows + picture.footer + 0.12 * rows * many)
    figure, panels = new_figure(*size, rows, columns)
    image = None
    for axes, results in zip(panels, world.algorithms, strict=False):
        run = results.median_run
        table = run.policy()
        with torch.no_grad():
            dynamics = env.problem.response(env.problem.policies.from_array(table))
        value = number(run.result["performative_value"], world.decimals)
        title = f"{results.label},{_BREAK[many]}seed {run.result['seed']}: J = {value}"
        axes.set_title(title, fontsize=8 if many else 9)
        axes.grid(visible=False)
        image = picture.draw(axes, table, dynamics)
        if many:
            axes.label_outer()
    for axes in panels[len(world.algorithms) :]:
        axes.set_axis_off()
    if picture.scale and image is not None:
        figure.colorbar(image, ax=panels, label=picture.scale, shrink=0.85, fraction=0.04, pad=0.02)
    if picture.handles:
        figure.legend(handles=picture.handles, loc="outside lower center", ncols=len(picture.handles))
    return figure, picture.caption


@dataclass(frozen=True)
class _Picture:
    """How the policies of a world are drawn: a panel's size in inches, what draws it, and what explains it."""

    draw: Callable[[Axes, Table, Any], AxesImage | None]
    caption: str
    width: float
    height: float
    footer: float = 0.1
    scale: str = ""
    handles: tuple[Artist, ...] = ()


def _picture(env: PerformativeEnv | LinearPricing) -> _Picture:
    if isinstance(env, LinearPricing):
        return _Picture(partial(draw_prices, env), CAPTION, 3.3, 2.7, footer=0.3, handles=legend())
    if isinstance(env, PerformativeGridWorld):
        text = (
            "Arrows are the moves of the deployed policy, longer where more probable. Orange dots show how often the "
            "followers override the move there: the larger, the more often."
        )
        height = 3.1 * env.grid.shape[0] / env.grid.shape[1] + 0.25
        return _Picture(partial(_draw_grid, env), text, 3.1, height, footer=0.3, handles=_grid_legend())
    if isinstance(env, PerformativePricing):
        text = (
            "Mean posted price by period and units left, blank where the season cannot be. In the corner, the "
            "willingness to pay w that the policy brings about."
        )
        return _Picture(partial(_draw_prices, env), text, 3.3, 2.7, scale="mean posted price")
    text = "Probability of every action in every state."
    return _Picture(_draw_table, text, 3.1, min(8.0, 1.2 + 0.2 * env.n_states), scale="probability")


def _make(run: SavedRun) -> PerformativeEnv | LinearPricing:
    env: PerformativeEnv | LinearPricing = make_world(run)
    return env


def _draw_grid(env: PerformativeGridWorld, axes: Axes, table: Table, dynamics: Dynamics) -> AxesImage:
    kinds = _cell_kinds(env)
    rows, columns = kinds.shape
    image = axes.imshow(kinds, cmap=ListedColormap(_CELL_COLORS), vmin=0, vmax=len(_CELL_COLORS) - 1)
    axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color=RULE, linewidth=0.6)
    axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color=RULE, linewidth=0.6)
    live = ~env.goals.ravel()
    y, x = np.divmod(np.arange(kinds.size), columns)
    overridden = dynamics.latents["interventions"][:, : len(MOVES)].sum(-1).numpy() * live
    axes.scatter(x + 0.32, y - 0.32, s=48.0 * overridden, color=_WORLD_COLOR, linewidths=0, zorder=2)
    for action, (down, right) in enumerate(MOVES):
        drawn = live & (table[:, action] >= _FAINT)
        length = 0.44 * table[drawn, action]
        axes.quiver(x[drawn], y[drawn], right * length, down * length, color=_AGENT_COLOR, zorder=3, **_ARROW)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    for spine in axes.spines.values():
        spine.set(visible=True, color=MUTED)
    return image


def _cell_kinds(env: PerformativeGridWorld) -> NDArray[np.int64]:
    """Return 0 for the cheapest cells, 1 for those that cost a little more, 2 for hazards, 3 for goals."""
    costs = -env.grid
    kinds = np.where(costs > _HAZARD, 2, np.where(costs > costs[~env.goals].min(), 1, 0))
    return np.where(env.goals, 3, kinds).astype(np.int64)


def _grid_legend() -> tuple[Artist, ...]:
    cells = [Patch(facecolor=c, edgecolor=MUTED, label=n) for c, n in zip(_CELL_COLORS, _CELL_NAMES, strict=True)]
    dot = Line2D([], [], color=_WORLD_COLOR, marker="o", linestyle="", label="followers override")
    arrow = Line2D([], [], color=_AGENT_COLOR, marker=r"$\rightarrow$", markersize=10, linestyle="", label="policy")
    return (*cells, arrow, dot)


def _draw_prices(env: PerformativePricing, axes: Axes, table: Table, dynamics: Dynamics) -> AxesImage:
    visited = exact.occupancy(dynamics, table).numpy()[:-1] > _NEVER
    prices = np.where(visited, table[:-1] @ env.prices, np.nan).reshape(env.horizon, env.inventory).T
    image = axes.imshow(
        prices,
        origin="lower",
        aspect="auto",
        cmap="viridis",
        vmin=env.prices[0],
        vmax=env.prices[-1],
        extent=(-0.5, env.horizon - 0.5, 0.5, env.inventory + 0.5),
    )
    figure = axes.get_figure(root=True)
    if figure is not None and prices.size * len(figure.axes) <= _WRITABLE:
        for (unit, period), price in np.ndenumerate(prices):
            if not np.isnan(price):
                bright = price > (env.prices[0] + env.prices[-1]) / 2
                ink = INK if bright else "white"
                axes.text(period, unit + 1, f"{price:.1f}", ha="center", va="center", fontsize=6.5, color=ink)
    axes.text(0.02, 0.04, f"w = {float(dynamics.latents['willingness']):.2f}", transform=axes.transAxes, fontsize=9)
    axes.set(xlabel="period", ylabel="units left", facecolor="#F2F2F2")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return image


def _draw_table(axes: Axes, table: Table, dynamics: Dynamics) -> AxesImage:
    image = axes.imshow(table, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    axes.set(xlabel="action", ylabel="state")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return image
