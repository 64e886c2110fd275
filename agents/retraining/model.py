"""A decision problem that stands still, as the occupancy program reads it: exact, or what samples say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from perf_envs import Dynamics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TabularModel:
    """Transitions and rewards of every state-action pair; pair ``(s, a)`` is row ``s * A + a``.

    Attributes:
        transitions: sparse ``[S * A, S]``; rows of available pairs sum to 1, the others are not read.
        rewards: ``[S, A]``.
        available: bool ``[S, A]``: pairs about which anything is known. The others carry no mass.
        absorbing: bool ``[S]``: states in which nothing is decided any more.
    """

    transitions: sp.csr_array
    rewards: Floats
    available: Bools
    absorbing: Bools

    def __post_init__(self) -> None:
        """Give every transition one entry."""
        self.transitions.sum_duplicates()

    @classmethod
    def from_dynamics(cls, dynamics: Dynamics) -> TabularModel:
        """Return exact dynamics as a model in which every pair is available."""
        probs = dynamics.probs.detach().numpy()
        n_states, n_actions, n_outcomes = probs.shape
        rows = np.repeat(np.arange(n_states * n_actions), n_outcomes)
        entries = (probs.ravel(), (rows, dynamics.expanded_successors().numpy().ravel()))
        transitions = sp.csr_array(entries, shape=(n_states * n_actions, n_states))
        absorbing = dynamics.absorbing.numpy()
        available = np.broadcast_to(~absorbing[:, None], (n_states, n_actions)).copy()
        return cls(transitions, dynamics.rewards.detach().numpy(), available, absorbing)

    @property
    def n_states(self) -> int:
        """Number of states ``S``."""
        return int(self.rewards.shape[0])

    @property
    def n_actions(self) -> int:
        """Number of actions ``A``."""
        return int(self.rewards.shape[1])

    def reachable_pairs(self, rho: Floats) -> Ints:
        """Return the pairs that an occupancy from the start distribution can give mass to.

        Left out are pairs that no policy reaches, and pairs that may lead into a dead end: a state that is not
        absorbing and has no pair left, from which mass could not go on.

        Raises:
            ValueError: the start itself is a dead end, so that there is no occupancy at all.
        """
        usable = (self.available & ~self.absorbing[:, None]).ravel()
        state_of = np.repeat(np.arange(self.n_states), self.n_actions)
        leads = self.transitions.copy()
        leads.data = (leads.data > 0.0).astype(np.float64)
        while True:
            alive = np.bincount(state_of[usable], minlength=self.n_states) > 0
            dead = ~alive & ~self.absorbing
            into_dead_end = usable & (leads @ dead.astype(np.float64) > 0.0)
            if not into_dead_end.any():
                break
            usable &= ~into_dead_end
        stuck = np.flatnonzero(dead & (rho > 0.0))
        if stuck.size:
            raise ValueError(
                f"the occupancy program is infeasible: state {stuck[0]} is a start state, but every action there is "
                "unavailable or may lead into a state without available actions"
            )
        reached = rho > 0.0
        moves = leads.multiply(usable[:, None]).tocsr()
        while True:
            wider = reached | (moves.T @ (usable & reached[state_of]).astype(np.float64) > 0.0)
            if (wider == reached).all():
                return np.flatnonzero(usable & reached[state_of])
            reached = wider
