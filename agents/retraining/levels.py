"""Occupancy programs of awkward size: the same program in rewards and units that are near 1.

Rewards ``c - F'h_0`` in place of ``c`` leave all solutions where they are, whatever ``h_0``: on every occupancy they
pay ``h_0 . b`` less, and multipliers are ``h_0`` less. With ``h_0`` the values of the uniform policy they are its
advantages, so that a constant in the rewards, or a discount near 1, makes no large numbers. In units of the mass ``m``
of that policy, ``d = m x``, and of the larger of rewards and regularisation, ``u``, the program is

    max_x  c.x / u - lambda m / (2 u) |x|^2                    s.t.  F x = b / m
    max_x  (c - lambda log m).x / u - lambda / u sum x log x

with multipliers ``h / u``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from agents.retraining.model import Floats, Ints


class Level(NamedTuple):
    """Where a program is looked at from."""

    rewards: Floats
    """``c - F'h_0 [n]``."""
    values: Floats
    """``h_0 [m]``."""
    mass: float
    """Of the uniform policy."""

    def scaled(self, supply: Floats, weight: float, entropic: bool) -> tuple[Floats, Floats, float, float]:
        """Return supply, rewards and weight of the scaled program, and the unit of its rewards."""
        pull = weight * (1.0 + abs(math.log(self.mass))) if entropic else weight * self.mass
        unit = max(float(np.abs(self.rewards).max()), pull) or 1.0
        rewards = self.rewards - weight * math.log(self.mass) if entropic else self.rewards
        return supply / self.mass, rewards / unit, weight * (1.0 if entropic else self.mass) / unit, unit


def as_given(flow: sp.csc_array, rewards: Floats) -> Level:
    """Return the program as it is."""
    return Level(rewards, np.zeros(flow.shape[0]), 1.0)


def of_uniform_policy(flow: sp.csc_array, supply: Floats, rewards: Floats, row_of: Ints) -> Level:
    """Return the program as seen from the uniform policy.

    Args:
        flow: ``[m, n]``.
        supply: ``[m]``.
        rewards: ``[n]``.
        row_of: the row of ``flow`` each pair leaves from, ``[n]``.

    Raises:
        ValueError: its mass grows without limit.
    """
    n_pairs = len(rewards)
    shares = 1.0 / np.bincount(row_of)[row_of]
    uniform = sp.csc_array((shares, (np.arange(n_pairs), row_of)), shape=(n_pairs, flow.shape[0]))
    try:
        factors = splu(sp.csc_array(flow @ uniform))
        visits = factors.solve(supply)
    except RuntimeError:  # singular
        visits = np.full(1, -1.0)
    if not np.isfinite(visits).all() or visits.min() < -1e-9 * np.abs(visits).max():
        raise ValueError(
            "the occupancy program is unbounded or infeasible: under the uniform policy mass grows without limit; "
            "transitions of available pairs must sum to 1"
        )
    values = np.zeros(flow.shape[0])
    for _ in range(2):  # the second time for what rounding has left
        more = factors.solve(uniform.T @ rewards, "T")
        values, rewards = values + more, rewards - flow.T @ more
    return Level(rewards, values, float(visits.sum()))
