"""Policies that carry the PePG loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from torch.nn import functional as F

from agents.pepg.response import WorldAnswer


class PePGLoss(NamedTuple):
    """The PePG loss and its terms, scalars; ``total`` is what is minimised."""

    total: Tensor
    policy: Tensor
    response: Tensor
    entropy: Tensor
    value: Tensor


class PePGBatch(NamedTuple):
    """What the loss is computed from, for ``n`` visited state-action pairs.

    ``weights`` average to 1 over a rollout: they turn visits into the discounted occupancy, or are all 1.
    """

    observations: Tensor
    actions: Tensor
    advantages: Tensor
    returns: Tensor
    old_log_prob: Tensor
    weights: Tensor
    states: Tensor | None


class PePGPolicy(ActorCriticPolicy):
    """Actor-critic policy with the loss of the performative policy gradient.

        loss = - E[ w rho A ]  -  alpha R  -  lambda E[ w H ]  +  c E[ (V - G)^2 ]

    with ``rho`` the probability ratio to the policy the data were collected with (1 at the first gradient step), ``R``
    the world's answer (:class:`agents.pepg.response.WorldAnswer`), ``alpha`` the ``performative_coef`` and ``w`` the
    weight of a visit. With ``alpha = 0`` it is the loss of an advantage actor-critic.
    """

    def action_probabilities(self, observations: Tensor) -> Tensor:
        """Return ``pi(a|s)`` as ``[n, A]``, with gradient."""
        probs: Tensor = self.get_distribution(observations).distribution.probs  # type: ignore[union-attr]
        return probs

    def pepg_loss(
        self,
        batch: PePGBatch,
        answer: WorldAnswer | None,
        performative_coef: float = 1.0,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
    ) -> PePGLoss:
        """Return the loss on a batch.

        Args:
            batch: visited state-action pairs.
            answer: the world's response map; ``None`` leaves the response term out (myopic gradient).
            performative_coef: weight ``alpha`` of the response term.
            ent_coef: weight ``lambda`` of the entropy, in units of reward.
            vf_coef: weight of the critic's squared error.
        """
        values, log_prob, entropy = self.evaluate_actions(batch.observations, batch.actions)
        ratio = torch.exp(log_prob - batch.old_log_prob)
        policy = -(batch.weights * ratio * batch.advantages).mean()
        bonus = -(batch.weights * (-log_prob if entropy is None else entropy)).mean()
        value = F.mse_loss(batch.returns, values.flatten())
        response = torch.zeros((), device=policy.device)
        if answer is not None and performative_coef != 0.0:
            response = -self._answer_objective(answer, batch)
        total = policy + performative_coef * response + ent_coef * bonus + vf_coef * value
        return PePGLoss(total, policy, response, bonus, value)

    def _answer_objective(self, answer: WorldAnswer, batch: PePGBatch) -> Tensor:
        if batch.states is None:
            raise ValueError("the response term needs the states of the batch")
        pi = self.action_probabilities(answer.observations).cpu()
        with torch.no_grad():
            values = self.predict_values(answer.observations).flatten().cpu()
        weights = torch.bincount(batch.states.cpu(), weights=batch.weights.cpu(), minlength=len(pi)) / len(batch.states)
        return answer.objective(pi, values, weights).to(batch.weights.device, batch.weights.dtype)


class SoftmaxPolicy(PePGPolicy):
    """One logit per state and action, and one value per state: the parametrisation of the theory.

    For ``Discrete`` observations and actions. Logits and values start at 0, the uniform policy.
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
        for name in ("net_arch", "activation_fn", "ortho_init", "use_sde"):
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


class _OneHot(BaseFeaturesExtractor):
    """State indices as unit vectors; Stable-Baselines3 has already encoded them when they get here."""

    def __init__(self, observation_space: spaces.Discrete) -> None:
        super().__init__(observation_space, features_dim=int(observation_space.n))

    def forward(self, observations: Tensor) -> Tensor:
        return observations.flatten(1).float()
