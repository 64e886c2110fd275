"""Checks of user input: every failure is a ``ValueError`` naming the argument, its value and what was expected.

Those of tables and tensors are in :mod:`perf_envs.tensor_checks`: this module is imported with the package, which does
not wait for torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

import numpy as np


def check_number(
    name: str,
    value: float,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
) -> float:
    """Return ``value`` as a float if it is finite and inside the interval, else raise ``ValueError``."""
    parts = [
        f"> {above:g}" if above > -math.inf else "",
        f">= {at_least:g}" if at_least > -math.inf else "",
        f"< {below:g}" if below < math.inf else "",
        f"<= {at_most:g}" if at_most < math.inf else "",
    ]
    bounds = " and ".join(part for part in parts if part)
    expected = bounds or "a finite number"
    try:
        if isinstance(value, bool | str):  # float() would read True and "3"
            raise TypeError
        number = float(value)
    except (OverflowError, TypeError, ValueError):  # also whole numbers with hundreds of digits
        raise ValueError(f"{name} must be {f'a number {bounds}'.rstrip()}, got {value!r}") from None
    if not math.isfinite(number) or not (above < number < below and at_least <= number <= at_most):
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    return number


def check_count(name: str, value: int, *, at_least: int = 1) -> int:
    """Return ``value`` as an int if it is a whole number of at least ``at_least``, else raise ``ValueError``."""
    number = check_number(name, value, at_least=at_least)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number >= {at_least}, got {value!r}")
    return int(number)


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise ``ValueError`` with the nearest one."""
    options = list(choices)
    if value in options:
        return value
    raise ValueError(
        f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}{did_you_mean(value, options)}"
    )


def did_you_mean(value: object, options: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest option, or an empty string if none is near.

    Near are options that differ in at most a third of their letters, and those that begin or end with the whole value.
    """
    lowered = {option.lower(): option for option in options}
    typed = str(value).lower()
    for option in difflib.get_close_matches(typed, lowered, n=3, cutoff=0.5):
        common = sum(block.size for block in difflib.SequenceMatcher(None, typed, option).get_matching_blocks())
        longer = max(len(typed), len(option))
        part = len(typed) > 3 and (option.startswith(typed) or option.endswith(typed))
        if part or longer - common <= max(1, longer // 3):
            return f" (did you mean {lowered[option]!r}?)"
    return ""


def check_numbered_from_zero(name: str, space: object) -> None:
    """Raise ``ValueError`` for a space of indices that does not start at 0: worlds number states and actions so."""
    if np.any(getattr(space, "start", 0)):
        raise ValueError(f"{name} must be numbered from 0, as the states and actions of worlds are, got {space}")


def describe(value: object) -> str:
    """Return what a value is, as far as it could be the wrong thing where an array was expected."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"{kind} of {value.dtype} with shape {value.shape}"
    if isinstance(value, list | tuple):
        lengths = {len(row) if isinstance(row, list | tuple | np.ndarray) else 0 for row in value}
        if len(lengths) > 1:
            return f"{kind} with rows of {min(lengths)} to {max(lengths)} entries"
    return kind
