"""The selling season of one pricing policy, at any willingness to pay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from perf_envs.worlds.pricing.response import CustomerResponse


class Season:
    """A policy as it is met by customers: what is posted, and how the stock runs down.

    Stocks are in the order one unit to all of them; ``[..., H, N]`` are periods and stocks.

    Args:
        response: the market.
        pi: policy table ``[S, A]``, may carry gradients.
    """

    def __init__(self, response: CustomerResponse, pi: Tensor) -> None:
        self.response = response
        #: The probabilities of the prices, ``[H, N, A]``.
        self.schedule = pi[: response.end].reshape(response.horizon, response.inventory, response.n_actions)
        #: The expected price, ``[H, N]``.
        self.posted = self.schedule @ response.prices

    def stock(self, willingness: Tensor) -> Tensor:
        """Return the probability of every stock in every period, ``[..., H, N]`` for willingness ``[...]``."""
        sells = torch.einsum("...a,tna->...tn", self.response.sale_probability(willingness), self.schedule)
        # Units left, from none to all; with none left none is sold.
        sells = torch.nn.functional.pad(sells, (1, 0))
        full = torch.zeros((*willingness.shape, self.response.inventory + 1), dtype=torch.float64)
        full[..., -1] = 1.0
        if sells.requires_grad:
            return torch.stack(_run_down(sells, full), dim=-2)[..., 1:]
        # The same through numpy, whose calls cost a fraction of torch's on so few numbers.
        return torch.from_numpy(np.stack(_run_down(sells.numpy(), full.numpy()), axis=-2))[..., 1:]

    def mean_price(self, stock: Tensor) -> Tensor:
        """Return the mean posted price while stock lasts, undiscounted, ``[...]``."""
        mean: Tensor = (stock * self.posted).sum((-2, -1)) / stock.sum((-2, -1))
        return mean

    def excess(self, willingness: Tensor, stock: Tensor) -> Tensor:
        """Return how far ``w [...]`` lies above what customers would revise it to; zero at a fixed point."""
        response = self.response
        deviation = self.mean_price(stock) - response.reference_price
        return willingness - (response.base_willingness - response.shift * deviation)


def _run_down(sells: Any, stock: Any) -> list[Any]:
    """Return the probabilities of every stock in every period, ``[..., N + 1]`` each; arrays or tensors.

    Args:
        sells: probability of a sale in every period at every stock, ``[..., H, N + 1]``.
        stock: probabilities at the start, ``[..., N + 1]``.
    """
    periods = []
    for period in range(sells.shape[-2]):
        periods.append(stock)
        sold = stock * sells[..., period, :]
        stock = stock - sold
        stock[..., :-1] += sold[..., 1:]
    return periods
