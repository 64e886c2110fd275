"""From the accuracy of an interior point to that of floating point: the last steps of an occupancy program.

All three forms of the program read, with flow matrix ``F [m, n]``, supply ``b``, rewards ``c`` and advantages
``A(h) = c - F'h``,

    max_{d >= 0, F d = b} c.d - Omega(d)        optimal where F d = b and

    linear       A(h) <= 0,  d A(h) = 0
    quadratic    d = max(A(h), 0) / lambda                    Omega(d) = lambda/2 |d|^2
    entropy      d = exp(A(h) / lambda - 1)                   Omega(d) = lambda sum d log d

so that ``h`` alone decides, and a Newton method in ``h`` (for the linear program, a change of basis) from where the
solver stopped ends at rounding error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from agents.retraining.model import Bools, Floats, Ints

_MAX_STEPS = 50
#: Relative error of the flow constraints at which a step more would only move rounding errors about.
_CLOSE = 1e-14
#: Shortest share of a Newton step that is tried.
_SHORTEST = 1e-10
#: Share of the largest diagonal entry added to a singular matrix (a state whose pairs are all at zero).
_RIDGE = 1e-14


def polish_quadratic(
    flow: sp.csc_array, supply: Floats, rewards: Floats, weight: float, row_of: Ints, h: Floats, active: Bools
) -> tuple[Floats, Floats]:
    """Return ``d`` and ``h`` of the program with ``Omega = weight/2 |d|^2``, by exchange of the pairs that carry mass.

    Semismooth Newton steps: solve for the ``h`` with which exactly the active pairs carry mass, take those with a
    positive advantage, until they stay the same. The best pair of every state always counts. So the equations are never
    singular, and states to which no mass comes get the values of their best policy, as in policy iteration. From a
    start too far away the steps may go round in circles and end anywhere: look at the residual.

    Args:
        flow: ``[m, n]``.
        supply: ``[m]``.
        rewards: ``[n]``.
        weight: ``lambda > 0``.
        row_of: the row of ``flow`` each pair leaves from, ascending, ``[n]``.
        h: where to start.
        active: bool ``[n]``: pairs taken to carry mass at first.
    """
    first = np.flatnonzero(np.diff(row_of, prepend=-1))

    def carrying(advantages: Floats) -> Bools:
        best = np.maximum.reduceat(advantages, first)[row_of]
        return np.asarray((advantages > 0.0) | (advantages >= best))

    advantages = rewards - flow.T @ h
    active = active | carrying(advantages)
    for step in range(_MAX_STEPS):
        used = flow[:, np.flatnonzero(active)]
        factors = _factorise(used @ used.T)
        h = h + factors.solve(used @ advantages[active] - weight * supply)
        advantages = rewards - flow.T @ h
        carry = carrying(advantages)
        # Among pairs without mass that are equally good, rounding may go on choosing for ever.
        missing = float(np.abs(flow @ np.maximum(advantages, 0.0) - weight * supply).max())
        if (carry == active).all() or missing <= _CLOSE * (1.0 + float(np.abs(h).max())) or step == _MAX_STEPS - 1:
            break
        active = carry
    # The flow constraints once more, for d alone: dividing by a small weight has magnified the rounding of h.
    d = np.where(active, advantages, 0.0) / weight
    for _ in range(2):
        d[active] -= used.T @ factors.solve(used @ d[active] - supply)
    return np.maximum(d, 0.0), h


def polish_entropy(
    flow: sp.csc_array, supply: Floats, rewards: Floats, weight: float, h: Floats
) -> tuple[Floats, Floats]:
    """Return ``d`` and ``h`` of the program with ``Omega = weight sum d log d``.

    Damped Newton steps from ``h`` on the dual ``b.h + weight sum_i d_i(h)``.
    """

    def dual(h: Floats) -> tuple[float, Floats, Floats]:
        with np.errstate(over="ignore", invalid="ignore"):  # a step too far is infinitely bad
            d = np.exp((rewards - flow.T @ h) / weight - 1.0)
            return float(supply @ h + weight * d.sum()), d, flow @ d - supply

    value, d, excess = dual(h)
    best = (np.inf, h, d)
    for _ in range(_MAX_STEPS):
        error = float(np.abs(excess).max())
        best = min(best, (error, h, d), key=lambda found: found[0])
        if error <= _CLOSE * (1.0 + float(d.max())):
            break
        step = weight * _factorise((flow * d[None, :]) @ flow.T).solve(excess)
        # Near the end the values agree to rounding; whole steps are right there, even if the error rises for a while.
        slope, size, rounding = float(excess @ step), 1.0, 1e-13 * (1.0 + abs(value))
        while size > _SHORTEST:
            trial = dual(h + size * step)
            if trial[0] <= value - 1e-4 * size * slope + rounding:
                break
            size *= 0.5
        else:
            break  # nothing is better than where we are: this is as far as floating point goes
        h = h + size * step
        value, d, excess = trial
    return best[2], best[1]


def polish_linear(
    flow: sp.csc_array, supply: Floats, rewards: Floats, row_of: Ints, h: Floats
) -> tuple[Floats, Floats]:
    """Return a vertex ``d`` and ``h`` of the linear program: one pair per state, exchanged until none is better.

    Args:
        flow: ``[m, n]``.
        supply: ``[m]``.
        rewards: ``[n]``.
        row_of: the row of ``flow`` each pair leaves from, ascending, ``[n]``.
        h: where to start.
    """
    first = np.flatnonzero(np.diff(row_of, prepend=-1))
    advantages = rewards - flow.T @ h
    chosen = _best_pair(advantages, row_of, first)
    while True:
        factors = splu(sp.csc_array(flow[:, chosen]))
        h = factors.solve(rewards[chosen], "T")
        advantages = rewards - flow.T @ h
        better = _best_pair(advantages, row_of, first)
        gain = advantages[better] > 1e-13 * (np.abs(rewards).max() + np.abs(h).max())
        if not gain.any():
            d = np.zeros_like(rewards)
            d[chosen] = np.maximum(factors.solve(supply), 0.0)
            return d, h
        chosen = np.where(gain, better, chosen)


def _best_pair(advantages: Floats, row_of: Ints, first: Ints) -> Ints:
    """Return the pair with the largest advantage of every state."""
    order = np.lexsort((-advantages, row_of))
    return order[first]


def _factorise(matrix: sp.csc_array) -> Any:
    ridge = _RIDGE * max(float(matrix.diagonal().max()), 1e-300)
    return splu(sp.csc_array(matrix + ridge * sp.eye_array(matrix.shape[0], format="csc")))
