"""Policies over continuous actions as worlds read them: mean and standard deviation at the observations asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.validation import describe

Table = NDArray[np.float64]


def gaussian_policy(policy: Any, observations: NDArray[Any], n_actions: int) -> tuple[Table, Table]:
    """Return mean and standard deviation ``[Q, d]`` of the actions, before clipping, of a policy in any usual form.

    Args:
        policy: a tuple ``(mean, std)`` of arrays ``[Q, d]``; a Stable-Baselines3 model or policy, asked for its
            Gaussian (or, for algorithms without one, its deterministic action); or a callable
            ``observation -> action [d]`` or ``observation -> (mean [d], std [d])``.
        observations: where the policy is asked, ``[Q, ...]``.
        n_actions: dimension ``d`` of an action.

    Raises:
        ValueError: ``policy`` is none of these, or what it returns has the wrong shape, is not finite or has a negative
            deviation.
    """
    network = getattr(policy, "policy", policy)
    if isinstance(policy, tuple):
        mean, std = _pair(policy)
    elif hasattr(network, "get_distribution"):
        mean, std = _network_gaussian(network, observations)
    elif hasattr(policy, "predict"):
        mean, _ = policy.predict(observations, deterministic=True)
        std = np.zeros_like(mean)
    elif isinstance(policy, Callable) and not isinstance(policy, torch.Tensor):  # type: ignore[arg-type]
        answers = [_mean_and_std(policy(observation)) for observation in observations]
        mean, std = ([answer[part] for answer in answers] for part in (0, 1))
    else:
        raise ValueError(
            "policy must be (mean, std), a callable observation -> action, or a Stable-Baselines3 model, "
            f"got {type(policy).__name__}"
        )
    shape = (len(observations), n_actions)
    means, deviations = check_table("mean", mean, shape), check_table("std", std, shape)
    if (deviations < 0.0).any():
        raise ValueError(f"std of the policy must be non-negative, got {deviations.min()}")
    return means, deviations


def check_table(name: str, value: Any, shape: tuple[int, ...]) -> Table:
    """Return ``value`` as a float64 array of the given shape with finite entries, or raise ``ValueError``."""
    try:
        table = np.asarray(_detached(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} of the policy must be an array of numbers {list(shape)}, got {describe(value)}"
        ) from None
    if table.shape != shape:
        raise ValueError(f"{name} of the policy must have shape {shape}, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{name} of the policy must be finite, got {table.tolist()}")
    return table


def _network_gaussian(network: Any, observations: NDArray[Any]) -> tuple[Any, Any]:
    network.set_training_mode(False)  # as Stable-Baselines3 does to predict: no dropout, no batch statistics
    with torch.no_grad():
        inputs, _ = network.obs_to_tensor(observations)
        distribution = network.get_distribution(inputs).distribution
    if not isinstance(distribution, torch.distributions.Normal):
        raise ValueError(f"policy must be Gaussian, got a policy with {type(distribution).__name__}")
    if getattr(network, "squash_output", False):
        raise ValueError("policy must post clipped actions, got one with squash_output=True")
    return distribution.mean.cpu().numpy(), distribution.stddev.cpu().numpy()


def _mean_and_std(answer: Any) -> tuple[Any, Any]:
    """Return the two parts of what a callable answered; an action alone has no deviation."""
    if isinstance(answer, tuple):
        mean, std = _pair(answer)
        return np.asarray(_detached(mean)), np.asarray(_detached(std))
    action = np.asarray(_detached(answer))
    return action, np.zeros_like(action, dtype=np.float64)


def _pair(answer: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(answer) != 2:
        raise ValueError(f"policy as a tuple must be (mean, std), got {len(answer)} entries")
    return answer[0], answer[1]


def _detached(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value
