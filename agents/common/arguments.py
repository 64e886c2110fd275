"""The arguments a class can be made with, those that it passes on in ``**kwargs: Unpack[...]`` among them."""

from __future__ import annotations

import inspect
import typing
from typing import Any, NamedTuple


class Argument(NamedTuple):
    """An argument of a constructor."""

    annotation: Any
    """Its type, ``Any`` where none is written."""
    default: Any
    """Its default, ``inspect.Parameter.empty`` where there is none."""


def constructor_arguments(cls: type) -> dict[str, Argument]:
    """Return the arguments of the constructor of a class by name.

    Where a constructor takes ``**kwargs: Unpack[D]`` (PEP 692), they are those of the typed dictionary ``D``, whose
    defaults are those of the next class in the order of inheritance that has such an argument.
    """
    arguments: dict[str, Argument] = {}
    wanted: dict[str, Any] | None = None
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own, unpacked = _own_arguments(base)
        for name, argument in own.items():
            if name not in arguments and (wanted is None or name in wanted):
                arguments[name] = argument
        if unpacked is None:
            break
        wanted = unpacked if wanted is None else {name: hint for name, hint in unpacked.items() if name in wanted}
    for name, hint in (wanted or {}).items():
        arguments.setdefault(name, Argument(hint, inspect.Parameter.empty))
    return arguments


def _own_arguments(cls: type) -> tuple[dict[str, Argument], dict[str, Any] | None]:
    """Return what a constructor names itself, and what it passes on, ``None`` for nothing that is known."""
    function = vars(cls)["__init__"]
    hints = _hints(function)
    own: dict[str, Argument] = {}
    unpacked: dict[str, Any] | None = None
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            hint = hints.get(name)
            if typing.get_origin(hint) is typing.Unpack:
                unpacked = typing.get_type_hints(typing.get_args(hint)[0], localns=_names())
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            own[name] = Argument(hints.get(name, Any), parameter.default)
    return own, unpacked


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, localns=_names())
    except NameError:  # a name that only a type checker imports
        return {}


def _names() -> dict[str, Any]:
    """Return what Stable-Baselines3 writes as a string in types that other modules import without it."""
    from stable_baselines3.common.vec_env import VecEnv

    return {"VecEnv": VecEnv}
