"""Asking the policies of others: Stable-Baselines3's models, callables, and whatever else has ``predict``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from perf_envs.policies.asking import ask_to_predict, asking

_MEMORY = "policy must depend on the observation alone, since the world asks it at every state"


def network_of(policy: Any) -> Any:
    """Return the network of a model, or a policy itself."""
    return getattr(policy, "policy", policy)


def has_distribution(policy: Any) -> bool:
    """Whether a policy can be asked for the distribution of its actions, as Stable-Baselines3's actor-critics can."""
    return hasattr(network_of(policy), "get_distribution")


def predicted(policy: Any, observations: Any, forms: str) -> NDArray[Any]:
    """Return the deterministic actions of a model at a batch of observations, ``[n, ...]``.

    Args:
        policy: anything with ``predict``.
        observations: ``[n, ...]``, or a dictionary of such arrays.
        forms: what a policy may be, for the error.

    Raises:
        ValueError: the policy has a memory, or cannot be asked.
    """
    check_memoryless(policy)
    with asking(policy, forms):
        actions, memory = ask_to_predict(policy, observations)
    if memory is not None:
        raise ValueError(f"{_MEMORY}, got {type(policy).__name__}, whose predict returns a state as well")
    return actions


def check_memoryless(policy: Any) -> None:
    """Raise ``ValueError`` if the distribution of a policy needs more than the observation."""
    network = network_of(policy)
    if not hasattr(network, "get_distribution"):
        return
    empty, kinds = inspect.Parameter.empty, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(network.get_distribution).parameters.values())
    needed = [one.name for one in parameters[1:] if one.default is empty and one.kind not in kinds]
    if needed:
        raise ValueError(
            f"{_MEMORY}, got {type(network).__name__}, which needs {' and '.join(needed)} as well; let the world "
            "observe what it plays (deployment='observed', without DeployCallback)"
        )


def each_observation(observations: Any) -> Iterator[Any]:
    """Yield the observations of a batch, an array ``[S, ...]`` or a dictionary of such arrays, one by one."""
    if not isinstance(observations, Mapping):
        yield from observations
        return
    for row in zip(*observations.values(), strict=True):
        yield dict(zip(observations, row, strict=True))


def count_observations(observations: Any) -> int:
    """Return the size of a batch of observations."""
    return len(next(iter(observations.values()))) if isinstance(observations, Mapping) else len(observations)


def asked_one_by_one(
    policy: Any, observations: Any, forms: str, convert: Callable[[Any], Any]
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield every observation with what a callable says there, as it says it and converted.

    Args:
        policy: the callable.
        observations: ``[n, ...]``, or a dictionary of such arrays.
        forms: what a policy may be, for the error.
        convert: makes something else of what it says; what fails there counts as a failure of the policy.

    Raises:
        ValueError: it fails.
    """
    for observation in each_observation(observations):
        with asking(policy, forms, f"observation {observation!r}"):
            said = policy(observation)
            converted = convert(said)
        yield observation, said, converted


def ask_for_distribution(policy: Any, observations: Any, forms: str) -> Any:
    """Return the distribution of the actions of an actor-critic at a batch of observations, without history.

    Raises:
        ValueError: the policy has a memory, or cannot be asked.
    """
    network = network_of(policy)
    check_memoryless(network)
    with asking(network, forms), torch.no_grad():
        network.set_training_mode(False)  # as Stable-Baselines3 does to predict: no dropout, no batch statistics
        inputs, _ = network.obs_to_tensor(observations)
        return network.get_distribution(inputs).distribution


def ask_for_probabilities(policy: Any, observations: Any, forms: str) -> torch.Tensor:
    """Return the probabilities of an actor-critic's actions ``[n, A]``, in its own precision."""
    distribution = ask_for_distribution(policy, observations, forms)
    if not hasattr(distribution, "probs"):
        raise ValueError(f"policy must choose among discrete actions, got a policy with {type(distribution).__name__}")
    probs: torch.Tensor = distribution.probs.cpu()
    return probs
