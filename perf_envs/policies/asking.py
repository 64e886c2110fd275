"""Asking a policy of somebody else: what fails there is told as what it is, a policy that cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@contextmanager
def asking(policy: Any, forms: str, at: str = "the observations of the world") -> Iterator[None]:
    """Turn whatever goes wrong while a policy is asked into a ``ValueError`` that says what a policy may be.

    Args:
        policy: the policy.
        forms: what it may be, in words.
        at: where it is asked.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"policy must be {forms}; got {type(policy).__name__}, which could not be asked at {at}: "
            f"{type(error).__name__}: {error}"
        ) from error


def ask_to_predict(policy: Any, observations: Any) -> tuple[NDArray[Any], Any]:
    """Return the deterministic actions of anything with ``predict``, and its memory, if it has one.

    Stable-Baselines3's ``predict`` returns both; that of other libraries takes observations alone and returns actions.
    """
    try:
        answer = policy.predict(observations, deterministic=True)
    except TypeError as error:
        if "deterministic" not in str(error):
            raise
        answer = policy.predict(observations)
    actions, memory = answer if isinstance(answer, tuple) else (answer, None)
    return np.asarray(detached(actions)), memory


def detached(value: Any) -> Any:
    """Return a tensor without its history, on the CPU; anything else as it is."""
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value
