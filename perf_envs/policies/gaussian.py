"""Policies over continuous actions: mean and standard deviation at every observation that a world asks about."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.policies.asking import asking, detached
from perf_envs.policies.base import Floats, Policy, PolicySpace
from perf_envs.policies.models import (
    ask_for_distribution,
    asked_one_by_one,
    has_distribution,
    network_of,
    predicted,
)
from perf_envs.validation import check_number, describe

#: What a policy may be.
FORMS = "(mean, std), a callable observation -> action, or a model with Stable-Baselines3's predict"


class Gaussian(Policy):
    """Mean and standard deviation of the actions, before clipping, at every observation.

    Args:
        mean: ``[Q, d]``, float64; the caller has checked both (:meth:`GaussianPolicies.read` does).
        std: ``[Q, d]``, >= 0.
    """

    def __init__(self, mean: Floats, std: Floats) -> None:
        self._array = np.stack([mean, std])
        self._array.setflags(write=False)

    @property
    def mean(self) -> Floats:
        """Means of the actions, ``[Q, d]``, read-only."""
        mean: Floats = self._array[0]
        return mean

    @property
    def std(self) -> Floats:
        """Standard deviations of the actions, ``[Q, d]``, read-only."""
        std: Floats = self._array[1]
        return std

    @property
    def array(self) -> Floats:
        """Means and deviations, ``[2, Q, d]``."""
        return self._array

    def __call__(self, where: Any) -> tuple[Floats, Floats]:
        """Return mean and deviation of the action ``[d]`` at an observation, or ``[n, d]`` at several."""
        return self.mean[where].copy(), self.std[where].copy()

    def __repr__(self) -> str:
        return f"Gaussian({self.mean.shape[0]} observations, {self.mean.shape[1]} actions)"


class GaussianPolicies(PolicySpace[Gaussian]):
    """The Gaussian policies of a world whose actions are normalised to [-1, 1] and clipped there.

    Args:
        observations: where a policy is asked, ``[Q, ...]``.
        n_actions: dimension ``d`` of an action.
    """

    def __init__(self, observations: NDArray[Any], n_actions: int) -> None:
        self.observations, self.n_actions = observations, n_actions

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.observations), self.n_actions

    def read(self, policy: Any, observations: Any = None, deterministic: bool = False) -> Gaussian:
        """Return mean and deviation of a policy in any of the forms of :func:`gaussian_policy`."""
        if isinstance(policy, Gaussian) and policy.mean.shape == self._shape:
            return policy
        seen = self.observations if observations is None else observations
        return Gaussian(*gaussian_policy(policy, seen, self.n_actions, deterministic))

    def from_array(self, array: Any) -> Gaussian:
        """Return the policy with means and deviations ``array [2, Q, d]``."""
        if np.ndim(array) != 3 or len(array) != 2:
            raise ValueError(f"policy must have shape {(2, *self._shape)}, mean and std, got {np.shape(array)}")
        mean, std = array
        return Gaussian(*_checked(mean, std, self._shape))

    def uniform(self) -> Gaussian:
        """Return the policy with mean and deviation of actions that are uniform on the box."""
        return Gaussian(np.zeros(self._shape), np.full(self._shape, 1.0 / np.sqrt(3.0)))

    def initial(self) -> Gaussian:
        """Return the standard normal policy."""
        return Gaussian(np.zeros(self._shape), np.ones(self._shape))

    def sample(self, policy: Gaussian, where: Any, rng: np.random.Generator) -> Any:
        """Draw an action, before clipping, at each of the observations ``where [n]``; return ``[n, d]``."""
        return policy.mean[where] + policy.std[where] * rng.standard_normal((len(where), self.n_actions))

    def with_random_actions(self, policy: Gaussian, share: float) -> Gaussian:
        """Return a policy with the mean of such a mixture: the mean of uniform actions is the middle of the range."""
        share = check_number("share", share, at_least=0.0, at_most=1.0)
        return Gaussian((1.0 - share) * policy.mean, (1.0 - share) * policy.std) if share else policy


def gaussian_policy(
    policy: Any, observations: NDArray[Any], n_actions: int, deterministic: bool = False
) -> tuple[Floats, Floats]:
    """Return mean and standard deviation ``[Q, d]`` of the actions, before clipping, of a policy in any usual form.

    Args:
        policy: a tuple ``(mean, std)`` of arrays ``[Q, d]``; a Stable-Baselines3 model or policy, asked for its
            Gaussian (of a squashed one, as SAC has, the mean action, posted for certain: worlds that answer mean
            actions cannot tell the difference; for algorithms without one, the deterministic action); or a callable
            ``observation -> action [d]`` or ``observation -> (mean [d], std [d])``.
        observations: where the policy is asked, ``[Q, ...]``.
        n_actions: dimension ``d`` of an action.
        deterministic: ask models for their deterministic action instead of their distribution.

    Raises:
        ValueError: ``policy`` is none of these, it has a memory, or what it returns has the wrong shape, is not finite
            or has a negative deviation.
    """
    mean, std = _mean_and_std(policy, observations, deterministic)
    return _checked(mean, std, (len(observations), n_actions))


def _mean_and_std(policy: Any, observations: NDArray[Any], deterministic: bool) -> tuple[Any, Any]:
    if isinstance(policy, Policy):
        return _pair(tuple(policy.array))
    if isinstance(policy, tuple):
        return _pair(policy)
    if has_distribution(policy) and not deterministic:
        return _network_gaussian(policy, observations)
    if hasattr(getattr(network_of(policy), "actor", None), "get_action_dist_params") and not deterministic:
        return _certainly(_squashed_mean(network_of(policy), observations))
    if hasattr(policy, "predict"):
        return _certainly(predicted(policy, observations, FORMS))
    if callable(policy) and not isinstance(policy, torch.Tensor):
        said = [row for _, _, row in asked_one_by_one(policy, observations, FORMS, _said)]
        return [row[0] for row in said], [row[1] for row in said]
    raise ValueError(f"policy must be {FORMS}, got {type(policy).__name__}")


def _checked(mean: Any, std: Any, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    means, deviations = check_table("mean", mean, shape), check_table("std", std, shape)
    if (deviations < 0.0).any():
        raise ValueError(f"std of the policy must be non-negative, got {deviations.min()}")
    return means, deviations


def check_table(name: str, value: Any, shape: tuple[int, ...]) -> Floats:
    """Return ``value`` as a float64 array of the given shape with finite entries, or raise ``ValueError``."""
    try:
        table = np.asarray(detached(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} of the policy must be an array of numbers {list(shape)}, got {describe(value)}"
        ) from None
    if table.shape != shape:
        raise ValueError(f"{name} of the policy must have shape {shape}, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{name} of the policy must be finite, got {table.tolist()}")
    return table


def _squashed_mean(network: Any, observations: NDArray[Any]) -> Floats:
    """Return the mean action, ``E[tanh(x)]`` in the range of the actions, for the Gaussian ``x`` of a policy as SAC's.

    The trapezoidal rule converges faster than any power of its step here: with 801 points between -9 and 9 standard
    deviations it is exact to rounding up to deviations of about 10.
    """
    with asking(network, FORMS), torch.no_grad():
        network.set_training_mode(False)
        inputs, _ = network.obs_to_tensor(observations)
        mean, log_std, given = network.actor.get_action_dist_params(inputs)
        # With state-dependent exploration, log_std are weights of what the network makes of the observation.
        std = network.actor.action_dist.proba_distribution(mean, log_std, **given).distribution.stddev
    points = np.linspace(-9.0, 9.0, 801)
    weights = np.exp(-0.5 * points**2)
    means, deviations = mean.double().cpu().numpy()[..., None], std.double().cpu().numpy()[..., None]
    squashed: Floats = np.tanh(means + deviations * points) @ (weights / weights.sum())
    return network.unscale_action(squashed)  # type: ignore[no-any-return]


def _network_gaussian(policy: Any, observations: NDArray[Any]) -> tuple[Any, Any]:
    distribution = ask_for_distribution(policy, observations, FORMS)
    if not isinstance(distribution, torch.distributions.Normal):
        raise ValueError(f"policy must be Gaussian, got a policy with {type(distribution).__name__}")
    if getattr(network_of(policy), "squash_output", False):
        raise ValueError("policy must post clipped actions, got one with squash_output=True")
    return distribution.mean.cpu().numpy(), distribution.stddev.cpu().numpy()


def _said(answer: Any) -> tuple[Any, Any]:
    """Return the two parts of what a callable answers; an action alone has no deviation."""
    mean, std = _pair(answer) if isinstance(answer, tuple) else (answer, None)
    action = np.asarray(detached(mean))
    return action, np.zeros_like(action, dtype=np.float64) if std is None else np.asarray(detached(std))


def _certainly(actions: Any) -> tuple[Any, Any]:
    """Return mean and deviation of actions that are taken for certain."""
    return actions, np.zeros_like(actions)


def _pair(answer: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(answer) != 2:
        raise ValueError(f"policy as a tuple must be (mean, std), got {len(answer)} entries")
    return answer[0], answer[1]
