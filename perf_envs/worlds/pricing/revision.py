"""How far willingness to pay lies above what customers would revise it to, bounded over intervals of willingness.

With ``S_tk(w) = Pr(stock_t >= k)``, the expected price ``f_tk`` posted in period ``t`` at stock ``k``, the price
``p(w) = reference_price - (w - base_willingness) / shift`` at which customers would stay at ``w``, and
``D = sum_t S_t1``,

    excess(w) = w - base_willingness + shift (m(w) - reference_price) = shift g(w) / D(w),
    g(w)      = sum_t [ (f_t1 - p(w)) S_t1(w) + sum_{k > 1} (f_tk - f_t,k-1) S_tk(w) ].

The more customers are willing to pay the more is sold at any stock, and one unit at a time: so every ``S_tk`` falls
with ``w``, and its values at the ends of an interval bound it inside. The derivatives ``-dS/dw >= 0`` obey

    -dS_t+1,k = (1 - q_tk) (-dS_tk) + q_tk (-dS_t,k+1) + (S_tk - S_t,k+1) dq_tk,

in which everything is positive, so that bounds of the sale probabilities ``q`` and their derivatives ``dq`` carry over.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from perf_envs.worlds.pricing.first_root import Points, Segments
from perf_envs.worlds.pricing.season import Season

Floats = NDArray[np.float64]


class RevisionBounds:
    """``g(w)`` of one policy on the way up from ``base_willingness``, or ``-g(w)`` on the way down.

    A :class:`perf_envs.worlds.pricing.first_root.BoundedFunction`; what is known at a point is ``S [H, N]``.

    Args:
        season: the policy, without gradient, in a market whose ``shift`` is above 0.
        limit: where the way ends.
    """

    def __init__(self, season: Season, limit: float) -> None:
        response = season.response
        self._season, self._response = season, response
        self._sign = 1.0 if limit > response.base_willingness else -1.0
        self._schedule: Floats = season.schedule.numpy()
        self._prices: Floats = response.prices.numpy()
        posted = season.posted.numpy()
        self._first_posted = posted[:, 0]
        #: What each further unit in stock adds to the price posted (the first one is counted with ``p(w)``).
        self._steps = np.diff(posted, axis=1, prepend=posted[:, :1])
        reach = max(abs(response.base_willingness), abs(limit)) / response.shift
        largest = float(self._prices[-1]) + abs(response.reference_price) + reach
        self.tolerance = 4.0 * float(np.finfo(np.float64).eps) * response.horizon**2 * largest

    def points(self, at: Floats) -> Points:
        """Return the function at willingness ``[n]``."""
        willingness = torch.from_numpy(at)
        stock = self._season.stock(willingness)
        value = self._season.excess(willingness, stock) * stock.sum((-2, -1)) * (self._sign / self._response.shift)
        return Points(at, value.numpy(), stock.flip(-1).cumsum(-1).flip(-1).numpy())

    def largest(self, segments: Segments) -> Floats:
        """Return upper bounds of the function from the values of ``S`` at the ends, ``[n]``."""
        left, right = self._ordered(segments)
        margin = right.at if self._sign > 0.0 else left.at
        first = self._sign * self._first_margin(margin)
        return _largest_sum(first, self._sign * self._steps, right.known, left.known)

    def slopes(self, segments: Segments) -> tuple[Floats, Floats]:
        """Return bounds of ``dg/dw``, the derivative along the way in both directions, ``[n]`` each."""
        left, right = self._ordered(segments)
        slowest, fastest = self._declines(left, right)
        least, most = self._first_margin(left.at), self._first_margin(right.at)
        in_stock = np.stack([right.known[:, :, 0].sum(-1), left.known[:, :, 0].sum(-1)]) / self._response.shift
        return (
            in_stock[0] - _largest_sum(most, self._steps, slowest, fastest),
            in_stock[1] + _largest_sum(-least, -self._steps, slowest, fastest),
        )

    def _ordered(self, segments: Segments) -> tuple[Points, Points]:
        """Return the ends of segments, the one with the smaller willingness first."""
        return (segments.near, segments.far) if self._sign > 0.0 else (segments.far, segments.near)

    def _first_margin(self, willingness: Floats) -> Floats:
        """Return ``f_t1 - p(w)``, ``[n, H]``; it rises with ``w``."""
        stays = self._response.reference_price - (willingness - self._response.base_willingness) / self._response.shift
        return np.asarray(self._first_posted - stays[:, None])

    def _declines(self, left: Points, right: Points) -> tuple[Floats, Floats]:
        """Return bounds of ``-dS/dw`` between two points, ``[n, H, N]`` each."""
        seldom, often = (self._sells(self._response.arrival * expit(self._distance(ends.at))) for ends in (left, right))
        least_gain, most_gain = (self._sells(density) for density in self._densities(left.at, right.at))
        # Pr(stock_t = k) = S_tk - S_t,k+1; no stock is larger than the one at the start.
        least_gain *= np.maximum(right.known - _one_more(left.known), 0.0)
        most_gain *= left.known - _one_more(right.known)
        n_segments, horizon, inventory = left.known.shape
        slowest, fastest = np.zeros((2, horizon, n_segments, inventory + 1))
        for period in range(horizon - 1):
            for bound, extreme, gain in ((slowest, np.minimum, least_gain), (fastest, np.maximum, most_gain)):
                now = bound[period]
                further = now[:, 1:] - now[:, :-1]
                carried = now[:, :-1] + extreme(seldom[:, period] * further, often[:, period] * further)
                bound[period + 1, :, :-1] = carried + gain[:, period]
        return slowest[:, :, :-1].swapaxes(0, 1), fastest[:, :, :-1].swapaxes(0, 1)

    def _sells(self, by_price: Floats) -> Floats:
        """Return the mean over the posted prices of something known of every price, ``[n, A] -> [n, H, N]``."""
        horizon, inventory, n_prices = self._schedule.shape
        return np.asarray(by_price @ self._schedule.reshape(-1, n_prices).T).reshape(-1, horizon, inventory)

    def _distance(self, willingness: Floats) -> Floats:
        return np.asarray((willingness[:, None] - self._prices) / self._response.temperature)

    def _densities(self, left: Floats, right: Floats) -> tuple[Floats, Floats]:
        """Return bounds of the derivative of the sale probabilities between two points, ``[n, A]`` each."""
        ends = [expit(distance) * expit(-distance) for distance in (self._distance(left), self._distance(right))]
        at_price = (left[:, None] <= self._prices) & (self._prices <= right[:, None])
        scale = self._response.arrival / self._response.temperature
        return scale * np.minimum(*ends), scale * np.where(at_price, 0.25, np.maximum(*ends))


def _largest_sum(first: Floats, steps: Floats, smallest: Floats, largest: Floats) -> Floats:
    """Return the maximum of ``sum_t (first_t x_t1 + sum_k steps_tk x_tk)`` over ``x`` between two bounds, ``[n]``.

    Args:
        first: at most this much, ``[n, H]``.
        steps: ``[H, N]``, 0 at ``k = 1``.
        smallest: lower bound of ``x``, ``[n, H, N]``, >= 0.
        largest: upper bound of ``x``, ``[n, H, N]``.
    """
    start = first * np.where(first > 0.0, largest[:, :, 0], smallest[:, :, 0])
    up, down = np.maximum(steps, 0.0).ravel(), np.maximum(-steps, 0.0).ravel()
    flat = (len(first), -1)
    return np.asarray(start.sum(-1) + largest.reshape(flat) @ up - smallest.reshape(flat) @ down)


def _one_more(by_stock: Floats) -> Floats:
    """Return ``x_k+1`` in the place of ``x_k``, 0 for the last."""
    moved = np.zeros_like(by_stock)
    moved[..., :-1] = by_stock[..., 1:]
    return moved
