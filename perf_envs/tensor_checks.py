"""Checks of tables and tensors that users hand in, as those of :mod:`perf_envs.validation`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from perf_envs.validation import describe

#: How far a row of probabilities may be from summing to one, by precision.
_ROW_SUM_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}


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
