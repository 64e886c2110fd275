"""PerformativePricing-v0: a selling season in which customers learn the prices and adapt what they will pay."""

from __future__ import annotations

from typing import Any

import numpy as np

from perf_envs.perception import Wrapping
from perf_envs.problem import PerformativeMDP
from perf_envs.rounds import Deployment
from perf_envs.seasons import Season
from perf_envs.tabular_env import PerformativeEnv
from perf_envs.validation import check_count, check_number
from perf_envs.vector import PerformativeVectorEnv
from perf_envs.worlds.pricing.response import CustomerResponse


class PerformativePricing(Season, PerformativeEnv):
    """Sell ``inventory`` units in ``horizon`` periods to customers whose willingness to pay answers your prices.

    Dear prices pay now, but customers who have learnt them come with less willingness to pay: what is best in the
    market as it stands is not best in the market it brings about.

    ## Action Space
    ``Discrete(n_prices)``: the posted price, from ``min_price`` to ``max_price`` in equal steps.

    ## Observation Space
    ``Discrete(horizon * inventory + 1)``: ``period * inventory + (units left - 1)``; the last index is the end.

    ## Starting State
    Period 0 with full stock.

    ## Rewards
    The posted price when a unit is sold, else 0. At most one customer arrives in a period (probability ``arrival``) and
    buys with probability ``sigmoid((w - price) / temperature)``.

    ## Episode End
    Termination when the season is over or the stock is sold. ``env.spec`` tells a limit of ``horizon + 1``
    steps, which is never reached.

    ## Information
    ``round``, ``shift`` and ``reward_shift`` as in :class:`PerformativeEnv`; ``price``: the posted price; ``sale``:
    whether a unit was sold.

    ## Arguments
    * ``horizon=10``, ``inventory=8``: periods and units.
    * ``n_prices=8``, ``min_price=0.5``, ``max_price=4.0``: the price list.
    * ``arrival=0.8``: probability of a customer in a period.
    * ``base_willingness=3.0``, ``reference_price=2.0``, ``shift=3.0``: willingness ``w`` solves
      ``w = base_willingness - shift * (m(pi, w) - reference_price)`` with ``m`` the mean posted price in that market.
    * ``temperature=1.0``: spread of valuations.
    * ``gamma=0.99``: discount.
    * ``adaptation_rate``, ``deployment``, ``round_length``, ``response_wrapper``, ``render_mode``: see
      :class:`PerformativeEnv`.

    ## References
    The season is the textbook problem of Gallego and van Ryzin, "Optimal dynamic pricing of inventories with stochastic
    demand over finite horizons", Management Science 1994; the answer of the customers is this project's.

    ## Version History
    * v0: initial version.
    """

    def __init__(
        self,
        horizon: int = 10,
        inventory: int = 8,
        n_prices: int = 8,
        min_price: float = 0.5,
        max_price: float = 4.0,
        arrival: float = 0.8,
        base_willingness: float = 3.0,
        temperature: float = 1.0,
        shift: float = 3.0,
        reference_price: float = 2.0,
        gamma: float = 0.99,
        adaptation_rate: float = 1.0,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        response_wrapper: Wrapping | None = None,
        render_mode: str | None = None,
    ) -> None:
        n_prices = check_count("n_prices", n_prices, at_least=2)
        min_price = check_number("min_price", min_price, above=0.0)
        max_price = check_number("max_price", max_price, above=min_price)
        self.prices = np.linspace(min_price, max_price, n_prices)
        response = CustomerResponse(
            self.prices,
            horizon=horizon,
            inventory=inventory,
            arrival=arrival,
            base_willingness=base_willingness,
            temperature=temperature,
            shift=shift,
            reference_price=reference_price,
        )
        self.horizon, self.inventory = response.horizon, response.inventory
        rho = np.zeros(response.n_states)
        rho[response.inventory - 1] = 1.0
        super().__init__(
            PerformativeMDP(response, rho, gamma),
            deployment=deployment,
            round_length=round_length,
            adaptation_rate=adaptation_rate,
            response_wrapper=response_wrapper,
            render_mode=render_mode,
        )

    def _describe(self, state: Any, action: Any, outcome: Any) -> dict[str, Any]:
        return {"price": self.prices[action], "sale": outcome == 0}

    def _make_renderer(self) -> Any:
        from perf_envs.worlds.pricing.render import PricingRenderer

        return PricingRenderer(self)


class PerformativePricingVectorEnv(PerformativeVectorEnv):
    """Many seasons side by side in one market, see :class:`PerformativeVectorEnv`."""

    world_class = PerformativePricing
