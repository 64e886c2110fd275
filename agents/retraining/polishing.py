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

from collections.abc import Callable
from typing import Any, NamedTuple

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


class Response(NamedTuple):
    """What the advantages ``A`` of the pairs say: ``max_d (A.d - Omega(d))``, its maximiser, and ``dd/dA``."""

    value: float
    d: Floats
    curvature: Floats


def polish_quadratic(
    flow: sp.csc_array, supply: Floats, rewards: Floats, weight: float, row_of: Ints, h: Floats, active: Bools
) -> tuple[Floats, Floats]:
    """Return ``d`` and ``h`` of the program with ``Omega = weight/2 |d|^2``, by a semismooth Newton method from ``h``.

    The first step takes the ``active`` pairs for those that carry mass. The best pair of every state always counts, so
    that the equations are never singular.

    Args:
        flow: ``[m, n]``.
        supply: ``[m]``.
        rewards: ``[n]``.
        weight: ``lambda > 0``.
        row_of: the row of ``flow`` each pair leaves from, ascending, ``[n]``.
        h: where to start.
        active: bool ``[n]``.
    """
    first = np.flatnonzero(np.diff(row_of, prepend=-1))

    def best(advantages: Floats) -> Bools:
        return np.asarray(advantages >= np.maximum.reduceat(advantages, first)[row_of])

    def respond(advantages: Floats) -> Response:
        d = np.maximum(advantages, 0.0) / weight
        return Response(0.5 * float(advantages @ d), d, ((d > 0.0) | best(advantages)) / weight)

    advantages = rewards - flow.T @ h
    active = active | best(advantages)
    used = flow[:, np.flatnonzero(active)]
    factors = _factorise(used @ used.T)
    h = h + factors.solve(used @ advantages[active] - weight * supply)
    advantages = rewards - flow.T @ h
    if ((advantages > 0.0) != active).any():
        h, _ = _newton(flow, supply, rewards, respond, h)
        advantages = rewards - flow.T @ h
        active = advantages > 0.0
        used = flow[:, np.flatnonzero(active)]
        factors = _factorise(used @ used.T)
    # The flow constraints once more, for d alone: dividing by a small weight has magnified the rounding of h.
    d = np.where(active, advantages, 0.0) / weight
    for _ in range(2):
        d[active] -= used.T @ factors.solve(used @ d[active] - supply)
    return np.maximum(d, 0.0), h


def polish_entropy(
    flow: sp.csc_array, supply: Floats, rewards: Floats, weight: float, h: Floats
) -> tuple[Floats, Floats]:
    """Return ``d`` and ``h`` of the program with ``Omega = weight sum d log d``, by damped Newton steps from ``h``."""

    def respond(advantages: Floats) -> Response:
        with np.errstate(over="ignore"):
            d = np.exp(advantages / weight - 1.0)
        return Response(weight * float(d.sum()), d, d / weight)

    h, d = _newton(flow, supply, rewards, respond, h)
    return d, h


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
        gain = advantages[better] > 1e-13 * (1.0 + np.abs(h).max())
        if not gain.any():
            d = np.zeros_like(rewards)
            d[chosen] = np.maximum(factors.solve(supply), 0.0)
            return d, h
        chosen = np.where(gain, better, chosen)


def _newton(
    flow: sp.csc_array, supply: Floats, rewards: Floats, respond: Callable[[Floats], Response], h: Floats
) -> tuple[Floats, Floats]:
    """Minimise the dual ``b.h + max_d (A(h).d - Omega(d))`` by damped Newton steps; return ``h`` and the best ``d``."""

    def at(h: Floats) -> tuple[float, Response, Floats]:
        response = respond(rewards - flow.T @ h)
        return float(supply @ h) + response.value, response, flow @ response.d - supply

    value, response, excess = at(h)
    for _ in range(_MAX_STEPS):
        error = float(np.abs(excess).max())
        if error <= _CLOSE * (1.0 + float(response.d.max())):
            break
        step = _factorise((flow * response.curvature[None, :]) @ flow.T).solve(excess)
        slope, size, rounding = float(excess @ step), 1.0, 1e-13 * (1.0 + abs(value))
        while size > _SHORTEST:
            trial = at(h + size * step)
            # Near the end the values agree to rounding, and only the flow constraints tell better from worse.
            closer = float(np.abs(trial[2]).max()) < error and trial[0] <= value + rounding
            if trial[0] <= value - 1e-4 * size * slope - rounding or closer:
                break
            size *= 0.5
        else:
            break  # nothing is better than where we are: this is as far as floating point goes
        h = h + size * step
        value, response, excess = trial
    return h, response.d


def _best_pair(advantages: Floats, row_of: Ints, first: Ints) -> Ints:
    """Return the pair with the largest advantage of every state."""
    order = np.lexsort((-advantages, row_of))
    return order[first]


def _factorise(matrix: sp.csc_array) -> Any:
    ridge = _RIDGE * max(float(matrix.diagonal().max()), 1e-300)
    return splu(sp.csc_array(matrix + ridge * sp.eye_array(matrix.shape[0], format="csc")))
