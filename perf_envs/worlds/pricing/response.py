"""Customers whose willingness to pay answers the prices they meet (rational expectations).

At willingness ``w`` a unit is sold in a period at posted price ``p`` with probability

    q(p, w) = arrival * sigmoid((w - p) / temperature)

and customers who expect the mean posted price of the very market they shop in settle at the fixed point of

    w = base_willingness - shift * (m(pi, w) - reference_price),
    m(pi, w) = sum_t E[price_t; stock_t > 0] / sum_t Pr(stock_t > 0).

Some policies (high prices that fall once the first units are gone) admit several fixed points. The market takes the one
it reaches from ``base_willingness``: the first fixed point in the direction in which expectations are revised there.

It is found however steep the market is: parts of the way are passed over only where bounds exclude a fixed point
(:mod:`perf_envs.worlds.pricing.revision`). Where ``w`` comes within rounding of what it would be revised to, without
passing it, it settles there.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.problem import ResponseMap
from perf_envs.validation import check_count, check_number
from perf_envs.worlds.pricing.first_root import first_root
from perf_envs.worlds.pricing.revision import RevisionBounds
from perf_envs.worlds.pricing.season import Season

#: The steps in which the search for the first fixed point begins, as shares of the way to the last possible one.
_STEPS = np.linspace(0.0, 1.0, 129)


class CustomerResponse(ResponseMap):
    """The market's answer to the deployed pricing policy.

    States are numbered ``period * inventory + (units left - 1)``; the last one is the absorbing end of the season.

    Args:
        prices: ``[A]`` posted prices, strictly increasing, positive.
        horizon: periods in a season.
        inventory: units at its start.
        arrival: probability that a customer comes in a period, in (0, 1].
        base_willingness: willingness to pay at the reference price.
        temperature: spread of valuations, > 0, in units of price.
        shift: how strongly willingness answers prices, >= 0; 0 is an ordinary Markov decision process.
        reference_price: mean price at which nothing shifts.
    """

    def __init__(
        self,
        prices: NDArray[np.float64],
        *,
        horizon: int,
        inventory: int,
        arrival: float,
        base_willingness: float,
        temperature: float,
        shift: float,
        reference_price: float,
    ) -> None:
        self.horizon = check_count("horizon", horizon)
        self.inventory = check_count("inventory", inventory)
        self.arrival = check_number("arrival", arrival, above=0.0, at_most=1.0)
        self.base_willingness = check_number("base_willingness", base_willingness)
        self.temperature = check_number("temperature", temperature, above=0.0)
        self.shift = check_number("shift", shift, at_least=0.0)
        self.reference_price = check_number("reference_price", reference_price)
        self.prices = torch.from_numpy(prices)
        self.n_states = self.horizon * self.inventory + 1
        self.n_actions = len(prices)
        self.end = self.n_states - 1
        self._successors = torch.from_numpy(self._build_successors())
        sale = torch.zeros(self.n_states, self.n_actions, 2, dtype=torch.float64)
        sale[: self.end, :, 0] = self.prices
        self._outcome_rewards = sale
        self._absorbing = torch.arange(self.n_states) == self.end

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the market in which customers have settled on their expectations of ``pi``."""
        return self.market(self.willingness(pi))

    def unshifted(self) -> Dynamics:
        """Return the market of customers who have not yet seen a price: ``w = base_willingness``."""
        return self.market(torch.tensor(self.base_willingness, dtype=torch.float64))

    def market(self, willingness: Tensor) -> Dynamics:
        """Return the dynamics at a given willingness to pay (scalar tensor). Outcome 0: a sale; outcome 1: none."""
        sells = self.sale_probability(willingness)
        probs = torch.stack([sells, 1.0 - sells], dim=-1).expand(self.n_states, -1, -1)
        return Dynamics.from_outcomes(
            self._successors,
            probs,
            self._outcome_rewards,
            absorbing=self._absorbing,
            latents={"willingness": willingness},
        )

    def sale_probability(self, willingness: Tensor) -> Tensor:
        """Return the probability of a sale at each price, ``[..., A]`` for willingness ``[...]``."""
        return self.arrival * torch.sigmoid((willingness[..., None] - self.prices) / self.temperature)

    def willingness(self, pi: Tensor) -> Tensor:
        """Return the willingness to pay that ``pi`` brings about, a scalar differentiable in ``pi``."""
        season = Season(self, pi.detach())
        with torch.no_grad():
            settled = torch.tensor(self._settle(season), dtype=torch.float64)
        if not pi.requires_grad:
            return settled
        # A Newton step at the solution changes nothing to first order except that it carries the gradient the
        # implicit-function theorem asks for.
        at = settled.clone().requires_grad_()
        with torch.enable_grad():
            slope = torch.autograd.grad(season.excess(at, season.stock(at)), at)[0]
        moving = Season(self, pi)
        return settled - moving.excess(settled, moving.stock(settled)) / slope

    def mean_posted_price(self, pi: Tensor, willingness: Tensor) -> Tensor:
        """Return ``m(pi, w) [...]`` for willingness ``[...]``: the mean price while stock lasts, undiscounted."""
        season = Season(self, pi)
        return season.mean_price(season.stock(willingness))

    def _settle(self, season: Season) -> float:
        """Return the fixed point reached from ``base_willingness``, to machine precision."""

        @functools.cache  # the ends of the bracket are asked for twice
        def excess(willingness: float) -> float:
            at = torch.tensor(willingness, dtype=torch.float64)
            return float(season.excess(at, season.stock(at)))

        start = excess(self.base_willingness)
        if start == 0.0:
            return self.base_willingness

        def refine(before: float, behind: float) -> float:
            # Evaluated alone, a point may lie on the other side than among others: the two sums are rounded
            # differently. Then it is the fixed point itself.
            if excess(before) * start <= 0.0:
                return before
            if excess(behind) * start >= 0.0:
                return behind
            return float(brentq(excess, before, behind, xtol=1e-15, rtol=8.9e-16))

        # No fixed point can lie beyond the answer to a market that posts the cheapest (dearest) price always.
        extreme = self.prices.min() if start < 0.0 else self.prices.max()
        limit = self.base_willingness - self.shift * (float(extreme) - self.reference_price)
        way = self.base_willingness + _STEPS * (limit - self.base_willingness)
        bounds = RevisionBounds(season, limit)
        points = bounds.points(way)
        bracket = first_root(bounds, points)
        if bracket is None:  # the fixed point is the limit itself, missed by rounding
            return limit
        # Where a whole step of the way has no other root, refine from its ends: then the last bits do not depend on how
        # often the step had to be halved to know that.
        crossed = int((points.value[1:] >= 0.0).argmax())
        root = refine(float(way[crossed]), float(way[crossed + 1]))
        return root if min(bracket) <= root <= max(bracket) else refine(*bracket)

    def _build_successors(self) -> NDArray[np.int64]:
        """Return ``[S, 2]``: where a state leads after a sale and after none."""
        period, units = np.divmod(np.arange(self.end), self.inventory)
        over = period + 1 == self.horizon
        unsold = np.where(over, self.end, (period + 1) * self.inventory + units)
        sold = np.where(over | (units == 0), self.end, unsold - 1)
        return np.vstack([np.stack([sold, unsold], axis=1), [self.end, self.end]]).astype(np.int64)
