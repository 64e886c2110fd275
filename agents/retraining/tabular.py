"""A policy that is a table, for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from agents.common.spaces import check_spaces
from perf_envs.sampling import cumulative, draw
from perf_envs.tensor_checks import as_policy


class TabularPolicy(BasePolicy):
    """One probability per state and action, ``table [S, A]`` in float64; uniform at first.

    Raises:
        ValueError: states or actions are not ``Discrete``, or not numbered from 0.
    """

    table: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule | None = None,
        **kwargs: Any,
    ) -> None:
        for name, space in (("observation_space", observation_space), ("action_space", action_space)):
            if not isinstance(space, spaces.Discrete):
                raise ValueError(f"{name} of TabularPolicy must be Discrete, got {space}")
        check_spaces(observation_space, action_space)
        super().__init__(observation_space, action_space, **kwargs)
        shape = int(observation_space.n), int(action_space.n)  # type: ignore[attr-defined]
        self.register_buffer("table", torch.full(shape, 1.0 / shape[1], dtype=torch.float64))

    def set_table(self, table: object) -> None:
        """Replace the table by a policy ``[S, A]``."""
        self.table.copy_(as_policy(table, self.table.shape[0], self.table.shape[1], "table").detach())

    def forward(self, observations: Tensor, deterministic: bool = False) -> Tensor:
        """Return actions ``[n]``."""
        return self._predict(observations, deterministic)

    def get_distribution(self, observations: PyTorchObs) -> Distribution:
        """Return the distribution of the actions at observations ``[n]``."""
        rows = self.table[torch.as_tensor(observations).long().flatten()]
        return CategoricalDistribution(self.table.shape[1]).proba_distribution(action_logits=torch.log(rows))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        return self.get_distribution(observation).get_actions(deterministic=deterministic)

    def sample(self, states: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return an action for every state ``[n]``."""
        return draw(cumulative(self.table.numpy())[states], rng.random(len(states)))
