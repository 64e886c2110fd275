"""Checks of user input: every failure is a ``ValueError`` naming the argument, its value and what was expected."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

#: How far a row of probabilities may be from summing to one, by precision.
_ROW_SUM_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}


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


def as_policy(pi: object, n_states: int, n_actions: int, name: str = "pi") -> Tensor:
    """Check a policy table and return it as a float64 tensor, keeping its autograd history.

    Args:
        pi: array or tensor ``[S, A]``; rows are non-negative and sum to one. Single-precision tables (the output of a
            network) may be off by 1e-4 and are renormalised, double-precision ones by 1e-8 and are taken as they are.
        n_states: expected ``S``.
        n_actions: expected ``A``.
        name: the argument's name in error messages.

    Raises:
        ValueError: wrong shape, NaN or infinite entries, negative entries, or rows that do not sum to one.
    """
    try:
        # Through numpy, so that lists become double precision; a copy, so that views and read-only arrays pass too.
        table = pi if isinstance(pi, Tensor) else torch.from_numpy(np.array(pi))
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be an array of numbers [{n_states}, {n_actions}], got {describe(pi)}") from None
    if table.is_complex():
        raise ValueError(f"{name} must be real, got {table.dtype}")
    if tuple(table.shape) != (n_states, n_actions):
        raise ValueError(f"{name} must have shape ({n_states}, {n_actions}), got {tuple(table.shape)}")
    tolerance = _ROW_SUM_TOLERANCE.get(table.dtype, 1e-8)
    policy = table.to(torch.float64)
    check_distributions(name, policy, "state", tolerance)
    return policy if tolerance <= 1e-8 else policy / policy.sum(-1, keepdim=True)


def as_floats(name: str, value: object) -> Tensor:
    """Return numbers as a float64 tensor, or raise ``ValueError``; an autograd history stays."""
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be an array of numbers, got {describe(value)}") from None


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


def policy_or_uniform(policy: object | None, n_states: int, n_actions: int, name: str = "pi") -> Tensor:
    """Return a policy the caller may start from, checked and without gradient; ``None`` is the uniform one."""
    if policy is None:
        return torch.full((n_states, n_actions), 1.0 / n_actions, dtype=torch.float64)
    return as_policy(policy, n_states, n_actions, name).detach()


def check_distributions(name: str, rows: Tensor, index_name: str, tolerance: float = 1e-8) -> None:
    """Raise ``ValueError`` unless each last-axis row is a probability distribution; the first bad row is named."""
    values = rows.detach()
    total = values.sum(-1)
    # One reduction decides the usual, valid case; only a failure pays for finding out what is wrong.
    if bool(((total - 1.0).abs() <= tolerance).all()) and bool((values >= 0.0).all()):
        return
    finite = torch.isfinite(values).all(-1)
    positive = (values >= 0.0).all(-1)
    bad = ~(finite & positive & ((total - 1.0).abs() <= tolerance))
    where = tuple(bad.nonzero()[0].tolist()) if bad.dim() else ()
    row = values[where]
    at = f" at {index_name} {where[0] if len(where) == 1 else where}" if where else ""
    if not bool(finite[where]):
        problem = "must be finite"
    elif not bool(positive[where]):
        problem = "must be non-negative"
    else:
        problem = f"must sum to 1 (the sum is {float(row.sum()):.10g})"
    raise ValueError(f"{name}{at} {problem}, got {_short(row)}")


def _short(row: Tensor, limit: int = 8) -> str:
    values = ", ".join(f"{value:.6g}" for value in row[:limit].tolist())
    return f"[{values}{', ...' if len(row) > limit else ''}]"
