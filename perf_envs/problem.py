"""Performative problems: the mathematical object behind a world. No state, no randomness."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.pickling import PickledByValue
from perf_envs.policies.base import Policy, PolicySpace
from perf_envs.policies.tabular import Table, TablePolicies
from perf_envs.tensor_checks import as_floats, as_policy, check_distributions
from perf_envs.validation import check_count, check_number

if TYPE_CHECKING:
    from perf_envs.exact.optima import BestKnown

P = TypeVar("P", bound=Policy)


@runtime_checkable
class Problem(Protocol[P]):
    """What may be known about a performative environment: how it responds to a policy, and what policies are worth.

    An environment that offers one has it as its attribute ``problem``. Policies are those of ``policies``, in any form
    that it reads. ``value``, ``stability_gap`` and ``best_known`` return ``None`` where nothing is known.
    """

    gamma: float

    @property
    def is_random(self) -> bool:
        """Whether the response to a deployment is drawn; ``response`` is then the one without chance."""

    @property
    def policies(self) -> PolicySpace[P]:
        """The policies that can be deployed."""

    def response(self, policy: Any) -> Any:
        """Return the response to a policy (a :class:`perf_envs.rounds.Response`), with gradient where it has one."""

    def unshifted(self) -> Any:
        """Return what is in force before any deployment."""

    def reward_range(self, response: Any) -> tuple[float, float]:
        """Return the lowest and the highest expected reward of a step in a response."""

    def value(self, policy: Any) -> float | None:
        """Return the performative value of a policy."""

    def stability_gap(self, policy: Any) -> float | None:
        """Return what the best policy in the response to a policy would earn more than the policy itself."""

    def best_known(self) -> BestKnown | None:
        """Return the best policy known."""


class ResponseMap(PickledByValue):
    """How a world responds to a deployed policy: a differentiable map ``pi -> Dynamics``.

    Subclasses implement :meth:`respond`, and :meth:`unshifted` where the world before the first deployment is not the
    response to the uniform policy. Where it is random (``is_random``) they implement :meth:`draw` and
    :meth:`realisations` as well.
    """

    n_states: int
    n_actions: int
    is_random: bool = False

    def __call__(self, pi: object) -> Dynamics:
        """Check the policy ``[S, A]`` and return the world's response to it."""
        return self.respond(as_policy(pi, self.n_states, self.n_actions))

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the response to a valid float64 policy table ``[S, A]``."""
        raise NotImplementedError(f"{type(self).__name__} must implement respond(pi), the world's response to a policy")

    def unshifted(self) -> Dynamics:
        """Return the world before anything was deployed."""
        return self.respond(torch.full((self.n_states, self.n_actions), 1.0 / self.n_actions, dtype=torch.float64))

    def draw(self, pi: Tensor, rng: np.random.Generator) -> Dynamics:
        """Return the response to one deployment of a valid policy table, which may be random."""
        return self.respond(pi)

    def realisations(self) -> tuple[ResponseMap, ...]:
        """Return the maps without chance over which exact values of this one are averaged: itself, if it has none."""
        return (self,)


class ConstantResponse(ResponseMap):
    """A world that stands still: differentiable, with gradient zero.

    Args:
        dynamics: the response to every policy.
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics.detach()
        self.n_states, self.n_actions = dynamics.n_states, dynamics.n_actions

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the same dynamics for every ``pi``."""
        return self.dynamics.trusted(rewards=self.dynamics.rewards + 0.0 * pi)


class _FunctionResponse(ResponseMap):
    """A plain function as a response map."""

    def __init__(self, function: Callable[[Tensor], Dynamics], n_states: int, n_actions: int) -> None:
        self.function, self.n_states, self.n_actions = function, n_states, n_actions

    def respond(self, pi: Tensor) -> Dynamics:
        return self.function(pi)


class PerformativeMDP(PickledByValue):
    """A performative Markov decision process: a response map, a start distribution and a discount.

    Args:
        response: a :class:`ResponseMap`, or any callable ``pi -> Dynamics`` (its unshifted world is its response to
            the uniform policy).
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

    @property
    def policies(self) -> TablePolicies:
        """The policies that can be deployed: tables ``[S, A]``."""
        return TablePolicies(self.n_states, self.n_actions)

    def response(self, pi: object) -> Dynamics:
        """Return the response to ``pi [S, A]``: dynamics that carry the gradient with respect to ``pi``."""
        return self._complete(self.response_map.respond(self._checked(pi)))

    def draw(self, pi: object, rng: np.random.Generator) -> Dynamics:
        """Return the response to one deployment: :meth:`response`, unless the world responds at random."""
        return self._complete(self.response_map.draw(self._checked(pi), rng))

    def _checked(self, pi: object) -> Tensor:
        """Return a policy as a tensor; a :class:`perf_envs.policies.Table` has been checked when it was made."""
        if isinstance(pi, Table) and pi.probs.shape == (self.n_states, self.n_actions):
            return pi.tensor()
        return as_policy(pi, self.n_states, self.n_actions)

    @property
    def is_random(self) -> bool:
        """Whether the world responds to deployments at random."""
        return self.response_map.is_random

    @property
    def realisations(self) -> tuple[PerformativeMDP, ...]:
        """The problems over which exact values are averaged: this one, unless the world responds at random."""
        if not self.is_random:
            return (self,)
        return tuple(PerformativeMDP(one, self.rho, self.gamma) for one in self.response_map.realisations())

    def unshifted(self) -> Dynamics:
        """Return the world of round 0, before any deployment."""
        return self._complete(self.response_map.unshifted())

    def _complete(self, dynamics: Dynamics) -> Dynamics:
        if dynamics.n_states != self.n_states:
            raise ValueError(f"the response has {dynamics.n_states} states but rho has {self.n_states}")
        return dynamics.trusted(gamma=self.gamma, rho=self.rho)

    # -- what policies are worth ----------------------------------------------------------------------------------

    def reward_range(self, response: Dynamics) -> tuple[float, float]:
        """Return the lowest and the highest expected reward of all states and actions."""
        return float(response.rewards.min()), float(response.rewards.max())

    def value(self, policy: object) -> float:
        """Return the performative value of a policy, exactly; see :func:`perf_envs.exact.performative_value`."""
        from perf_envs import exact

        with torch.no_grad():
            return float(exact.performative_value(self, self.policies.read(policy)))

    def stability_gap(self, policy: object) -> float:
        """Return the stability gap of a policy, exactly; see :func:`perf_envs.exact.stability_gap`."""
        from perf_envs import exact

        return exact.stability_gap(self, self.policies.read(policy))

    def best_known(self) -> BestKnown | None:
        """Return the best policy shipped for this world, ``None`` if there is none."""
        from perf_envs.exact.optima import find_shipped

        return find_shipped(self)
