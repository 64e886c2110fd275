"""The rounds of a linear market: the demand in force, and the mean price that customers believe in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.dynamics import Shift
from perf_envs.fit import Fit, add_actions
from perf_envs.policies import Gaussian
from perf_envs.rounds import Deployment, Rounds
from perf_envs.worlds.linear_pricing.response import LinearPricingProblem, Market, clipped_normal_moments

Floats = NDArray[np.float64]

#: Weight of the previous estimate, in observations, when the mean price is re-estimated from the prices seen.
_PRIOR_OBSERVATIONS = 1.0


class MarketRounds(Rounds[Market]):
    """The deployment state of a linear market.

    Args:
        problem: the linear pricing season.
        deployment: ``"observed"`` re-estimates the mean price from the last ``round_length`` prices and answers by
            itself; ``"declared"`` moves only when :meth:`deploy` is called.
        round_length: steps in an observed round, of each agent where several share the world.
        adaptation_rate: share ``w`` in (0, 1] of demand that answers a deployment at once; the rest stays as it was.

    Attributes:
        mean_price: the mean deployed price that customers believe in, ``[d]``; starts in the middle of the range.
    """

    def __init__(
        self,
        problem: LinearPricingProblem,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        adaptation_rate: float = 1.0,
    ) -> None:
        self.problem = problem
        # Sub-environments at the end of a season are stepped along with the others, but post no prices.
        self._weights = np.append(problem.period_weights.numpy(), 0.0)
        super().__init__(problem.unshifted(), deployment, round_length, adaptation_rate)

    def restart(self, seed: int = 0) -> None:
        """Go back to round 0: demand as at price zero, nothing observed."""
        middle = (self.problem.price_low + self.problem.price_high) / 2
        self.mean_price: Floats = np.full(self.problem.n_products, middle)
        self._moments: tuple[Floats, Floats] | None = None
        self._deployed: Gaussian | None = None
        self.fit = Fit(self.problem.n_products)
        self._forget()
        super().restart(seed)

    def deploy(self, policy: object, response: Market | None = None) -> Shift:
        """Hand a policy to the market and start the next round; return how far it moved.

        Args:
            policy: a :class:`perf_envs.policies.Gaussian`, or whatever else ``problem.policies`` reads.
            response: the market's response to it, if the caller has it from ``problem.response`` already.
        """
        gaussian = self.problem.policies.read(policy)
        with torch.no_grad():
            mean_price = self.problem.mean_price(gaussian)
            moments = clipped_normal_moments(*torch.from_numpy(gaussian.array.copy()))
        shift = self._believe(mean_price.numpy(), (moments[0].numpy(), moments[1].numpy()), response)
        self._deployed = gaussian
        return shift

    @property
    def policy(self) -> Gaussian:
        """The policy deployed last; where only the mean price is known, the one that posts it for certain."""
        return self.problem.policies.posting(self.mean_price) if self._deployed is None else self._deployed

    def redeploy(self) -> Shift:
        """Hand the policy deployed last to the market again, and start the next round; return how far it moved."""
        return self._believe(self.mean_price, self._moments)

    def observe_many(self, periods: NDArray[np.int64], actions: Floats, idle: NDArray[np.int64] | None = None) -> None:
        """Take note of normalised actions ``[n, d]`` in periods ``[n]``, except by those with indices in ``idle``.

        Prices weigh ``gamma^period``, as in the mean deployed price that they estimate. The market answers at the end
        of a round.
        """
        if not self.watching:
            return
        n_idle = 0 if idle is None else len(idle)
        if self._comparing:
            chosen = slice(None) if idle is None else np.delete(np.arange(len(periods)), idle)
            self._log.append((periods[chosen], actions[chosen]))
        else:
            weights = self._weights[periods]
            if n_idle:
                weights[idle] = 0.0
            self._weighted_prices += weights @ self.sampler.prices(actions)
            self._weight += float(weights.sum())
        self._count_steps(len(periods) - n_idle)

    def estimate(self) -> Floats:
        """Return the mean price ``[d]`` seen in this round, smoothed towards the one believed so far."""
        smoothed: Floats = (self._weighted_prices + _PRIOR_OBSERVATIONS * self.mean_price) / (
            self._weight + _PRIOR_OBSERVATIONS
        )
        return smoothed

    def _believe(
        self, mean_price: Floats, moments: tuple[Floats, Floats] | None, response: Market | None = None
    ) -> Shift:
        """Start the next round with a mean price, and mean and variance of the actions ``[H, d]`` where known."""
        shift = self._begin_round(self.problem.market(torch.from_numpy(mean_price)) if response is None else response)
        self.mean_price, self._moments = mean_price, moments
        return shift

    def _forget(self) -> None:
        self._weighted_prices: Floats = np.zeros(self.problem.n_products)
        self._weight = 0.0
        self._log: list[tuple[NDArray[np.int64], Floats]] = []

    def _compare(self) -> None:
        if self._log and self._moments is not None:
            periods, actions = (np.concatenate(column) for column in zip(*self._log, strict=True))
            means, variances = (moment[periods] for moment in self._moments)
            add_actions(self.fit, actions, means, variances)

    def _describe_misfit(self) -> str | None:
        product, n_steps = self.fit.worst(), self.fit.n_steps
        if product is None:
            return None
        played, expected = self.fit.played[product] / n_steps, self.fit.expected[product] / n_steps
        return (
            f"the mean action played for product {product} in {n_steps} steps is {played:.3g}, and should be "
            f"{expected:.3g}"
        )

    def _answer_estimate(self) -> None:
        self._believe(self.estimate(), None)
        self._deployed = None

    def _make_sampler(self, dynamics: Market) -> MarketSampler:
        return MarketSampler(dynamics, self.problem.horizon)


class MarketSampler:
    """A market ready to be drawn from: the one kernel under the scalar and the vector environment."""

    def __init__(self, market: Market, horizon: int) -> None:
        self._market, self._horizon = market, horizon
        self._demand = market.demand.detach().numpy()
        self._demand_std = market.demand_std.numpy()

    def prices(self, actions: Floats) -> Floats:
        """Return the prices posted by normalised actions, clipped."""
        prices: Floats = self._market.prices(torch.as_tensor(actions, dtype=torch.float64)).numpy()
        return prices

    def step_many(self, periods: Any, actions: Floats, noise: Floats) -> tuple[Any, Any, Floats]:
        """Return next periods ``[n]``, rewards ``[n]`` and realised demand ``[n, d]``, given standard normal noise.

        Nothing is sold after the end of a season, where a sub-environment may stand idle.
        """
        open_ = np.less(periods, self._horizon)
        demand = (self._demand + self._demand_std * noise) * open_[:, None]
        rewards = (self.prices(actions) * demand).sum(-1)
        return periods + open_, rewards, demand
