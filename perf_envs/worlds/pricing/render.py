"""The selling season: prices posted, the market's demand, and the policy customers have learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from perf_envs.rendering.canvas import (
    AGENT,
    AGENT_RAMP,
    INK,
    MARKER,
    MUTED,
    PAPER,
    RULE,
    SMALL,
    WORLD,
    Box,
    Canvas,
    Colour,
    Point,
    ramp,
)
from perf_envs.rendering.charts import (
    Axes,
    RoundHistory,
    header,
    heading,
    heat_map,
    label_step,
    mark_cell,
    number,
    ticks,
)
from perf_envs.rendering.renderer import Renderer

if TYPE_CHECKING:
    from perf_envs.worlds.pricing.env import PerformativePricing
    from perf_envs.worlds.pricing.response import CustomerResponse

_UNREACHABLE: Colour = (232, 232, 234)
_DASH, _DOTS = 6.0, 2.0


class _Sale(NamedTuple):
    """What happened in one period."""

    units: int
    price: float
    sale: bool


class PricingRenderer(Renderer["PerformativePricing"]):
    """Draws a :class:`perf_envs.worlds.pricing.env.PerformativePricing`.

    The environment knows its present state only, so the season is what was drawn of it: periods in which nothing was
    drawn stay empty.
    """

    title = "Performative pricing"

    def __init__(self, env: PerformativePricing) -> None:
        super().__init__(env)
        self._base_willingness = float(env.rounds._unshifted.latents["willingness"])
        self._history = RoundHistory(self._base_willingness)
        self._season: dict[int, _Sale] = {}

    # -- what there is to see -------------------------------------------------------------------------------------

    def observe(self) -> None:
        """Take down the willingness of this round and the sale of this period."""
        self._history.note(self.env.round, self._willingness)
        env, last = self.env, self.last
        if not last:
            self._season = {}
        elif last["state"] < env.n_states - 1:
            period, units = self._place(last["state"])
            now = _Sale(units, float(last["price"]), bool(last["sale"]))
            before = {index: sale for index, sale in self._season.items() if index < period and sale.units >= units}
            # Whatever does not fit before this sale is from an earlier season, and then so is everything.
            same_season = len(before) == len(self._season) or self._season == before | {period: now}
            self._season = {**(before if same_season else {}), period: now}

    @property
    def _willingness(self) -> float:
        return float(self.env.rounds.dynamics.latents["willingness"])

    @property
    def _reference_price(self) -> float:
        return cast("CustomerResponse", self.env.rounds.problem.response_map).reference_price

    @property
    def _demand(self) -> NDArray[np.float64]:
        """Probability of a sale at each price, now and in the unshifted market, ``[2, A]``."""
        markets = (self.env.rounds.dynamics, self.env.rounds._unshifted)
        return np.stack([market.probs[0, :, 0].numpy() for market in markets])

    def _place(self, state: int) -> tuple[int, int]:
        """Return the period and the units left in a state."""
        period, units = divmod(state, self.env.inventory)
        return period, units + 1

    def _now(self) -> tuple[int, int] | None:
        """Return the present period and the units left; ``None`` when the season is over."""
        return self._place(self.env.state) if self.env.state < self.env.n_states - 1 else None

    def _units_left(self) -> int:
        now = self._now()
        if now is not None:
            return now[1]
        if not self.last or self.last["state"] == self.env.n_states - 1:
            return 0
        return self._place(self.last["state"])[1] - int(self.last["sale"])

    def _progress(self) -> str:
        now = self._now()
        when = f"period {now[0] + 1} of {self.env.horizon}" if now else "season over"
        return f"{when}, {self._units_left()} of {self.env.inventory} units left"

    def _last_sale(self) -> str:
        if not self.last:
            return "start of a season"
        price = number(self.last["price"])
        return f"sold one unit at {price}" if self.last["sale"] else f"nobody bought at {price}"

    def _takings(self) -> str:
        takings = sum(sale.price for sale in self._season.values() if sale.sale)
        now = self._now()
        missed = (now[0] if now else max(self._season, default=-1) + 1) - len(self._season)
        return f"takings {number(takings)}" + (f" without {missed} periods not drawn" if missed else "")

    def _mean_prices(self) -> NDArray[np.float64]:
        """Return the policy's mean price ``[inventory, horizon]``, most units on top."""
        mean = self.env.rounds.policy.probs[:-1] @ self.env.prices
        return np.asarray(mean.reshape(self.env.horizon, self.env.inventory).T[::-1])

    def _reachable(self) -> NDArray[np.bool_]:
        """Return which of these states a season can come to: at most one unit is sold in a period."""
        units = np.arange(self.env.inventory, 0, -1)[:, None]
        return np.asarray(units >= self.env.inventory - np.arange(self.env.horizon))

    # -- text -----------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """Return season, market and policy as tables."""
        env = self.env
        change = self._history.change()
        return "\n".join(
            [
                f"{self.title}, round {env.round}: {self._progress()}; {self._last_sale()}",
                f"willingness to pay {number(self._willingness)}"
                + (f" ({change})" if change else "")
                + f", unshifted {number(self._base_willingness)}; reference price {number(self._reference_price)}",
                f"{self._takings()}; price posted in each period (* sold):",
                "  " + " ".join(self._season_words()),
                "",
                "price           " + " ".join(f"{price:5.2f}" for price in env.prices),
                *(
                    f"Pr(sale) {name:<7}" + " ".join(f"{probability:5.2f}" for probability in row)
                    for name, row in zip(("now", "round 0"), self._demand, strict=True)
                ),
                "",
                "mean price of the deployed policy by units left (rows) and period (columns), agent in []",
                *self._policy_lines(),
            ]
        )

    def _season_words(self) -> list[str]:
        sales = (self._season.get(period) for period in range(self.env.horizon))
        return [f"{sale.price:.2f}{'*' if sale.sale else ''}" if sale else "-" for sale in sales]

    def _policy_lines(self) -> list[str]:
        env, now, mean, reachable = self.env, self._now(), self._mean_prices(), self._reachable()
        lines = ["units  " + "".join(f"{period + 1:>5} " for period in range(env.horizon))]
        for row in range(env.inventory):
            units = env.inventory - row
            cells = [
                f"{mean[row, period]:5.2f}" if reachable[row, period] else "    ." for period in range(env.horizon)
            ]
            if now is not None and now[1] == units:
                cells[now[0]] = f"[{cells[now[0]].strip()}"
            line = "".join(cell + ("]" if cell.startswith("[") else " ") for cell in cells)
            lines.append(f"{units:>5}  {line}".rstrip())
        return lines

    # -- picture --------------------------------------------------------------------------------------------------

    def draw(self) -> Canvas:
        """Return season and demand above, policy and willingness below."""
        canvas = Canvas(1000, 720)
        note = f"{self._progress()}: {self._last_sale()}"
        header(canvas, f"{self.title}: round {self.env.round}", note, AGENT if self.last else MUTED)
        self._draw_season(canvas, Box(64, 136, 520, 208))
        self._draw_demand(canvas, Box(668, 136, 308, 208))
        self._draw_policy(canvas, Box(64, 462, 520, 208))
        self._draw_willingness(canvas, Box(668, 462, 308, 208))
        return canvas

    def _price_range(self) -> tuple[float, float]:
        levels = (self._willingness, self._base_willingness, self._reference_price)
        return min(0.0, *levels) - 0.02, 1.08 * max(*self.env.prices, *levels)

    def _draw_season(self, canvas: Canvas, box: Box) -> None:
        env = self.env
        heading(canvas, (24, box.y - 48), "This season", f"{self._takings()}")
        self._draw_stock(canvas, Box(box.right - 220, box.y - 44, 220, 12))
        axes = Axes(canvas, box, (0.5, env.horizon + 0.5), self._price_range())
        step = label_step(env.horizon, box.width, 26)
        axes.frame(range(1, env.horizon + 1, step), ticks(*self._price_range(), 5), "period")
        width = box.width / env.horizon
        for period, sale in self._season.items():
            middle, top = axes.at(period + 1, sale.price)
            _, bottom = axes.at(period + 1, 0.0)
            bar = Box(middle - 0.36 * width, top, 0.72 * width, bottom - top)
            canvas.rectangle(bar, AGENT if sale.sale else PAPER, AGENT, min(2.0, 0.2 * width))
        now = self._now()
        if now is not None:
            draw_pointer(canvas, axes.at(now[0] + 1, 0.0))
        axes.level(self._base_willingness, MUTED, dash=_DASH)
        axes.level(self._reference_price, INK, dash=_DOTS)
        axes.level(self._willingness, WORLD)
        self._draw_season_legend(canvas, box)

    def _draw_season_legend(self, canvas: Canvas, box: Box) -> None:
        x, y = box.x, box.bottom + 27
        for name, fill in (("sold", AGENT), ("not sold", PAPER)):
            canvas.rectangle(Box(x, y - 5, 10, 10), fill, AGENT, 1.5)
            canvas.text(name, (x + 15, y), SMALL, MUTED, "midleft")
            x += 46 if fill == AGENT else 68
        lines: tuple[tuple[str, Colour, float | None, int], ...] = (
            ("willingness now", WORLD, None, 128),
            ("unshifted", MUTED, _DASH, 88),
            ("reference price", INK, _DOTS, 0),
        )
        for name, colour, dash, room in lines:
            canvas.path([(x, y), (x + 22, y)], colour, 2, dash)
            canvas.text(name, (x + 27, y), SMALL, MUTED, "midleft")
            x += room

    def _draw_stock(self, canvas: Canvas, box: Box) -> None:
        left, inventory = self._units_left(), self.env.inventory
        canvas.text(f"stock: {left} of {inventory}", (box.right, box.bottom + 6), SMALL, MUTED, "topright")
        canvas.rectangle(box, PAPER, RULE)
        canvas.rectangle(Box(box.x, box.y, box.width * left / inventory, box.height), AGENT if left else None)
        if inventory <= 40:
            for unit in range(1, inventory):
                x = box.x + box.width * unit / inventory
                canvas.line((x, box.y), (x, box.bottom), PAPER if unit < left else RULE, 2)

    def _draw_demand(self, canvas: Canvas, box: Box) -> None:
        heading(canvas, (box.x - 40, box.y - 48), "Demand", "probability of a sale at each posted price")
        prices, (now, unshifted) = self.env.prices, self._demand
        margin = 0.04 * (prices[-1] - prices[0])
        axes = Axes(canvas, box, (prices[0] - margin, prices[-1] + margin), (0.0, max(1.02 * self._demand.max(), 1e-3)))
        axes.frame(ticks(prices[0], prices[-1], 7), ticks(0.0, max(self._demand.max(), 1e-3), 5), "price")
        axes.line(prices, unshifted, MUTED, 2, _DASH)
        axes.line(prices, now, WORLD, 2.5)
        if len(prices) <= 30:
            axes.dots(prices, now, WORLD, 3.5)
        if self.last:
            canvas.circle(axes.at(self.last["price"], now[self.last["action"]]), 7, None, AGENT, 2.5)
        self._draw_demand_legend(canvas, (box.x - 6, box.bottom + 27))

    @staticmethod
    def _draw_demand_legend(canvas: Canvas, at: Point) -> None:
        x, y = at
        canvas.path([(x, y), (x + 22, y)], WORLD, 2)
        canvas.text("now", (x + 27, y), SMALL, MUTED, "midleft")
        canvas.path([(x + 60, y), (x + 82, y)], MUTED, 2, _DASH)
        canvas.text("unshifted", (x + 87, y), SMALL, MUTED, "midleft")
        canvas.circle((x + 158, y), 5, None, AGENT, 2)
        canvas.text("price just posted", (x + 168, y), SMALL, MUTED, "midleft")

    def _draw_policy(self, canvas: Canvas, box: Box) -> None:
        env, mean, now = self.env, self._mean_prices(), self._now()
        heading(canvas, (24, box.y - 48), "Policy the customers believe in", "mean price by units left and period")
        low, high = env.prices[0], env.prices[-1]
        colours = ramp((mean - low) / (high - low), AGENT_RAMP)
        reachable = self._reachable()
        colours[~reachable] = _UNREACHABLE
        units = range(env.inventory, 0, -1)
        periods = range(1, env.horizon + 1)
        # Digits are dropped before cells get crowded.
        form = "z.2f" if box.width / env.horizon >= 34 else "z.1f"

        def write(row: int, column: int) -> str:
            return number(mean[row, column], form) if reachable[row, column] else ""

        heat_map(canvas, box, colours, rows=units, columns=periods, write=write)
        canvas.text("period", (box.right, box.bottom + 20), SMALL, MUTED, "topright")
        if now is not None:
            mark_cell(canvas, box.cell(env.inventory - now[1], now[0], mean.shape))
        self._draw_policy_legend(canvas, (box.x, box.bottom + 27))

    def _draw_policy_legend(self, canvas: Canvas, at: Point) -> None:
        x, y = at
        canvas.image(ramp(np.linspace(0, 1, 60), AGENT_RAMP)[None], Box(x + 32, y - 5, 90, 10))
        canvas.text(number(self.env.prices[0]), (x + 27, y), SMALL, MUTED, "midright")
        canvas.text(number(self.env.prices[-1]), (x + 127, y), SMALL, MUTED, "midleft")
        canvas.rectangle(Box(x + 180, y - 5, 10, 10), _UNREACHABLE)
        canvas.text("cannot happen", (x + 195, y), SMALL, MUTED, "midleft")
        canvas.rectangle(Box(x + 298, y - 5, 10, 10), outline=INK, width=2)
        canvas.text("now", (x + 313, y), SMALL, MUTED, "midleft")

    def _draw_willingness(self, canvas: Canvas, box: Box) -> None:
        change = self._history.change()
        note = number(self._willingness) + (f" ({change})" if change else "")
        heading(canvas, (box.x - 40, box.y - 48), "Willingness to pay by round", note)
        values = np.append(self._history.values, self._reference_price)
        margin = max(0.15 * float(np.ptp(values)), 0.1)
        low, high = float(values.min()) - margin, float(values.max()) + margin
        axes = self._history.draw(canvas, box, WORLD, low, high)
        axes.level(self._base_willingness, MUTED, 2, _DASH)
        axes.level(self._reference_price, INK, 2, _DOTS)


def draw_pointer(canvas: Canvas, tip: Point) -> None:
    """Draw a marker that points down at where the season stands."""
    x, y = tip
    canvas.polygon([(x, y), (x - 6, y - 11), (x + 6, y - 11)], INK)
    canvas.polygon([(x, y - 3), (x - 3.5, y - 9.5), (x + 3.5, y - 9.5)], MARKER)
