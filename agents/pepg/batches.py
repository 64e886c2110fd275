"""What PePG learns from: visited state-action pairs, and the policy as a table over all states."""

from __future__ import annotations

from typing import NamedTuple

import torch
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor


class PePGBatch(NamedTuple):
    """What the loss is computed from, for ``n`` visited state-action pairs.

    ``weights`` average to 1 over a rollout: they turn visits into the discounted occupancy, or are all 1. ``states``
    are the indices of the visited states ``[n]`` in a tabular world, ``None`` elsewhere.
    """

    observations: PyTorchObs
    actions: Tensor
    advantages: Tensor
    returns: Tensor
    old_log_prob: Tensor
    weights: Tensor
    states: Tensor | None


class Evaluated(NamedTuple):
    """A batch under the current policy: values and log-probabilities ``[n]``, entropies ``[n]`` if known."""

    values: Tensor
    log_prob: Tensor
    entropy: Tensor | None


class PolicyTable(NamedTuple):
    """Policy and critic at every state of a tabular world."""

    log_probs: Tensor
    """``log pi(a|s)``, ``[S, A]``."""
    values: Tensor
    """``V(s)``, ``[S]``."""

    @property
    def probs(self) -> Tensor:
        """``pi(a|s)``, ``[S, A]``, with gradient."""
        return self.log_probs.exp()

    def at(self, states: Tensor, actions: Tensor) -> Evaluated:
        """Look visited pairs up, ``[n]`` each."""
        entropies = -(self.probs * self.log_probs).sum(-1)
        pairs = states * self.log_probs.shape[1] + actions
        return Evaluated(
            self.values.index_select(0, states),
            self.log_probs.flatten().index_select(0, pairs),
            entropies.index_select(0, states),
        )

    def act(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw an action in each of ``n`` states; return actions, values and log-probabilities, ``[n]`` each."""
        log_probs = self.log_probs.index_select(0, states)
        actions = torch.multinomial(log_probs.exp(), 1)
        return actions[:, 0], self.values.index_select(0, states), log_probs.gather(1, actions)[:, 0]
