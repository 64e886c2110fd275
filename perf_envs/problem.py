"""Performative Markov decision processes: the mathematical object behind every world. No state, no randomness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.pickling import PickledByValue
from perf_envs.validation import as_floats, as_policy, check_count, check_distributions, check_number


class ResponseMap(PickledByValue):
    """How a world answers a deployed policy: a differentiable map ``pi -> Dynamics``.

    Subclasses implement :meth:`respond`, and :meth:`unshifted` where the world before the first deployment is not the
    answer to the uniform policy. Where deployments are answered at random (``is_random``) they implement :meth:`draw`
    and :meth:`realisations` as well.
    """

    n_states: int
    n_actions: int
    is_random: bool = False

    def __call__(self, pi: object) -> Dynamics:
        """Check the policy ``[S, A]`` and return the world's answer to it."""
        return self.respond(as_policy(pi, self.n_states, self.n_actions))

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the answer to a valid float64 policy table ``[S, A]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement respond(pi), the world's answer to a policy")

    def unshifted(self) -> Dynamics:
        """Return the world before anything was deployed."""
        return self.respond(torch.full((self.n_states, self.n_actions), 1.0 / self.n_actions, dtype=torch.float64))

    def draw(self, pi: Tensor, rng: np.random.Generator) -> Dynamics:
        """Return the answer to one deployment of a valid policy table, which may be random."""
        return self.respond(pi)

    def realisations(self) -> tuple[ResponseMap, ...]:
        """Return the maps without chance over which exact values of this one are averaged: itself, if it has none."""
        return (self,)


class ConstantResponse(ResponseMap):
    """A world that stands still: differentiable, with gradient zero.

    Args:
        dynamics: the answer to every policy.
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics.detach()
        self.n_states, self.n_actions = dynamics.n_states, dynamics.n_actions

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the same dynamics for every ``pi``."""
        return replace(self.dynamics, rewards=self.dynamics.rewards + 0.0 * pi)


class _FunctionResponse(ResponseMap):
    """A plain function as a response map."""

    def __init__(self, function: Callable[[Tensor], Dynamics], n_states: int, n_actions: int) -> None:
        self.function, self.n_states, self.n_actions = function, n_states, n_actions

    def respond(self, pi: Tensor) -> Dynamics:
        return self.function(pi)


class PerformativeMDP(PickledByValue):
    """A performative Markov decision process: a response map, a start distribution and a discount.

    Args:
        response: a :class:`ResponseMap`, or any callable ``pi -> Dynamics`` (its unshifted world is its answer to the
            uniform policy).
        rho: start distribution ``[S]``.
        gamma: discount in (0, 1).
        n_actions: number of actions; needed only where ``response`` is a plain callable, which cannot be asked.

    Raises:
        ValueError: ``rho`` is not a distribution over the states, ``gamma`` is outside (0, 1), or ``n_actions`` is
            missing.
    """

    def __init__(
        self, response: Callable[[Tensor], Dynamics], rho: object, gamma: float, n_actions: int | None = None
    ) -> None:
        self.gamma = check_number("gamma", gamma, above=0.0, below=1.0)
        self.rho = as_floats("rho", rho).clone()
        if self.rho.dim() != 1:
            raise ValueError(f"rho must have shape [S], got {tuple(self.rho.shape)}")
        check_distributions("rho", self.rho, "state")
        if not isinstance(response, ResponseMap):
            if n_actions is None:
                raise ValueError(f"n_actions must be given where the response is a plain callable, got {response!r}")
            response = _FunctionResponse(response, len(self.rho), check_count("n_actions", n_actions))
        self.response_map: ResponseMap = response

    @classmethod
    def fixed(cls, dynamics: Dynamics) -> PerformativeMDP:
        """Return a world that stands still whatever is deployed, from dynamics that carry ``gamma`` and ``rho``."""
        if dynamics.gamma is None or dynamics.rho is None:
            raise ValueError("dynamics must carry gamma and rho: set Dynamics(gamma=..., rho=...)")
        return cls(ConstantResponse(dynamics), dynamics.rho, dynamics.gamma)

    @property
    def n_states(self) -> int:
        """Number of states ``S``."""
        return len(self.rho)

    @property
    def n_actions(self) -> int:
        """Number of actions ``A``."""
        return self.response_map.n_actions

    def response(self, pi: object) -> Dynamics:
        """Return the world's answer to ``pi [S, A]``: dynamics that carry the gradient with respect to ``pi``."""
        return self._complete(self.response_map(pi))

    def draw(self, pi: object, rng: np.random.Generator) -> Dynamics:
        """Return the world's answer to one deployment: :meth:`response`, unless the world answers at random."""
        return self._complete(self.response_map.draw(as_policy(pi, self.n_states, self.n_actions), rng))

    @property
    def is_random(self) -> bool:
        """Whether the world answers deployments at random."""
        return self.response_map.is_random

    @property
    def realisations(self) -> tuple[PerformativeMDP, ...]:
        """The problems over which exact values are averaged: this one, unless the world answers at random."""
        if not self.is_random:
            return (self,)
        return tuple(PerformativeMDP(one, self.rho, self.gamma) for one in self.response_map.realisations())

    def unshifted(self) -> Dynamics:
        """Return the world of round 0, before any deployment."""
        return self._complete(self.response_map.unshifted())

    def _complete(self, dynamics: Dynamics) -> Dynamics:
        if dynamics.n_states != self.n_states:
            raise ValueError(f"the response has {dynamics.n_states} states but rho has {self.n_states}")
        return replace(dynamics, gamma=self.gamma, rho=self.rho)
