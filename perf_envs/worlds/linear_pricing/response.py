"""Customers whose demand falls with the mean price they have learnt to expect: the linear world with closed forms.

A seller posts ``d`` prices in each of ``H`` periods of a season. Demand for product ``i`` is

    N(D_i, demand_std_i^2),      D_i = base_demand_i - shift_i * m_i(pi),

whatever is asked on the day: only the *mean deployed price* ``m_i(pi)`` moves it. With weights ``gamma^t`` on the
periods, in the mean price as in the value, and ``G = sum_t gamma^t``, the value of a policy depends on its mean price
alone,

    J(pi) = G sum_i m_i (base_demand_i - shift_i m_i),

so that the optimum over all policies, dependent on time or not, random or not, is ``m = base_demand / (2 shift)``.
In a market as it stands revenue is linear in the price, so a policy is stable only where nobody buys,
``m = base_demand / shift``: stability earns nothing.

(With a plain average over periods the seller would gain from dear early and cheap late periods, an artefact of
discounting: customers and seller have to weigh periods alike.)

Policies are given by mean and standard deviation of normalised actions in [-1, 1] per observation, as Gaussian policies
have them. What is posted is the action clipped to that range, so its mean is that of a clipped Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perf_envs.dynamics import Shift
from perf_envs.exact.optima import BestKnown
from perf_envs.pickling import PickledByValue
from perf_envs.policies.base import Policy
from perf_envs.policies.gaussian import Gaussian, GaussianPolicies, check_table
from perf_envs.validation import check_count, check_number, describe

#: Standard deviations below this are none: the formula of the clipped Gaussian would divide by them.
_POINT_MASS = 1e-12


@dataclass(frozen=True, eq=False)
class Market(PickledByValue):
    """The demand in force between two deployments: what :class:`perf_envs.Dynamics` is to tabular worlds.

    Attributes:
        demand: mean demand ``[d]`` per period, may carry gradients; negative means that customers bring goods back.
        demand_std: its standard deviation ``[d]``.
        price_low: price of action -1.
        price_high: price of action 1.
    """

    demand: Tensor
    demand_std: Tensor
    price_low: float
    price_high: float

    def prices(self, actions: Tensor) -> Tensor:
        """Return the prices ``[..., d]`` that normalised actions post; actions beyond -1 and 1 are clipped."""
        return self.price_low + 0.5 * (self.price_high - self.price_low) * (actions.clamp(-1.0, 1.0) + 1.0)

    def expected_rewards(self, actions: Tensor) -> Tensor:
        """Return the expected revenue ``[...]`` of a period in which ``actions [..., d]`` are taken."""
        return self.prices(actions) @ self.demand

    def detach(self) -> Market:
        """Return the same market without autograd history."""
        return Market(self.demand.detach(), self.demand_std, self.price_low, self.price_high)

    def mix(self, other: Market, weight: float) -> Market:
        """Return the market in which a share ``weight`` of demand is that of ``other``."""
        demand = torch.lerp(self.demand, other.demand, weight)
        return Market(demand, self.demand_std, self.price_low, self.price_high)

    def shift_from(self, other: Market) -> Shift:
        """Return how far expected rewards moved from ``other``, over all prices; transitions never move."""
        moved = (self.demand - other.demand).detach()
        ends = torch.stack([self.price_low * moved, self.price_high * moved])
        largest, smallest = ends.amax(0).sum(), ends.amin(0).sum()
        return Shift(0.0, float(torch.maximum(largest, -smallest)))


class LinearPricingProblem(PickledByValue):
    """The linear pricing season as a performative problem: no state, no randomness.

    Args:
        base_demand: mean demand at price zero, > 0, a number or one per product.
        shift: fall of mean demand per unit of mean deployed price, >= 0, a number or one per product.
        demand_std: standard deviation of demand, >= 0, a number or one per product.
        price_low: lowest price, >= 0, that of action -1.
        price_high: highest price, that of action 1.
        n_products: number of products ``d``.
        horizon: periods ``H`` in a season.
        gamma: discount per period, in (0, 1).

    Raises:
        ValueError: an argument is out of range, or does not have one entry per product.
    """

    #: Customers respond the same way each time.
    is_random = False

    def __init__(
        self,
        base_demand: float | Sequence[float],
        shift: float | Sequence[float],
        *,
        demand_std: float | Sequence[float] = 0.0,
        price_low: float,
        price_high: float,
        n_products: int = 1,
        horizon: int,
        gamma: float,
    ) -> None:
        self.n_products = check_count("n_products", n_products)
        self.base_demand = _per_product("base_demand", base_demand, self.n_products, above=0.0)
        self.shift = _per_product("shift", shift, self.n_products, at_least=0.0)
        self.demand_std = _per_product("demand_std", demand_std, self.n_products, at_least=0.0)
        self.price_low = check_number("price_low", price_low, at_least=0.0)
        self.price_high = check_number("price_high", price_high, above=self.price_low)
        self.horizon = check_count("horizon", horizon)
        self.gamma = check_number("gamma", gamma, above=0.0, below=1.0)

    @cached_property
    def query_observations(self) -> NDArray[np.float32]:
        """The observation of every period, ``[H, 1]``: where a deployed policy is asked for mean and deviation."""
        return (np.arange(self.horizon) / self.horizon).astype(np.float32)[:, None]

    @cached_property
    def period_weights(self) -> Tensor:
        """``gamma^t``, ``[H]``."""
        return self.gamma ** torch.arange(self.horizon, dtype=torch.float64)

    @property
    def policies(self) -> PricePolicies:
        """The policies that can be deployed."""
        return PricePolicies(self)

    # -- the world's response -------------------------------------------------------------------------------------

    def response(self, mean: object, std: object = None) -> Market:
        """Return the market's response to a policy, differentiable in both arguments.

        Args:
            mean: means of the normalised actions at ``query_observations``, ``[H, d]``; or, alone, a policy that has
                ``mean`` and ``std``, as here and wherever else this class takes them.
            std: their standard deviations, ``[H, d]``, >= 0.

        Raises:
            ValueError: wrong shape, an entry that is not finite, or a negative deviation.
        """
        return self.market(self.mean_price(mean, std))

    def market(self, mean_price: Tensor) -> Market:
        """Return the market of customers who expect ``mean_price [d]``."""
        demand = self.base_demand - self.shift * mean_price
        return Market(demand, self.demand_std, self.price_low, self.price_high)

    def unshifted(self) -> Market:
        """Return the market of round 0: customers have not learnt a price yet and demand is ``base_demand``."""
        return self.market(torch.zeros(self.n_products, dtype=torch.float64))

    def mean_price(self, mean: object, std: object = None) -> Tensor:
        """Return the mean deployed price ``[d]``: periods weigh ``gamma^t``, as in the value."""
        return self.period_weights @ self.posted_prices(mean, std) / self.period_weights.sum()

    def posted_prices(self, mean: object, std: object = None) -> Tensor:
        """Return the expected price of every period and product, ``[H, d]``."""
        shape = (self.horizon, self.n_products)
        if std is None and isinstance(mean, Gaussian):
            mean, std = mean.mean, mean.std
        means = _check_actions("mean", mean, shape)
        deviations = _check_actions("std", std, shape)
        if bool((deviations < 0.0).any()):
            raise ValueError(f"std must be non-negative, got {float(deviations.min())}")
        return self.unshifted().prices(clipped_normal_mean(means, deviations))

    # -- values ---------------------------------------------------------------------------------------------------

    def reward_range(self, response: Market) -> tuple[float, float]:
        """Return the lowest and the highest expected revenue of a period, over all prices."""
        ends = torch.stack([self.price_low * response.demand, self.price_high * response.demand]).detach()
        return float(ends.amin(0).sum()), float(ends.amax(0).sum())

    def value(self, policy: object) -> float:
        """Return the performative value of a policy in any form that ``policies`` reads."""
        with torch.no_grad():
            return float(self.performative_value(self.policies.read(policy)))

    def best_known(self) -> BestKnown:
        """Return the optimum, which is known in closed form; its policy is normalised actions that do not vary."""
        policy = torch.from_numpy(np.tile(self.actions(self.optimal_price.numpy()), (self.horizon, 1)))
        return BestKnown(policy, self.optimal_value, "closed form")

    def expected_rewards(self, market: Market, actions: Tensor) -> Tensor:
        """Return the expected revenue ``[n]`` of normalised actions ``[n, d]``, clipped, in a market."""
        return market.expected_rewards(actions)

    def decoupled_value(self, mean: object, std: object, market: Market) -> Tensor:
        """Return the discounted revenue of a season in a given market."""
        return self.period_weights @ (self.posted_prices(mean, std) @ market.demand)

    def performative_value(self, mean: object, std: object = None) -> Tensor:
        """Return ``J``, the discounted revenue of a season in the market that answers the policy; differentiable."""
        return self.decoupled_value(mean, std, self.response(mean, std))

    def stability_gap(self, mean: object, std: object = None) -> float:
        """Return what the best policy in the answering market would earn more than the policy itself."""
        with torch.no_grad():
            market = self.response(mean, std)
            best = torch.maximum(self.price_low * market.demand, self.price_high * market.demand).sum()
            return float(self.period_weights.sum() * best - self.decoupled_value(mean, std, market))

    @cached_property
    def optimal_price(self) -> Tensor:
        """Mean price ``[d]`` of the performatively optimal policies: ``base_demand / (2 shift)``, kept in range."""
        return (self.base_demand / (2.0 * self.shift)).clamp(self.price_low, self.price_high)

    @cached_property
    def stable_price(self) -> Tensor:
        """Mean price ``[d]`` of the performatively stable policies: ``base_demand / shift``, kept in range."""
        return (self.base_demand / self.shift).clamp(self.price_low, self.price_high)

    @property
    def optimal_value(self) -> float:
        """The largest performative value of any policy."""
        return self.value_of_price(self.optimal_price)

    @property
    def stable_value(self) -> float:
        """The performative value of the stable policies: 0 if ``base_demand / shift`` is a price that can be asked."""
        return self.value_of_price(self.stable_price)

    def value_of_price(self, mean_price: Tensor) -> float:
        """Return the performative value of all policies with a given mean deployed price ``[d]``."""
        return float(self.period_weights.sum() * (mean_price * self.market(mean_price).demand).sum())

    def actions(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the normalised actions that post given prices."""
        return 2.0 * (prices - self.price_low) / (self.price_high - self.price_low) - 1.0


class PricePolicies(GaussianPolicies):
    """Gaussian policies of a linear market, which can be written as prices too.

    Args:
        problem: the market.
    """

    def __init__(self, problem: LinearPricingProblem) -> None:
        super().__init__(problem.query_observations, problem.n_products)
        self._problem = problem

    def read(self, policy: Any, observations: Any = None, deterministic: bool = False) -> Gaussian:
        """Return the Gaussian of a policy.

        Args:
            policy: posted mean prices, an array ``[horizon, d]``, ``[d]`` or a number; or any of the forms of
                :func:`perf_envs.policies.gaussian_policy`.
            observations: where it is asked, if an agent sees something else than the period.
            deterministic: ask models for their deterministic action instead of their distribution.

        Raises:
            ValueError: not a policy, wrong shape, not finite, prices out of range.
        """
        if isinstance(policy, tuple | Policy) or callable(policy) or hasattr(policy, "predict"):
            return super().read(policy, observations, deterministic)
        return self.posting(policy)

    def posting(self, prices: Any) -> Gaussian:
        """Return the policy that posts given prices for certain."""
        problem, shape = self._problem, self._shape
        try:
            wanted = np.broadcast_to(np.asarray(prices, dtype=np.float64), shape)
        except (TypeError, ValueError):
            raise ValueError(f"policy as prices must have shape {shape} or {shape[1:]}, got {prices!r}") from None
        wanted = check_table("prices", wanted, shape)
        if wanted.min() < problem.price_low or wanted.max() > problem.price_high:
            raise ValueError(
                f"policy as prices must be in [{problem.price_low:g}, {problem.price_high:g}], got {prices!r}"
            )
        return Gaussian(problem.actions(wanted), np.zeros(shape))


def clipped_normal_mean(mean: Tensor, std: Tensor) -> Tensor:
    """Return ``E[clip(x, -1, 1)]`` for ``x ~ N(mean, std^2)``, differentiable; ``std = 0`` is a point mass.

    With ``a = (-1 - mean) / std`` and ``b = (1 - mean) / std`` it is
    ``Phi(-b) - Phi(a) + mean (Phi(b) - Phi(a)) + std (phi(a) - phi(b))``.
    """
    spread = std > _POINT_MASS
    safe = torch.where(spread, std, torch.ones_like(std))
    low, high = (-1.0 - mean) / safe, (1.0 - mean) / safe
    inside = torch.special.ndtr(high) - torch.special.ndtr(low)
    beyond = torch.special.ndtr(-high) - torch.special.ndtr(low)
    clipped = beyond + mean * inside + safe * (_density(low) - _density(high))
    return torch.where(spread, clipped, mean.clamp(-1.0, 1.0))


def clipped_normal_moments(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of ``clip(x, -1, 1)`` for ``x ~ N(mean, std^2)``; ``std = 0`` is a point mass.

    With ``a``, ``b`` as in :func:`clipped_normal_mean`, the second moment is
    ``Phi(a) + Phi(-b) + (mean^2 + std^2) (Phi(b) - Phi(a)) + std ((mean - 1) phi(a) - (mean + 1) phi(b))``.
    """
    first = clipped_normal_mean(mean, std)
    spread = std > _POINT_MASS
    safe = torch.where(spread, std, torch.ones_like(std))
    low, high = (-1.0 - mean) / safe, (1.0 - mean) / safe
    inside = torch.special.ndtr(high) - torch.special.ndtr(low)
    beyond = torch.special.ndtr(-high) + torch.special.ndtr(low)
    edges = safe * ((mean - 1.0) * _density(low) - (mean + 1.0) * _density(high))
    second = beyond + (mean.square() + safe.square()) * inside + edges
    return first, torch.where(spread, (second - first.square()).clamp(min=0.0), torch.zeros_like(mean))


def _density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / math.sqrt(2.0 * math.pi)


def _per_product(name: str, value: object, n_products: int, **bounds: float) -> Tensor:
    """Return ``value`` as a tensor ``[d]``, every entry checked."""
    entries = np.asarray(value, dtype=object)
    if entries.ndim == 0:
        entries = np.full(n_products, entries[()], dtype=object)
    if entries.shape != (n_products,):
        raise ValueError(f"{name} must be a number or {n_products} numbers, one per product, got {value!r}")
    return torch.tensor([check_number(name, entry, **bounds) for entry in entries], dtype=torch.float64)


def _check_actions(name: str, value: object, shape: tuple[int, int]) -> Tensor:
    """Return ``value`` as a float64 tensor ``[H, d]``, keeping its autograd history."""
    try:
        table = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers {list(shape)}, got {describe(value)}") from None
    if tuple(table.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(table.shape)}")
    if not bool(torch.isfinite(table.detach()).all()):
        raise ValueError(f"{name} must be finite, got {table.detach().tolist()}")
    return table.to(torch.float64)
