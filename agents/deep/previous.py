"""The policy a rollout was collected with, kept for exact divergences to it."""

from __future__ import annotations

import torch
from stable_baselines3.common.distributions import Distribution, kl_divergence
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from agents.deep._base import SurrogateAlgorithm


def divergence(p: Distribution, q: Distribution) -> Tensor:
    """Return ``KL(p || q)`` of the joint actions, ``[n]``, in nats.

    For actions with several independent parts Stable-Baselines3 gives some divergences part by part, ``[n, parts]``.
    """
    parts = kl_divergence(p, q)
    return parts if parts.dim() == 1 else parts.sum(dim=1)


def approximate_divergence(log_ratio: Tensor) -> Tensor:
    """Return an estimate of ``KL(old || new)`` from actions of the old policy: the mean of ``ratio - 1 - log ratio``.

    Unbiased, and never negative (Schulman 2020, "Approximating KL divergence").
    """
    with torch.no_grad():
        return (torch.exp(log_ratio) - 1.0 - log_ratio).mean()


class RemembersPreviousPolicy(SurrogateAlgorithm):
    """Keeps a copy of the policy as it was when the rollout was collected."""

    _previous: ActorCriticPolicy

    def _setup_model(self) -> None:
        super()._setup_model()
        # A second network, not a deep copy: the noise of state-dependent exploration cannot be deep-copied.
        self._previous = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, use_sde=self.use_sde, **self.policy_kwargs
        ).to(self.device)
        self._previous.requires_grad_(False)
        self._previous.set_training_mode(False)

    def _begin_round(self) -> None:
        super()._begin_round()
        self._previous.load_state_dict(self.policy.state_dict())

    def _previous_distribution(self, observations: PyTorchObs) -> Distribution:
        with torch.no_grad():
            return self._previous.get_distribution(observations)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_previous"]
