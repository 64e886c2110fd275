"""Policies over continuous actions as worlds read them: mean and standard deviation at the observations asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.asking import asking, detached
from perf_envs.tabular_rounds import check_memoryless, predicted
from perf_envs.validation import describe

Table = NDArray[np.float64]

#: What a policy may be.
_FORMS = "(mean, std), a callable observation -> action, or a model with Stable-Baselines3's predict"


def gaussian_policy(
    policy: Any, observations: NDArray[Any], n_actions: int, deterministic: bool = False
) -> tuple[Table, Table]:
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
    network = getattr(policy, "policy", policy)
    if isinstance(policy, tuple):
        mean, std = _pair(policy)
    elif hasattr(network, "get_distribution") and not deterministic:
        mean, std = _network_gaussian(network, observations)
    elif hasattr(getattr(network, "actor", None), "get_action_dist_params") and not deterministic:
        mean = _squashed_mean(network, observations)
        std = np.zeros_like(mean)
    elif hasattr(policy, "predict"):
        mean = predicted(policy, observations, _FORMS)
        std = np.zeros_like(mean)
    elif isinstance(policy, Callable) and not isinstance(policy, torch.Tensor):  # type: ignore[arg-type]
        answers = [_mean_and_std(policy, observation) for observation in observations]
        mean, std = ([answer[part] for answer in answers] for part in (0, 1))
    else:
        raise ValueError(f"policy must be {_FORMS}, got {type(policy).__name__}")
    shape = (len(observations), n_actions)
    means, deviations = check_table("mean", mean, shape), check_table("std", std, shape)
    if (deviations < 0.0).any():
        raise ValueError(f"std of the policy must be non-negative, got {deviations.min()}")
    return means, deviations


def check_table(name: str, value: Any, shape: tuple[int, ...]) -> Table:
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


def _squashed_mean(network: Any, observations: NDArray[Any]) -> Table:
    """Return ``E[tanh(x)]`` for the Gaussian ``x`` of a policy such as that of SAC, ``[Q, d]``.

    The trapezoidal rule converges faster than any power of its step here: with 801 points between -9 and 9 standard
    deviations it is exact to rounding up to deviations of about 10.
    """
    with asking(network, _FORMS), torch.no_grad():
        network.set_training_mode(False)
        inputs, _ = network.obs_to_tensor(observations)
        mean, log_std, _ = network.actor.get_action_dist_params(inputs)
    points = np.linspace(-9.0, 9.0, 801)
    weights = np.exp(-0.5 * points**2)
    means, deviations = mean.double().cpu().numpy()[..., None], log_std.double().exp().cpu().numpy()[..., None]
    squashed: Table = np.tanh(means + deviations * points) @ (weights / weights.sum())
    return squashed


def _network_gaussian(network: Any, observations: NDArray[Any]) -> tuple[Any, Any]:
    check_memoryless(network)
    with asking(network, _FORMS), torch.no_grad():
        network.set_training_mode(False)  # as Stable-Baselines3 does to predict: no dropout, no batch statistics
        inputs, _ = network.obs_to_tensor(observations)
        distribution = network.get_distribution(inputs).distribution
    if not isinstance(distribution, torch.distributions.Normal):
        raise ValueError(f"policy must be Gaussian, got a policy with {type(distribution).__name__}")
    if getattr(network, "squash_output", False):
        raise ValueError("policy must post clipped actions, got one with squash_output=True")
    return distribution.mean.cpu().numpy(), distribution.stddev.cpu().numpy()


def _mean_and_std(policy: Any, observation: Any) -> tuple[Any, Any]:
    """Return the two parts of what a callable answers; an action alone has no deviation."""
    with asking(policy, _FORMS, f"observation {observation!r}"):
        answer = policy(observation)
        mean, std = _pair(answer) if isinstance(answer, tuple) else (answer, None)
        action = np.asarray(detached(mean))
        return action, np.zeros_like(action, dtype=np.float64) if std is None else np.asarray(detached(std))


def _pair(answer: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(answer) != 2:
        raise ValueError(f"policy as a tuple must be (mean, std), got {len(answer)} entries")
    return answer[0], answer[1]
