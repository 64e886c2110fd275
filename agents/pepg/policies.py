"""Policies that carry the PePG loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn
from torch.nn import functional as F

from agents.common.spaces import check_spaces
from agents.pepg.batches import Evaluated, PePGBatch, PolicyTable
from agents.pepg.response import Answered, WorldAnswer

#: Arguments of actor-critic policies that mean nothing for a table.
_NOT_OF_A_TABLE = ("net_arch", "activation_fn", "ortho_init", "use_sde")


class PePGLoss(NamedTuple):
    """The PePG loss and its terms, scalars; ``total`` is what is minimised."""

    total: Tensor
    policy: Tensor
    response: Tensor
    entropy: Tensor
    value: Tensor


class PePGPolicy(ActorCriticPolicy):
    """Actor-critic policy with the loss of the performative policy gradient.

        loss = - E[ w rho A ]  -  alpha R  -  lambda E[ w H ]  +  c E[ (V - G)^2 ]

    with ``rho`` the probability ratio to the policy the data were collected with (1 at the first gradient step), ``R``
    the world's answer (:class:`agents.pepg.response.WorldAnswer`), ``alpha`` the ``performative_coef`` and ``w`` the
    weight of a visit. With ``alpha = 0`` it is the loss of an advantage actor-critic. Where the dynamics in force are
    known, the first term can be ``-E(theta)`` instead, summed over actions rather than sampled.
    """

    _acting: PolicyTable | None = None

    def tabulate(self, observations: PyTorchObs, with_critic_gradient: bool = True) -> PolicyTable:
        """Return policy and critic at the observations of all states, with gradient; for ``Discrete`` actions."""
        log_probs: Tensor = self.get_distribution(observations).distribution.logits  # type: ignore[union-attr]
        with torch.set_grad_enabled(torch.is_grad_enabled() and with_critic_gradient):
            values = super().predict_values(observations).flatten()
        return PolicyTable(log_probs, values)

    def gaussian(self, observations: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the actions ``[Q, d]``, with gradient; for ``Box`` actions."""
        distribution = self.get_distribution(observations).distribution
        return distribution.mean, distribution.stddev  # type: ignore[union-attr]

    @contextmanager
    def acting_from(self, table: PolicyTable | None) -> Iterator[None]:
        """Collect experience from a table instead of the networks, where observations are the indices of states."""
        self._acting = table
        try:
            yield
        finally:
            self._acting = None

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions, values and log-probabilities of the actions, as in Stable-Baselines3."""
        if self._acting is None or deterministic:
            return super().forward(obs, deterministic)
        return self._acting.act(obs.long().flatten())

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Return the critic's values ``[n, 1]``."""
        if self._acting is None or not isinstance(obs, Tensor):
            return super().predict_values(obs)
        return self._acting.values.index_select(0, obs.long().flatten())[:, None]

    def evaluate_batch(self, batch: PePGBatch) -> Evaluated:
        """Evaluate a batch at its own observations."""
        values, log_prob, entropy = self.evaluate_actions(batch.observations, batch.actions)
        return Evaluated(values.flatten(), log_prob, entropy)

    def pepg_loss(
        self,
        batch: PePGBatch,
        answer: WorldAnswer | None,
        performative_coef: float = 1.0,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        normalize_advantage: bool = False,
        expected: bool = True,
    ) -> PePGLoss:
        """Return the loss on a batch.

        Args:
            batch: visited state-action pairs.
            answer: the world's response map; ``None`` leaves the response term out (myopic gradient).
            performative_coef: weight ``alpha`` of the response term.
            ent_coef: weight ``lambda`` of the entropy, in units of reward.
            vf_coef: weight of the critic's squared error.
            normalize_advantage: centre the advantages of the batch, and divide them *and* ``R`` by their standard
                deviation: divided alone, they would weigh more or less against the answer than the theorem says.
            expected: sum the policy term over the actions, where the world's dynamics are known.
        """
        scale, advantages = 1.0, batch.advantages
        if normalize_advantage and len(advantages) > 1:
            scale = float(advantages.std()) + 1e-8
            advantages = (advantages - advantages.mean()) / scale
        if answer is None:
            answered = Answered(self.evaluate_batch(batch), None, None)
        else:
            answered = answer.evaluate(self, batch, performative_coef != 0.0, expected)
        values, log_prob, entropy = answered.evaluated
        if answered.expected is None:
            policy = -(batch.weights * torch.exp(log_prob - batch.old_log_prob) * advantages).mean()
        else:
            policy = -answered.expected.to(values.device, values.dtype) / scale
        bonus = -(batch.weights * (-log_prob if entropy is None else entropy)).mean()
        value = F.mse_loss(batch.returns, values)
        response = torch.zeros_like(policy)
        if answered.response is not None:
            response = -answered.response.to(policy.device, policy.dtype) / scale
        total = policy + performative_coef * response + ent_coef * bonus + vf_coef * value
        return PePGLoss(total, policy, response, bonus, value)


class PePGCnnPolicy(PePGPolicy, ActorCriticCnnPolicy):
    """PePG's policy for images."""


class PePGMultiInputPolicy(PePGPolicy, MultiInputActorCriticPolicy):
    """PePG's policy for dictionaries of observations."""


class SoftmaxPolicy(PePGPolicy):
    """One logit per state and action, and one value per state: the parametrisation of the theory.

    For ``Discrete`` observations and actions that count from 0. Logits and values start at 0, the uniform policy.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        **kwargs: Any,
    ) -> None:
        for name, space in (("observation_space", observation_space), ("action_space", action_space)):
            if not isinstance(space, spaces.Discrete):
                raise ValueError(f"{name} of SoftmaxPolicy must be Discrete, got {space}")
        check_spaces(observation_space, action_space)
        for name in _NOT_OF_A_TABLE:
            if kwargs.get(name):
                raise ValueError(f"SoftmaxPolicy is a table: it takes no {name}, got {kwargs[name]!r}")
        kwargs |= {"net_arch": [], "ortho_init": False, "features_extractor_class": _OneHot}
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        for table in (self.action_net, self.value_net):
            if isinstance(table, nn.Linear):
                nn.init.zeros_(table.weight)
                # A bias would be a second name for the mean of the table.
                table.bias.requires_grad_(False).zero_()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        return {name: value for name, value in parameters.items() if name not in _NOT_OF_A_TABLE}


class _OneHot(BaseFeaturesExtractor):
    """State indices as unit vectors; Stable-Baselines3 has already encoded them when they get here."""

    def __init__(self, observation_space: spaces.Discrete) -> None:
        super().__init__(observation_space, features_dim=int(observation_space.n))

    def forward(self, observations: Tensor) -> Tensor:
        return observations.flatten(1).float()
