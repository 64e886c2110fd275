"""The picture of a policy in the linear market: posted prices over the season, between optimum and stability."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from perf_envs.worlds.linear_pricing.env import LinearPricing
from perf_envs.worlds.linear_pricing.response import Market
from train.report.styles import INK, PALETTE

#: How the prices of the closed forms are drawn.
_OPTIMAL, _STABLE = (0, (5, 3)), (0, (1, 2))
CAPTION = (
    "Mean posted price in every period; the band is one standard deviation of the actions on either side, cut to the "
    "range of prices. Dashed: the optimal price; dotted: the stable price. In the corner, the mean demand D that the "
    "policy brings about."
)


def draw_prices(env: LinearPricing, axes: Axes, policy: NDArray[np.float64], market: Market) -> None:
    """Draw mean and deviation of the posted prices, and the prices of the closed forms.

    Args:
        env: the world.
        axes: where to draw.
        policy: mean and standard deviation of the actions, ``[2, H, d]``.
        market: the market that answers.
    """
    problem, periods = env.problem, np.arange(env.horizon)
    mean, std = torch.from_numpy(policy)
    posted = problem.posted_prices(mean, std).numpy()
    low, high = market.prices(mean - std).numpy(), market.prices(mean + std).numpy()
    for product in range(env.n_products):
        color = PALETTE[product % len(PALETTE)]
        axes.fill_between(periods, low[:, product], high[:, product], color=color, alpha=0.18, linewidth=0)
        axes.plot(periods, posted[:, product], color=color, linewidth=1.7)
        reference = color if env.n_products > 1 else INK
        axes.axhline(float(problem.optimal_price[product]), color=reference, linestyle=_OPTIMAL, linewidth=1.1)
        axes.axhline(float(problem.stable_price[product]), color=reference, linestyle=_STABLE, linewidth=1.3)
    demand = ", ".join(f"{amount:.2f}" for amount in market.demand.tolist()).replace("-", "−")
    axes.text(0.02, 0.04, f"D = {demand}", transform=axes.transAxes, fontsize=9)
    axes.set(xlabel="period", ylabel="price", ylim=_limits(problem.price_low, problem.price_high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)


def legend() -> tuple[Artist, ...]:
    """Return what explains the lines."""
    return (
        Line2D([], [], color=PALETTE[0], linewidth=1.7, label="mean price"),
        Patch(color=PALETTE[0], alpha=0.18, linewidth=0, label="one standard deviation"),
        Line2D([], [], color=INK, linestyle=_OPTIMAL, linewidth=1.1, label="optimal price"),
        Line2D([], [], color=INK, linestyle=_STABLE, linewidth=1.3, label="stable price"),
    )


def _limits(low: float, high: float) -> tuple[float, float]:
    """Return the range of prices with room above it, so that lines at its end are seen, and below it for the demand."""
    return low - 0.16 * (high - low), high + 0.04 * (high - low)
