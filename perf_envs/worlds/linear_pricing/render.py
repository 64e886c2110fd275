"""The linear market: this season, what a price earns now and once it is learnt, and the answer of demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.rendering.canvas import AGENT, GOAL, INK, MUTED, SMALL, WORLD, Box, Canvas, Colour, Point, blend
from perf_envs.rendering.charts import Axes, RoundHistory, header, heading, label_step, number, ticks
from perf_envs.rendering.renderer import Renderer

if TYPE_CHECKING:
    from perf_envs.worlds.linear_pricing.env import LinearPricing

Floats = NDArray[np.float64]

_DASH, _DOTS = 6.0, 2.0
#: Darker than a goal's area, so that a thin line stands out on paper.
_OPTIMUM: Colour = blend(GOAL, INK, 0.35)
#: Points of a curve.
_CURVE = 121


class _Sale(NamedTuple):
    """What happened in one period: price and demand of the product shown, and the revenue of all."""

    price: float
    demand: float
    revenue: float


class LinearPricingRenderer(Renderer["LinearPricing"]):
    """Draws a :class:`perf_envs.worlds.linear_pricing.env.LinearPricing`.

    Pictures show the first product, text all of them. The environment knows its present period only, so the season is
    what was drawn of it: periods in which nothing was drawn stay empty.
    """

    title = "Linear pricing"

    def __init__(self, env: LinearPricing) -> None:
        super().__init__(env)
        self._history = RoundHistory(float(env.rounds.problem.base_demand[0]))
        self._season: dict[int, _Sale] = {}

    # -- what there is to see -------------------------------------------------------------------------------------

    def observe(self) -> None:
        """Take down the demand of this round and the sales of this period."""
        self._history.note(self.env.round, float(self.env.rounds.dynamics.demand[0]))
        last = self.last
        if not last:
            self._season = {}
        elif last["state"] < self.env.horizon:
            now = _Sale(float(last["price"][0]), float(last["demand"][0]), float(last["reward"]))
            before = {index: sale for index, sale in self._season.items() if index < last["state"]}
            # Whatever does not fit before this sale is from an earlier season, and then so is everything.
            same_season = len(before) == len(self._season) or self._season == before | {last["state"]: now}
            self._season = {**(before if same_season else {}), last["state"]: now}

    def _progress(self) -> str:
        env = self.env
        return f"period {env.state + 1} of {env.horizon}" if env.state < env.horizon else "season over"

    def _last_sale(self) -> str:
        if not self.last:
            return "start of a season"
        prices = ", ".join(number(price) for price in self.last["price"])
        demand = ", ".join(number(amount) for amount in self.last["demand"])
        return f"asked {_short(prices)}, demand {_short(demand)}, revenue {number(self.last['reward'])}"

    def _takings(self) -> str:
        takings = sum(sale.revenue for sale in self._season.values())
        missed = min(self.env.state, self.env.horizon) - len(self._season)
        return f"takings {number(takings)}" + (f" without {missed} periods not drawn" if missed > 0 else "")

    def _product(self) -> str:
        return f", product 1 of {self.env.n_products}" if self.env.n_products > 1 else ""

    # -- text -----------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """Return the season and, by product, the market."""
        env, problem = self.env, self.env.rounds.problem
        table = {
            "product": np.arange(1, env.n_products + 1),
            "mean price": env.rounds.mean_price,
            "demand now": env.rounds.dynamics.demand.numpy(),
            "round 0": problem.base_demand.numpy(),
            "optimal price": problem.optimal_price.numpy(),
            "stable price": problem.stable_price.numpy(),
        }
        widths = [max(len(head), 8) for head in table]
        rows = [
            "  ".join(
                (str(int(value)) if head == "product" else number(value)).rjust(width)
                for (head, value), width in zip(zip(table, row, strict=True), widths, strict=True)
            )
            for row in zip(*table.values(), strict=True)
        ]
        words = [number(self._season[period].price) if period in self._season else "-" for period in range(env.horizon)]
        value = problem.value_of_price(torch.from_numpy(env.rounds.mean_price))
        return "\n".join(
            [
                f"{self.title}, round {env.round}: {self._progress()}; {self._last_sale()}",
                f"{self._takings()}; price asked in each period{self._product()}:",
                "  " + " ".join(words),
                f"a season at the mean price customers believe in earns {number(value)} once they have learnt it; "
                f"optimum {number(problem.optimal_value)}, stable {number(problem.stable_value)}",
                "",
                "  ".join(head.rjust(width) for head, width in zip(table, widths, strict=True)),
                *rows,
            ]
        )

    # -- picture --------------------------------------------------------------------------------------------------

    def draw(self) -> Canvas:
        """Return season and revenue above, demand by price and by round below."""
        canvas = Canvas(1000, 720)
        note = f"{self._progress()}: {self._last_sale()}"
        header(canvas, f"{self.title}: round {self.env.round}", note, AGENT if self.last else MUTED)
        self._draw_season(canvas, Box(64, 136, 420, 208))
        self._draw_revenue(canvas, Box(568, 136, 408, 208))
        self._draw_demand(canvas, Box(64, 462, 420, 208))
        self._draw_rounds(canvas, Box(568, 462, 408, 208))
        return canvas

    @property
    def _prices(self) -> tuple[float, float]:
        return self.env.rounds.problem.price_low, self.env.rounds.problem.price_high

    def _draw_season(self, canvas: Canvas, box: Box) -> None:
        env = self.env
        heading(canvas, (24, box.y - 48), "This season", f"price asked{self._product()}; {self._takings()}")
        low, high = self._prices
        axes = Axes(canvas, box, (0.5, env.horizon + 0.5), (low, high))
        axes.frame(range(1, env.horizon + 1, label_step(env.horizon, box.width, 26)), ticks(low, high, 6), "period")
        width = box.width / env.horizon
        for period, sale in self._season.items():
            middle, top = axes.at(period + 1, sale.price)
            bar = Box(middle - 0.36 * width, top, 0.72 * width, box.bottom - top)
            canvas.rectangle(bar, AGENT, AGENT)
        axes.level(float(env.rounds.problem.optimal_price[0]), _OPTIMUM, 2.5)
        axes.level(float(env.rounds.problem.stable_price[0]), MUTED, dash=_DASH)
        axes.level(float(env.rounds.mean_price[0]), WORLD)
        _legend(
            canvas,
            (box.x, box.bottom + 27),
            [("believed mean", WORLD, None), ("optimal", _OPTIMUM, None), ("stable", MUTED, _DASH)],
        )

    def _draw_revenue(self, canvas: Canvas, box: Box) -> None:
        """Draw the picture that this world is about: a line that rises, and the parabola it is the mirage of."""
        problem = self.env.rounds.problem
        heading(canvas, (box.x - 40, box.y - 48), "What a price earns", f"per period, by mean price{self._product()}")
        low, high = self._prices
        prices = np.linspace(low, high, _CURVE)
        believed = float(self.env.rounds.mean_price[0])
        base, shift = float(problem.base_demand[0]), float(problem.shift[0])
        learnt, now = prices * (base - shift * prices), prices * float(self.env.rounds.dynamics.demand[0])
        bottom, top = min(learnt.min(), now.min(), 0.0), max(learnt.max(), now.max())
        axes = Axes(canvas, box, (low, high), (bottom, bottom + 1.05 * (top - bottom)))
        axes.frame(ticks(low, high, 8), ticks(bottom, top, 6), "price")
        axes.line(prices, now, WORLD, 2.5)
        axes.line(prices, learnt, INK, 2.5)
        for price, colour, dash in (
            (float(problem.optimal_price[0]), _OPTIMUM, None),
            (float(problem.stable_price[0]), MUTED, _DASH),
        ):
            axes.line((price, price), (bottom, price * (base - shift * price)), colour, 2.5, dash)
        canvas.circle(axes.at(believed, believed * (base - shift * believed)), 6, WORLD, INK, 1.5)
        _legend(
            canvas,
            (box.x, box.bottom + 27),
            [("as the market stands", WORLD, None), ("once it is learnt", INK, None)],
        )

    def _draw_demand(self, canvas: Canvas, box: Box) -> None:
        problem, demand = self.env.rounds.problem, float(self.env.rounds.dynamics.demand[0])
        base, shift = float(problem.base_demand[0]), float(problem.shift[0])
        note = f"mean demand in the long run{self._product()}; now {number(demand)}"
        heading(canvas, (24, box.y - 48), "Demand by mean deployed price", note)
        low, high = self._prices
        ends = np.array([base - shift * low, base - shift * high])
        levels = [*ends, demand, base, *(float(self.last["demand"][0]) for _ in range(bool(self.last)))]
        margin = 0.05 * max(max(levels) - min(levels), 0.1)
        bottom, top = min(levels) - margin, max(levels) + margin
        axes = Axes(canvas, box, (low, high), (bottom, top))
        axes.frame(ticks(low, high, 8), ticks(bottom, top, 6), "mean deployed price")
        axes.level(base, MUTED, dash=_DASH)
        axes.line((low, high), ends, INK, 2.5)
        canvas.circle(axes.at(float(self.env.rounds.mean_price[0]), demand), 6, WORLD, INK, 1.5)
        if self.last:
            canvas.circle(axes.at(float(self.last["price"][0]), float(self.last["demand"][0])), 7, None, AGENT, 2.5)
        at = (box.x, box.bottom + 27)
        x = _legend(canvas, at, [("answer", INK, None), ("round 0", MUTED, _DASH)])
        canvas.circle((x + 6, at[1]), 5, WORLD, INK, 1.5)
        canvas.text("in force", (x + 17, at[1]), SMALL, MUTED, "midleft")
        canvas.circle((x + 82, at[1]), 5, None, AGENT, 2)
        canvas.text("last sale", (x + 93, at[1]), SMALL, MUTED, "midleft")

    def _draw_rounds(self, canvas: Canvas, box: Box) -> None:
        change = self._history.change()
        note = number(float(self.env.rounds.dynamics.demand[0])) + (f" ({change})" if change else "") + self._product()
        heading(canvas, (box.x - 40, box.y - 48), "Mean demand by round", note)
        values = np.append(self._history.values, 0.0)
        margin = max(0.1 * float(np.ptp(values)), 0.1)
        axes = self._history.draw(canvas, box, WORLD, float(values.min()) - margin, float(values.max()) + margin)
        axes.level(float(self.env.rounds.problem.base_demand[0]), MUTED, 2, _DASH)


def _legend(canvas: Canvas, at: Point, lines: list[tuple[str, Colour, float | None]]) -> float:
    """Name lines side by side and return where the next name may stand."""
    x, y = at
    for name, colour, dash in lines:
        canvas.path([(x, y), (x + 22, y)], colour, 2, dash)
        canvas.text(name, (x + 27, y), SMALL, MUTED, "midleft")
        x += 44 + 6.2 * len(name)
    return x


def _short(words: str, limit: int = 40) -> str:
    return words if len(words) <= limit else words[: limit - 4].rsplit(",", 1)[0] + ", ..."
