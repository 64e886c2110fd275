"""Natural policy gradient with function approximation (Kakade 2001), on the machinery of sb3-contrib's TRPO."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from sb3_contrib import TRPO
from sb3_contrib.common.utils import conjugate_gradient_solver
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv, RolloutBufferSamples, Schedule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from agents.common.guards import check_finite
from agents.common.settings import Rule, count, number, or_none, scheduled
from agents.deep._base import EPSILON, CheckedOnPolicyAlgorithm, normalized
from agents.deep.previous import divergence
from perf_envs.validation import check_count


class NPG(CheckedOnPolicyAlgorithm, TRPO):
    """One step per rollout along the natural gradient ``F^-1 g``, without a line search.

    ``g`` is the policy gradient and ``F`` the Fisher information matrix of the policy over the states of the rollout,
    inverted by conjugate gradients. The step is ``step_size F^-1 g``, but no longer than the trust region: to second
    order it moves the policy by at most ``target_kl``. With ``step_size=None`` it always goes that far (Rajeswaran et
    al. 2017, eq. 5). The critic is fitted afterwards; parameters it shares with the policy are the policy's.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"`` or an ``ActorCriticPolicy`` class.
        env: environment, ``VecEnv`` or id.
        learning_rate: step size of the critic's optimiser, float or schedule of the progress remaining.
        n_steps: steps per sub-environment and rollout.
        batch_size: size of the minibatches the critic is fitted with.
        gamma: discount.
        gae_lambda: trade-off of bias and variance in the advantages.
        target_kl: size of the trust region in nats, float or schedule; ``None`` for no trust region.
        step_size: step along the natural gradient, per unit of the (normalised) advantage, float or schedule; ``None``
            steps to the border of the trust region.
        cg_max_steps: steps of the conjugate gradient method at most.
        cg_damping: multiple of the identity added to ``F``, which is singular where parameters do not matter.
        n_critic_updates: passes over the rollout to fit the critic.
        normalize_advantage: shift and scale advantages to mean 0 and deviation 1 over the rollout.
        use_sde, sde_sample_freq, rollout_buffer_class, rollout_buffer_kwargs, stats_window_size, tensorboard_log,
            policy_kwargs, verbose, seed, device, _init_setup_model: as in Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, or ``n_steps * n_envs`` is 1.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "batch_size": count(),
        "target_kl": or_none(scheduled()),
        "step_size": or_none(scheduled()),
        "cg_max_steps": count(),
        "cg_damping": number(at_least=0.0),
        "n_critic_updates": count(at_least=0),
    }
    older_names: ClassVar[Mapping[str, str]] = {"target_kl": "target_kl_schedule"}

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 256,
        batch_size: int = 256,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        target_kl: float | Schedule | None = 0.02,
        step_size: float | Schedule | None = None,
        cg_max_steps: int = 15,
        cg_damping: float = 0.1,
        n_critic_updates: int = 10,
        normalize_advantage: bool = True,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=check_count("n_steps", n_steps),
            batch_size=check_count("batch_size", batch_size),
            gamma=gamma,
            cg_max_steps=cg_max_steps,
            cg_damping=cg_damping,
            n_critic_updates=n_critic_updates,
            gae_lambda=gae_lambda,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            normalize_advantage=normalize_advantage,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.target_kl: Any = target_kl
        self.step_size = step_size
        if _init_setup_model:
            self._setup_model()

    def check_settings(self) -> None:
        """Check all settings, and that something says how far to step."""
        super().check_settings()
        if self.target_kl is None and self.step_size is None:
            raise ValueError("target_kl and step_size must not both be None: nothing would say how far to step")

    def train(self) -> None:
        """Take the natural gradient step of one round, and fit the critic.

        Raises:
            ValueError: objective or step are not finite; the parameters of the policy are as they were.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        self._check_rollout()
        self._begin_round()
        actor, figures = self._natural_step(next(self.rollout_buffer.get(None)))
        figures |= self._fit_critic(actor)
        self._n_updates += 1
        self._record(figures | {"explained_variance": self._explained_variance()})

    def _objective(self, data: RolloutBufferSamples, log_prob: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the objective whose natural gradient is followed, and figures to log."""
        advantages, _ = normalized(data.advantages, self.normalize_advantage)
        objective = (torch.exp(log_prob - data.old_log_prob) * advantages).mean()
        return objective, {"policy_gradient_loss": -objective.item()}

    def _natural_step(self, data: RolloutBufferSamples) -> tuple[list[nn.Parameter], dict[str, float]]:
        """Step the policy; return its parameters and what to log."""
        # The policy hands out one distribution object again and again: what is needed of it comes before the next call.
        with torch.no_grad():
            old = copy.copy(self.policy.get_distribution(data.observations))
        distribution = self.policy.get_distribution(data.observations)
        log_prob, entropy = distribution.log_prob(self._actions(data)), distribution.entropy()
        kl = divergence(distribution, old).mean()
        objective, figures = self._objective(data, log_prob)
        check_finite("policy objective", objective.detach())
        actor, grad_kl = self._actor(kl)
        gradient = parameters_to_vector(
            torch.autograd.grad(objective, actor, retain_graph=True, materialize_grads=True)
        )
        step = self._step_along(gradient, partial(self.hessian_vector_product, actor, grad_kl))
        check_finite("step of the policy", step)
        vector_to_parameters(parameters_to_vector(actor).detach() + step, actor)
        with torch.no_grad():
            moved = divergence(old, self.policy.get_distribution(data.observations)).mean()
        return actor, figures | {
            "loss": -objective.item(),
            "entropy_loss": (log_prob if entropy is None else -entropy).mean().item(),
            "kl": moved.item(),
        }

    def _actor(self, kl: Tensor) -> tuple[list[nn.Parameter], Tensor]:
        """Return the parameters that move the policy, and the gradient of the divergence in them.

        Unlike TRPO's own, it passes over frozen parameters and does not go by names.
        """
        trained = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(kl, trained, create_graph=True, allow_unused=True)
        moving = [(parameter, grad) for parameter, grad in zip(trained, gradients, strict=True) if grad is not None]
        return [parameter for parameter, _ in moving], parameters_to_vector(grad for _, grad in moving)

    def _step_along(self, gradient: Tensor, fisher: partial[Tensor]) -> Tensor:
        """Return the step from the gradient and the Fisher-vector product."""
        length = gradient.norm()
        if length < EPSILON:
            return torch.zeros_like(gradient)
        # The solver's tolerance and its random start are absolute: a gradient of length 1 suits them.
        direction: Tensor = length * conjugate_gradient_solver(fisher, gradient / length, max_iter=self.cg_max_steps)
        scale: float = torch.inf if self.step_size is None else self.value_of("step_size")
        if self.target_kl is not None:
            curvature = float(direction @ fisher(direction))
            scale = min(scale, (2.0 * self.value_of("target_kl") / max(curvature, EPSILON**2)) ** 0.5)
        return scale * direction

    def _fit_critic(self, actor: list[nn.Parameter]) -> dict[str, float]:
        losses = []
        for _ in range(self.n_critic_updates):
            for data in self.rollout_buffer.get(self.batch_size):
                loss = F.mse_loss(self.policy.predict_values(data.observations).flatten(), data.returns)
                check_finite("value loss", loss.detach())
                self.policy.optimizer.zero_grad()
                loss.backward()
                for parameter in actor:  # the trust region is the policy's: nothing else may move it
                    parameter.grad = None
                self.policy.optimizer.step()
                losses.append(loss.item())
        return {"value_loss": sum(losses) / len(losses)} if losses else {}
