"""Response wrappers: the same worlds, answering less smoothly than their maps, for testing how robust an agent is.

A wrapped world answers what it *perceives* of the deployed policy, ``F(g(pi))``:

* ``piecewise-linear``: every probability passes through a piecewise linear curve and rows are scaled to sum to 1. The
  answer is continuous with kinks; gradients exist almost everywhere, at a kink the one to the right is taken.
* ``quantised``: the nearest table whose probabilities are multiples of ``1 / levels``. The answer is piecewise
  constant: its gradient is 0 almost everywhere and says nothing, so by default none is passed on and performative
  gradients are refused; ``surrogate="straight-through"`` passes on the gradient as if perception were exact.
* ``noisy``: at each deployment the world mistakes ``pi`` for ``pi exp(noise z)``, rows scaled to sum to 1, with fresh
  standard normal ``z [S, A]``. ``problem.response`` is the answer without noise; the exact performative value and its
  gradient are averages over ``n_samples`` draws of ``z`` that stay the same (``problem.realisations``).

A world that moves gradually is not among them: every world has ``adaptation_rate``. Environments take a wrapper, or
several, as argument ``response_wrapper`` (:func:`wrap_response` says in which forms).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.problem import PerformativeMDP, ResponseMap
from perf_envs.validation import check_choice, check_count, check_number

#: One wrapper by name, with settings, or several, the first next to the world.
Wrapping = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]

#: Shares of a step of the grid closer than this are equal, so that rounding cannot decide which one is rounded up.
_TIE_DIGITS = 9


class PerceivedResponse(ResponseMap):
    """The answer of a world to what it perceives of the policy. Attributes of the wrapped map are at hand as well.

    Args:
        response: the map that is wrapped.
    """

    def __init__(self, response: ResponseMap) -> None:
        self.wrapped = response
        self.n_states, self.n_actions = response.n_states, response.n_actions
        self.is_random = response.is_random

    def __getattr__(self, name: str) -> Any:
        """Fall back to the wrapped map."""
        if name.startswith("_") or name == "wrapped":
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    def perceive(self, pi: Tensor) -> Tensor:
        """Return the policy table ``[S, A]`` that the world sees when ``pi`` is deployed."""
        raise NotImplementedError(f"{type(self).__name__} must implement perceive(pi), what the world sees of a policy")

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the wrapped map's answer to what is perceived of ``pi``."""
        return self.wrapped.respond(self.perceive(pi))

    def unshifted(self) -> Dynamics:
        """Return the wrapped map's world before any deployment."""
        return self.wrapped.unshifted()

    def draw(self, pi: Tensor, rng: np.random.Generator) -> Dynamics:
        """Return the answer to one deployment."""
        return self.wrapped.draw(self.perceive(pi), rng)

    def realisations(self) -> tuple[ResponseMap, ...]:
        """Return this wrapper around each of the maps that the wrapped one may turn out to be."""
        return tuple(self._around(response) for response in self.wrapped.realisations())

    def _around(self, response: ResponseMap) -> ResponseMap:
        twin = copy.copy(self)
        twin.wrapped, twin.is_random = response, response.is_random
        return twin


class PiecewiseLinearResponse(PerceivedResponse):
    """Probabilities are perceived through a piecewise linear curve.

    Args:
        response: the map that is wrapped.
        points: corners ``(probability, perceived)`` of the curve: probabilities increasing from 0 to 1, perceived ones
            non-decreasing and positive wherever the probability is. The default plays down what is done rarely and
            takes what is done mostly for a rule.

    Raises:
        ValueError: ``points`` are no such curve.
    """

    def __init__(
        self,
        response: ResponseMap,
        points: Sequence[Sequence[float]] = ((0.0, 0.0), (0.25, 0.1), (0.75, 0.9), (1.0, 1.0)),
    ) -> None:
        super().__init__(response)
        self.points = _check_curve(points)
        corners = torch.tensor(self.points, dtype=torch.float64)
        self._at: Tensor = corners[:, 0].contiguous()
        self._perceived: Tensor = corners[:, 1].contiguous()
        self._slopes: Tensor = self._perceived.diff() / self._at.diff()

    def perceive(self, pi: Tensor) -> Tensor:
        """Return the table seen through the curve, rows scaled to sum to 1."""
        piece = torch.searchsorted(self._at, pi.detach(), right=True).sub(1).clamp(0, len(self._slopes) - 1)
        seen = self._perceived[piece] + self._slopes[piece] * (pi - self._at[piece])
        return seen / seen.sum(-1, keepdim=True)


class QuantisedResponse(PerceivedResponse):
    """Probabilities are perceived in steps of ``1 / levels``.

    Each row is rounded down to the grid; the steps that are missing go to the largest remainders, to the first action
    among equal ones. That is the nearest table on the grid, and its rows sum to 1.

    Args:
        response: the map that is wrapped.
        levels: steps between 0 and 1.
        surrogate: ``None`` passes no gradient on; ``"straight-through"`` that of the wrapped map at the perceived
            policy, as if perception were exact.
    """

    def __init__(self, response: ResponseMap, levels: int = 4, surrogate: str | None = None) -> None:
        super().__init__(response)
        self.levels = check_count("levels", levels)
        if surrogate is not None:
            check_choice("surrogate", surrogate, ("straight-through",))
        self.surrogate = surrogate

    def perceive(self, pi: Tensor) -> Tensor:
        """Return the nearest table on the grid."""
        scaled = self.levels * pi.detach()
        whole = torch.floor(scaled + 10.0**-_TIE_DIGITS)
        remainders = (scaled - whole).round(decimals=_TIE_DIGITS)
        missing = self.levels - whole.sum(-1, keepdim=True)
        rank = torch.argsort(torch.argsort(remainders, dim=-1, descending=True, stable=True), dim=-1)
        seen: Tensor = (whole + (rank < missing)) / self.levels
        return seen if self.surrogate is None else seen + (pi - pi.detach())


class NoisyResponse(PerceivedResponse):
    """At each deployment another policy is perceived, at random around the deployed one.

    Args:
        response: the map that is wrapped.
        noise: standard deviation of the logits of what is perceived, >= 0.
        n_samples: draws over which exact values are averaged.
        seed: of those draws. The draws that an environment makes depend on its own seed and on the round.
    """

    def __init__(self, response: ResponseMap, noise: float = 0.5, n_samples: int = 16, seed: int = 0) -> None:
        super().__init__(response)
        self.noise = check_number("noise", noise, at_least=0.0)
        self.n_samples = check_count("n_samples", n_samples)
        self.seed = check_count("seed", seed, at_least=0)
        self.is_random = True

    def perceive(self, pi: Tensor) -> Tensor:
        """Return the policy as it is: what is perceived without noise."""
        return pi

    def draw(self, pi: Tensor, rng: np.random.Generator) -> Dynamics:
        """Return the answer to one deployment, in which the noise comes from ``rng``."""
        return self._drawn(self.wrapped, rng).draw(pi, rng)

    def realisations(self) -> tuple[ResponseMap, ...]:
        """Return ``n_samples`` maps with given noise, for each of the maps that the wrapped one may turn out to be."""
        rng = np.random.default_rng(self.seed)
        return tuple(
            self._drawn(response, rng) for _ in range(self.n_samples) for response in self.wrapped.realisations()
        )

    def _drawn(self, response: ResponseMap, rng: np.random.Generator) -> DisturbedResponse:
        factors = np.exp(self.noise * rng.standard_normal((self.n_states, self.n_actions)))
        return DisturbedResponse(response, factors)


class DisturbedResponse(PerceivedResponse):
    """Probabilities are perceived as multiples of what they are, rows scaled to sum to 1: noise once it has been drawn.

    Args:
        response: the map that is wrapped.
        factors: positive, ``[S, A]``.
    """

    def __init__(self, response: ResponseMap, factors: NDArray[np.float64]) -> None:
        super().__init__(response)
        self._factors = torch.from_numpy(factors)

    def perceive(self, pi: Tensor) -> Tensor:
        """Return the disturbed table."""
        seen = pi * self._factors
        return seen / seen.sum(-1, keepdim=True)


_WRAPPERS: dict[str, Callable[..., PerceivedResponse]] = {
    "piecewise-linear": PiecewiseLinearResponse,
    "quantised": QuantisedResponse,
    "noisy": NoisyResponse,
}


def wrap_response(problem: PerformativeMDP, wrapping: Wrapping | None) -> PerformativeMDP:
    """Return the problem with its response map wrapped; the problem itself for ``None``.

    Args:
        problem: a tabular performative problem.
        wrapping: the name of a wrapper, ``"piecewise-linear"``, ``"quantised"`` or ``"noisy"``; or a dictionary with
            its ``name`` and its settings, such as ``{"name": "quantised", "levels": 5}``; or a list of these, of which
            the first is next to the world and the last sees the policy first. All of it can be written as JSON.

    Raises:
        ValueError: unknown name or setting (the nearest one is named), or a setting out of range.
    """
    if wrapping is None:
        return problem
    response = problem.response_map
    for one in [wrapping] if isinstance(wrapping, str | Mapping) else _as_list(wrapping):
        response = _wrap(response, one)
    return PerformativeMDP(response, problem.rho, problem.gamma)


def _as_list(wrapping: object) -> list[Any]:
    if not isinstance(wrapping, Sequence):
        raise ValueError(f"response_wrapper must be a name, a dictionary or a list of these, got {wrapping!r}")
    return list(wrapping)


def _wrap(response: ResponseMap, wrapping: object) -> ResponseMap:
    settings: dict[str, Any] = {"name": wrapping} if isinstance(wrapping, str) else {}
    if isinstance(wrapping, Mapping):
        settings = dict(wrapping)
    if "name" not in settings:
        raise ValueError(f"response_wrapper must be a name or a dictionary with a 'name', got {wrapping!r}")
    name = check_choice("response_wrapper", settings.pop("name"), _WRAPPERS)
    known = list(inspect.signature(_WRAPPERS[name]).parameters)[1:]
    for setting in settings:
        check_choice(f"setting of response_wrapper {name!r}", setting, known)
    return _WRAPPERS[name](response, **settings)


def _check_curve(points: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    try:
        corners = tuple((float(at), float(perceived)) for at, perceived in points)
    except (TypeError, ValueError):
        raise ValueError(f"points must be pairs (probability, perceived), got {points!r}") from None
    at, perceived = (np.array(part) for part in zip(*corners, strict=True)) if corners else (np.zeros(0), np.zeros(0))
    if len(corners) < 2 or at[0] != 0.0 or at[-1] != 1.0 or not (np.diff(at) > 0.0).all():
        raise ValueError(f"points must have probabilities that increase from 0 to 1, got {points!r}")
    if not np.isfinite(perceived).all() or perceived[0] < 0.0 or not (np.diff(perceived) >= 0.0).all():
        raise ValueError(f"points must have perceived probabilities >= 0 that do not fall, got {points!r}")
    if not perceived[1] > 0.0:
        raise ValueError(f"points must perceive every probability above 0 as above 0, got {points!r}")
    return corners
