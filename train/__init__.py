"""The command line: train one agent, compare many, and report what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.foreign import evaluate
    from train.registry import Algorithm, register_algorithm

__all__ = ["Algorithm", "evaluate", "register_algorithm"]

_HOMES = {"Algorithm": "train.registry", "evaluate": "train.foreign", "register_algorithm": "train.registry"}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the command line must not wait for it."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
