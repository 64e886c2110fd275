"""Policies of tabular worlds: a probability for every state and action."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from perf_envs.policies.asking import detached
from perf_envs.policies.base import Floats, Policy, PolicySpace
from perf_envs.policies.models import (
    ask_for_probabilities,
    asked_one_by_one,
    count_observations,
    has_distribution,
    predicted,
)
from perf_envs.sampling import cumulative, draw
from perf_envs.tensor_checks import as_policy
from perf_envs.validation import check_number, check_numbered_from_zero

#: What a policy may be.
FORMS = (
    "an array [states, actions], a callable observation -> probabilities, or a model with Stable-Baselines3's predict"
)


class Table(Policy):
    """Probabilities of the actions in every state.

    Args:
        probs: ``[S, A]``, float64; the caller has checked them (:meth:`TablePolicies.read` does).
    """

    def __init__(self, probs: Floats) -> None:
        self._probs = probs.copy()
        self._probs.setflags(write=False)

    @property
    def probs(self) -> Floats:
        """``pi(a|s)``, ``[S, A]``, read-only."""
        return self._probs

    @property
    def array(self) -> Floats:
        """The same as :attr:`probs`."""
        return self._probs

    def tensor(self) -> Tensor:
        """Return the probabilities as a tensor ``[S, A]`` of its own."""
        return torch.from_numpy(self._probs.copy())

    def __call__(self, where: Any) -> Floats:
        """Return the probabilities of the actions ``[A]`` in a state, or ``[n, A]`` in several."""
        probs: Floats = self._probs[where].copy()
        return probs

    def __repr__(self) -> str:
        return f"Table({self._probs.shape[0]} states, {self._probs.shape[1]} actions)"


class TablePolicies(PolicySpace[Table]):
    """The policies of a world with finitely many states and actions; observations are the indices of states.

    Args:
        n_states: number of states ``S``.
        n_actions: number of actions ``A``.
    """

    def __init__(self, n_states: int, n_actions: int) -> None:
        self.n_states, self.n_actions = n_states, n_actions
        self.observations = np.arange(n_states)

    def read(self, policy: Any, observations: Any = None, deterministic: bool = False) -> Table:
        """Return the table of a policy in any of the forms of :func:`policy_table`."""
        if isinstance(policy, Table) and policy.probs.shape == (self.n_states, self.n_actions):
            return policy
        seen = self.observations if observations is None else observations
        return Table(policy_table(policy, seen, self.n_actions, deterministic))

    def from_array(self, array: Any) -> Table:
        """Return the table with the probabilities ``array [S, A]``."""
        return Table(as_policy(array, self.n_states, self.n_actions, "policy").numpy())

    def uniform(self) -> Table:
        """Return the uniform table."""
        return Table(np.full((self.n_states, self.n_actions), 1.0 / self.n_actions))

    def initial(self) -> Table:
        """Return the uniform table."""
        return self.uniform()

    def sample(self, policy: Table, where: Any, rng: np.random.Generator) -> Any:
        """Draw an action in each of the states ``where [n]``; return ``[n]``."""
        return draw(cumulative(policy.probs)[where], rng.random(len(where)))

    def with_random_actions(self, policy: Table, share: float) -> Table:
        """Return the mixture of a table with the uniform one."""
        share = check_number("share", share, at_least=0.0, at_most=1.0)
        return Table((1.0 - share) * policy.probs + share / self.n_actions) if share else policy


def policy_table(policy: Any, observations: Any, n_actions: int, deterministic: bool = False) -> Floats:
    """Return the table ``[S, A]`` of a policy in any of the forms users have it in.

    Args:
        policy: an array or tensor ``[S, A]``; a Stable-Baselines3 model or policy, asked for its action probabilities
            (or, for value-based ones, its greedy action); anything else whose ``predict`` returns an action for every
            observation; or a callable ``observation -> probabilities [A]``.
        observations: the observation of every state, ``[S, ...]`` or a dictionary of such arrays.
        n_actions: number of actions ``A``.
        deterministic: ask models for their deterministic action instead of their probabilities.

    Raises:
        ValueError: ``policy`` is none of these, it has a memory, it fails when it is asked or is for states or actions
            that are not numbered from 0, or what it returns is not a policy table.
    """
    for part in ("observation_space", "action_space"):
        check_numbered_from_zero(f"{part} of the policy", getattr(policy, part, None))
    if isinstance(policy, Policy):
        table: Any = policy.array
    elif has_distribution(policy) and not deterministic:
        table = ask_for_probabilities(policy, observations, FORMS)
    elif hasattr(policy, "predict"):
        table = _one_hot(predicted(policy, observations, FORMS), n_actions)
    elif callable(policy) and not isinstance(policy, torch.Tensor):
        table = [
            _probabilities(policy, *asked, n_actions)
            for asked in asked_one_by_one(policy, observations, FORMS, lambda said: np.asarray(detached(said)))
        ]
    else:
        table = policy
    return as_policy(table, count_observations(observations), n_actions, "policy").detach().cpu().numpy()


def _one_hot(actions: Any, n_actions: int) -> Floats:
    if actions.ndim != 1 or actions.dtype.kind not in "iu" or not ((actions >= 0) & (actions < n_actions)).all():
        raise ValueError(f"actions of the policy must be one of 0..{n_actions - 1} per state, got {actions!r}")
    table: Floats = np.eye(n_actions)[actions]
    return table


def _probabilities(policy: Any, observation: Any, said: Any, row: Any, n_actions: int) -> Any:
    """Return what a callable has said as an array in its own precision, which decides how it is checked."""
    if row.shape != (n_actions,) or row.dtype.kind not in "biufc":
        raise ValueError(
            f"policy must be {FORMS}; got {type(policy).__name__}, which answers observation {observation!r} with "
            f"{said!r} instead of {n_actions} probabilities"
        )
    return row
