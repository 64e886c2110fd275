"""LinearPricing-v0: continuous prices and demand that falls with the mean deployed price; optimum in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from perf_envs.env import RESET_FIRST, WorldEnv
from perf_envs.rounds import Deployment
from perf_envs.seasons import Season
from perf_envs.vector import PerformativeVectorEnv
from perf_envs.worlds.linear_pricing.response import LinearPricingProblem, Market
from perf_envs.worlds.linear_pricing.rounds import MarketRounds

__all__ = ["LinearPricing", "LinearPricingProblem", "LinearPricingVectorEnv", "Market"]


class LinearPricing(Season, WorldEnv):
    """Post prices for ``n_products`` products; demand falls with the mean price that customers have learnt to expect.

    In the market as it stands a dearer price earns more as long as anybody buys, so an agent that takes it as it stands
    raises its prices until nobody does: there it is stable, and earns nothing. The optimum is half that price.

    ## Action Space
    ``Box(-1, 1, (n_products,), float32)``: from ``price_low`` (-1) to ``price_high`` (1), linearly. Actions beyond are
    clipped.

    ## Observation Space
    ``Box(0, 1, (1,), float32)``: share of the season that is over, ``period / horizon``. Prices do not move it.

    ## Starting State
    Period 0.

    ## Rewards
    The sum over products of price times realised demand. Demand of a product is normal with mean
    ``base_demand - shift * m``, where ``m`` is the mean deployed price, and standard deviation ``demand_std``. Negative
    demand is paid back at the price of the day: nothing is cut off, so that the closed forms are exact.

    ## Episode End
    Termination after ``horizon`` periods. ``env.spec`` tells a limit of ``horizon + 1`` steps, which is
    never reached.

    ## Information
    ``round``, ``shift`` and ``reward_shift`` as in :class:`PerformativeEnv` (``shift`` is 0: only rewards move);
    ``price``: the posted prices ``[n_products]``; ``demand``: the realised demand ``[n_products]``.

    ## Arguments
    * ``n_products=1``: number of products.
    * ``base_demand=4.0``: mean demand of customers who have not learnt a price; that of round 0.
    * ``shift=1.0``: fall of mean demand per unit of mean deployed price.
    * ``demand_std=0.5``: standard deviation of demand. These three are numbers or one number per product.
    * ``price_low=0.0``, ``price_high=6.0``: range of prices.
    * ``horizon=20``: periods in a season.
    * ``gamma=0.99``: discount per period.
    * ``adaptation_rate``, ``deployment``, ``round_length``, ``render_mode``: see :class:`PerformativeEnv`.

    The mean deployed price weighs period ``t`` by ``gamma^t``, as the value does. In observed mode it is estimated from
    the prices of the last ``round_length`` steps with the same weights, smoothed towards the previous estimate.
    ``problem.optimal_price``, ``stable_price``, ``optimal_value`` and ``stable_value`` are the closed forms.

    ## References
    Demand is the linear model of performative prediction (Perdomo et al., "Performative Prediction", ICML 2020) turned
    into a pricing season; the closed forms are derived in :mod:`perf_envs.worlds.linear_pricing.response`.

    ## Version History
    * v0: initial version.
    """

    _problem: LinearPricingProblem
    rounds: MarketRounds

    def __init__(
        self,
        n_products: int = 1,
        base_demand: float | Sequence[float] = 4.0,
        shift: float | Sequence[float] = 1.0,
        demand_std: float | Sequence[float] = 0.5,
        price_low: float = 0.0,
        price_high: float = 6.0,
        horizon: int = 20,
        gamma: float = 0.99,
        adaptation_rate: float = 1.0,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        render_mode: str | None = None,
    ) -> None:
        problem = LinearPricingProblem(
            base_demand,
            shift,
            demand_std=demand_std,
            price_low=price_low,
            price_high=price_high,
            n_products=n_products,
            horizon=horizon,
            gamma=gamma,
        )
        self.horizon, self.n_products = problem.horizon, problem.n_products
        # States are the periods 0 .. horizon; the last one is the end.
        periods = np.arange(self.horizon + 1)
        super().__init__(
            problem,
            MarketRounds(problem, deployment, round_length, adaptation_rate),
            (periods == 0).astype(np.float64),
            periods == self.horizon,
            spaces.Box(0.0, 1.0, (1,), np.float32),
            spaces.Box(-1.0, 1.0, (self.n_products,), np.float32),
            render_mode,
        )

    # -- the Gymnasium side ---------------------------------------------------------------------------------------

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Post prices for one period in the market in force.

        Raises:
            ValueError: not an action.
            gymnasium.error.ResetNeeded: no season was started, or it has ended.
        """
        chosen = read_actions("action", action, (self.n_products,))[None]
        if self._needs_reset:
            raise ResetNeeded(RESET_FIRST)
        rounds, periods = self.rounds, np.array([self.state])
        info = rounds.step_info()
        following, rewards, demand = rounds.sampler.step_many(
            periods, chosen, self.np_random.standard_normal((1, self.n_products))
        )
        described = {key: value[0] for key, value in self._describe(periods, chosen, demand).items()}
        rounds.observe_many(periods, chosen)
        info |= described
        before, self.state, reward = self.state, int(following[0]), float(rewards[0])
        self._action, self._reward = chosen[0], reward
        self._n_steps += 1
        if self.render_mode is not None:
            self._after_step({"state": before, "action": chosen[0], "reward": reward, **info})
        terminated = self._needs_reset = self._ends[self.state]
        return self._observation(self.state), reward, terminated, False, info

    def _observation(self, state: Any) -> NDArray[np.float32]:
        share: NDArray[np.float64] = np.asarray(state, dtype=np.float64) / self.horizon
        return share.astype(np.float32)[..., None]

    def _describe(self, state: Any, action: Any, outcome: Any) -> dict[str, Any]:
        return {"price": self.rounds.sampler.prices(action), "demand": outcome}

    def _make_renderer(self) -> Any:
        from perf_envs.worlds.linear_pricing.render import LinearPricingRenderer

        return LinearPricingRenderer(self)


class LinearPricingVectorEnv(PerformativeVectorEnv):
    """Many seasons side by side in one linear market, see :class:`PerformativeVectorEnv`."""

    world_class = LinearPricing

    def _draw_noise(self) -> NDArray[np.float64]:
        return self.np_random.standard_normal((self.num_envs, self.rounds.problem.n_products))

    def _as_actions(self, actions: Any) -> NDArray[np.float64]:
        return read_actions("actions", actions, (self.num_envs, self.rounds.problem.n_products))


def read_actions(name: str, actions: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return normalised actions as a float64 array of the given shape, clipped to [-1, 1], or raise ``ValueError``."""
    try:
        chosen = np.asarray(actions, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers of shape {shape}, got {actions!r}") from None
    if chosen.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {chosen.shape}")
    if not np.isfinite(chosen).all():
        raise ValueError(f"{name} must be finite, got {chosen.tolist()}")
    return chosen.clip(-1.0, 1.0)
