"""The dynamics in force between two deployments, in successor-list form.

    P(s' | s, a) = sum_k probs[s, a, k] * [successors[s, (a,) k] = s']
    r(s, a)      = rewards[s, a] = sum_k probs[s, a, k] * outcome_rewards[s, a, k]

An *outcome* ``k`` is one way a step can end: the follower's move in the gridworld, sale or no sale in the market.
Dense worlds have one outcome per state (``K = S``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from perf_envs.pickling import PickledByValue
from perf_envs.tensor_checks import as_floats, as_policy, check_distributions
from perf_envs.validation import check_number


class Shift(NamedTuple):
    """How far a deployment moved the world."""

    transition: float
    """Largest L1 distance between old and new ``P(. | s, a)``, between 0 and 2."""
    reward: float
    """Largest absolute change of ``r(s, a)``, in units of reward."""


@dataclass(frozen=True, eq=False)
class Dynamics(PickledByValue):
    """Transition kernel and expected reward of a tabular world, as float64 tensors that may carry gradients.

    Attributes:
        successors: int64 ``[S, K]`` (shared by the actions) or ``[S, A, K]``; entries in ``0 .. S-1``, repeats allowed.
        probs: float64 ``[S, A, K]``; rows sum to 1.
        rewards: float64 ``[S, A]``, the expected reward of a step.
        outcome_rewards: float64, broadcastable to ``[S, A, K]``: the reward paid when outcome ``k`` happens. ``None``
            where a step pays ``rewards[s, a]`` whatever happens.
        absorbing: bool ``[S]``: states in which an episode has ended. They lead to themselves and pay 0.
        latents: the response in the world's own terms (intervention probabilities, willingness to pay), by name.
        gamma: discount the world is judged with, if it is known.
        rho: float64 ``[S]``, start distribution, if it is known.

    Raises:
        ValueError: from the constructor, naming the field and the offending state and action.
    """

    successors: Tensor
    probs: Tensor
    rewards: Tensor
    outcome_rewards: Tensor | None = None
    absorbing: Tensor = field(default_factory=lambda: torch.tensor(False))
    latents: Mapping[str, Tensor] = field(default_factory=dict)
    gamma: float | None = None
    rho: Tensor | None = None

    def __post_init__(self) -> None:
        """Validate every field."""
        if self.absorbing.dim() == 0:  # the same for all states
            object.__setattr__(self, "absorbing", self.absorbing.expand(len(self.successors)))
        _check_shapes(self)
        check_distributions("probs", self.probs, "state and action")
        if not bool(torch.isfinite(self.rewards.detach()).all()):
            state, action = (~torch.isfinite(self.rewards.detach())).nonzero()[0].tolist()
            value = float(self.rewards[state, action])
            raise ValueError(f"rewards at state {state}, action {action} must be finite, got {value}")
        _check_optional(self)

    @classmethod
    def from_dense(cls, transitions: object, rewards: object, **fields: object) -> Dynamics:
        """Build dynamics from ``P [S, A, S]`` and ``r [S, A]``; further fields as in the constructor."""
        probs = as_floats("transitions", transitions)
        return cls(
            successors=torch.arange(probs.shape[-1]).expand(len(probs), -1),
            probs=probs,
            rewards=as_floats("rewards", rewards),
            **fields,  # type: ignore[arg-type]
        )

    @classmethod
    def from_outcomes(cls, successors: Tensor, probs: Tensor, outcome_rewards: Tensor, **fields: object) -> Dynamics:
        """Build dynamics whose ``rewards`` are the expectation of ``outcome_rewards``."""
        return cls(successors, probs, (probs * outcome_rewards).sum(-1), outcome_rewards, **fields)  # type: ignore[arg-type]

    @property
    def n_states(self) -> int:
        """Number of states ``S``."""
        return self.probs.shape[0]

    @property
    def n_actions(self) -> int:
        """Number of actions ``A``."""
        return self.probs.shape[1]

    @property
    def is_dense(self) -> bool:
        """Whether outcome ``k`` means "the next state is ``k``" everywhere."""
        return (
            self.successors.dim() == 2
            and self.successors.shape[1] == self.n_states
            and bool((self.successors == torch.arange(self.n_states)).all())
        )

    def expanded_successors(self) -> Tensor:
        """Return the successors as ``[S, A, K]`` (a view, no memory of its own)."""
        shared = self.successors.dim() == 2
        return self.successors[:, None, :].expand_as(self.probs) if shared else self.successors

    def dense(self) -> tuple[Tensor, Tensor]:
        """Return ``P [S, A, S]`` and ``r [S, A]``; differentiable. Meant for small worlds and tests."""
        transitions = torch.zeros(self.n_states, self.n_actions, self.n_states, dtype=torch.float64)
        return transitions.scatter_add(-1, self.expanded_successors(), self.probs), self.rewards

    def detach(self) -> Dynamics:
        """Return the same dynamics without autograd history."""
        latents = {name: value.detach() for name, value in self.latents.items()}
        return self.trusted(probs=self.probs.detach(), rewards=self.rewards.detach(), latents=latents)

    def trusted(self, **changes: object) -> Dynamics:
        """Return dynamics with some fields changed by somebody who knows that they stay valid: nothing is checked."""
        twin = object.__new__(Dynamics)
        twin.__dict__.update(self.__dict__ | changes)
        return twin

    def policy_chain(self, pi: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Markov chain of ``pi`` as successors ``[S, M]`` and probabilities ``[S, M]``, differentiable.

        ``M = K`` when the actions share their successors, else ``A * K``.
        """
        if self.successors.dim() == 2:
            return self.successors, torch.einsum("sa,sak->sk", pi, self.probs)
        return self.successors.flatten(1), (pi[:, :, None] * self.probs).flatten(1)

    def expected_next(self, values: Tensor) -> Tensor:
        """Return ``sum_s' P(s'|s,a) values[s']`` as ``[S, A]``."""
        return self.probs @ values if self.is_dense else self.expectation(values[self.successors])

    def changes(self, values: Tensor) -> Tensor:
        """Return ``values[s'] - values[s]`` of every outcome, shaped as the successors, ``[S, K]`` or ``[S, A, K]``."""
        before = values.reshape(-1, *[1] * (self.successors.dim() - 1))
        return values[self.successors] - before

    def expectation(self, outcomes: Tensor) -> Tensor:
        """Return the mean ``[S, A]`` of what depends on the outcome, ``[S, K]`` or ``[S, A, K]``."""
        return torch.einsum("sak,sk->sa" if outcomes.dim() == 2 else "sak,sak->sa", self.probs, outcomes)

    def check_policy(self, pi: object, name: str = "pi") -> Tensor:
        """Return ``pi`` as a float64 tensor ``[S, A]`` or raise ``ValueError``."""
        return as_policy(pi, self.n_states, self.n_actions, name)

    def mix(self, other: Dynamics, weight: float) -> Dynamics:
        """Return ``(1 - weight) * self + weight * other``: a share ``weight`` of the world has moved on."""
        if not torch.equal(self.successors, other.successors):
            raise ValueError("only dynamics over the same successors can be mixed")

        def blend(old: Tensor, new: Tensor) -> Tensor:
            return torch.lerp(old, new, weight)

        return other.trusted(
            probs=blend(self.probs, other.probs),
            rewards=blend(self.rewards, other.rewards),
            latents={name: blend(self.latents[name], value) for name, value in other.latents.items()},
        )

    def shift_from(self, other: Dynamics) -> Shift:
        """Return how far these dynamics are from ``other``."""
        rows = np.repeat(np.arange(self.n_states * self.n_actions), self.probs.shape[2])

        def matrix(dynamics: Dynamics, entries: Tensor) -> sp.csr_array:
            columns = dynamics.expanded_successors().numpy().ravel()
            return sp.csr_array(
                (entries.detach().numpy().ravel(), (rows, columns)), shape=(rows[-1] + 1, self.n_states)
            )

        if torch.equal(self.successors, other.successors):
            difference = matrix(self, self.probs - other.probs)
        else:
            difference = matrix(self, self.probs) - matrix(other, other.probs)
        transition = float(abs(difference).sum(axis=1).max())
        return Shift(transition, float((self.rewards - other.rewards).detach().abs().max()))


def _check_shapes(dynamics: Dynamics) -> None:
    probs, successors, rewards = dynamics.probs, dynamics.successors, dynamics.rewards
    if probs.dim() != 3 or 0 in probs.shape:
        raise ValueError(f"probs must have shape [S, A, K] with no axis empty, got {tuple(probs.shape)}")
    n_states, n_actions, n_outcomes = probs.shape
    if probs.dtype != torch.float64 or rewards.dtype != torch.float64:
        raise ValueError(f"probs and rewards must be float64, got {probs.dtype} and {rewards.dtype}")
    if tuple(successors.shape) not in {(n_states, n_outcomes), tuple(probs.shape)}:
        raise ValueError(
            f"successors must have shape ({n_states}, {n_outcomes}) or {tuple(probs.shape)}, "
            f"got {tuple(successors.shape)}"
        )
    if successors.dtype != torch.int64:
        raise ValueError(f"successors must be int64, got {successors.dtype}")
    if int(successors.min()) < 0 or int(successors.max()) >= n_states:
        where = ((successors < 0) | (successors >= n_states)).nonzero()[0].tolist()
        value = int(successors[tuple(where)])
        raise ValueError(f"successors at {tuple(where)} must be a state in 0..{n_states - 1}, got {value}")
    if tuple(rewards.shape) != (n_states, n_actions):
        raise ValueError(f"rewards must have shape ({n_states}, {n_actions}), got {tuple(rewards.shape)}")


def _check_optional(dynamics: Dynamics) -> None:
    """Check the fields that may be left out."""
    (n_states, _), shape = dynamics.rewards.shape, tuple(dynamics.probs.shape)
    paid = dynamics.outcome_rewards
    if paid is not None and not _broadcasts(tuple(paid.shape), shape):
        raise ValueError(f"outcome_rewards must broadcast to {shape}, got shape {tuple(paid.shape)}")
    if dynamics.gamma is not None:
        check_number("gamma", dynamics.gamma, above=0.0, below=1.0)
    if dynamics.rho is not None:
        if tuple(dynamics.rho.shape) != (n_states,):
            raise ValueError(f"rho must have shape ({n_states},), got {tuple(dynamics.rho.shape)}")
        check_distributions("rho", dynamics.rho, "state")
    absorbing = dynamics.absorbing
    if tuple(absorbing.shape) != (n_states,) or absorbing.dtype != torch.bool:
        raise ValueError(f"absorbing must be bool [{n_states}], got {absorbing.dtype} {tuple(absorbing.shape)}")
    for state in absorbing.nonzero()[:, 0].tolist():
        leaves = (dynamics.probs[state].detach() != 0.0) & (dynamics.successors[state] != state)
        if bool(leaves.any()) or bool((dynamics.rewards[state] != 0.0).any()):
            raise ValueError(f"absorbing state {state} must lead to itself and pay 0")


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    padded = (1,) * (len(target) - len(shape)) + shape
    return len(padded) == len(target) and all(have in (1, want) for have, want in zip(padded, target, strict=True))
