"""The worlds that are known by name, and their variants: the strengths and kinds of response agents are compared in.

A world is registered with Gymnasium, and so is each of its variants: ``PerformativePricing-strong-v0`` is the variant
``strong`` of ``PerformativePricing-v0``. The command line writes ``PerformativePricing-v0@strong`` for the same:

    env_id, env_kwargs = split_variant("PerformativePricing-v0@strong")
    env = gym.make(env_id, **env_kwargs)
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator, parse_env_id

from perf_envs.validation import check_choice, check_number, did_you_mean

Arguments = dict[str, Any]

SEPARATOR = "@"


@dataclass(frozen=True)
class RegisteredWorld:
    """What is registered about a world.

    Attributes:
        id: its id.
        variants: arguments of each variant, where they differ from the defaults.
        optimum: the best performative value known with default arguments, or a file with the best known policy, see
            :func:`register_world`.
    """

    id: str
    variants: Mapping[str, Arguments] = field(default_factory=dict)
    optimum: float | Path | None = None


#: Registered worlds by id.
WORLDS: dict[str, RegisteredWorld] = {}
#: The modules that worlds of others were imported from, by id of the world.
_MODULES: dict[str, str] = {}


@dataclass(frozen=True)
class NativeForm:
    """The native vector form of a world on :class:`perf_envs.env.WorldEnv`, found when it is made.

    Args:
        entry_point: the class of the world, or ``"module:Class"``.
    """

    entry_point: str | Callable[..., Any]

    def find(self) -> Any:
        """Return the class of the native vector form."""
        from perf_envs.vector import vector_class

        point = self.entry_point
        world: Any = load_env_creator(point) if isinstance(point, str) else point
        return vector_class(world)

    def __call__(self, **kwargs: Any) -> Any:
        """Make the vector environment."""
        return self.find()(**kwargs)


def register_world(
    id: str,
    entry_point: str | Callable[..., Any],
    *,
    vector_entry_point: str | Callable[..., Any] | None = None,
    max_episode_steps: int | None = None,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    optimum: float | str | Path | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Register a performative world and its variants, with Gymnasium and for the command line.

    Args:
        id: its id, ``"Name-v0"`` or ``"namespace/Name-v0"``.
        entry_point: its class or whatever makes it, or ``"module:Class"``.
        vector_entry_point: its native vector form. By default a world on :class:`perf_envs.PerformativeEnv` brings one.
        max_episode_steps: step limit of its episodes; ``None`` if it ends them itself.
        variants: arguments by name of the variant, where they differ from the defaults.
        optimum: what is best in the world with default arguments, if that is known: a performative value, or a file
            written by :func:`perf_envs.exact.optima.save_best_known` (recognised by how the world behaves, whatever
            its arguments).
        kwargs: arguments the world is made with.

    Raises:
        ValueError: a variant whose name is no part of an id, arguments that are no mapping, or an optimum that is no
            number and no file; nothing is registered.
    """
    known = {name: dict(_check_variant(id, name, given)) for name, given in (variants or {}).items()}
    best = _check_optimum(optimum)
    shared: dict[str, Any] = {
        "entry_point": entry_point,
        "vector_entry_point": vector_entry_point or _native_form(entry_point),
        "max_episode_steps": max_episode_steps,
    }
    gym.register(id, **shared, kwargs=dict(kwargs or {}))
    for name, arguments in known.items():
        gym.register(variant_id(id, name), **shared, kwargs={**(kwargs or {}), **copy.deepcopy(arguments)})
    WORLDS[id] = RegisteredWorld(id, known, best)


def import_world(name: str) -> str:
    """Return a world's name without the module in front of it (``"module:ID"``, as in Gymnasium), which is imported.

    Raises:
        ValueError: there is no such module.
    """
    module, _, rest = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"env must name a module that can be imported, got {name!r}: {error}") from error
        if module.partition(".")[0] != __name__.partition(".")[0]:  # shipped worlds need no module to be found
            _MODULES[canonical_name(rest).partition(SEPARATOR)[0]] = module
    return rest


def module_of(env_id: str) -> str | None:
    """Return the module that was imported for a world by :func:`import_world`, ``None`` if none was."""
    return _MODULES.get(env_id)


def variant_id(env_id: str, variant: str) -> str:
    """Return the id that a variant of a world is registered under with Gymnasium."""
    namespace, name, version = parse_env_id(env_id)
    ending = "" if version is None else f"-v{version}"
    return f"{'' if namespace is None else f'{namespace}/'}{name}-{variant}{ending}"


def split_variant(name: str) -> tuple[str, Arguments]:
    """Return id and arguments of a world that may be a variant.

    Args:
        name: ``ID``, ``ID@VARIANT``, or the id of a variant.

    Raises:
        ValueError: the world has no such variant, or no variants at all.
    """
    env_id, separator, variant = canonical_name(name).partition(SEPARATOR)
    if not separator:
        return env_id, {}
    having = {world.id: world for world in WORLDS.values() if world.variants}
    if env_id not in having:
        hint = did_you_mean(env_id, having)
        raise ValueError(f"{env_id!r} has no variants, got {name!r}; worlds that have: {', '.join(having)}{hint}")
    variants = having[env_id].variants
    return env_id, copy.deepcopy(variants[check_choice(f"variant of {env_id}", variant, variants)])


def canonical_name(name: str) -> str:
    """Return ``ID@VARIANT`` for the id of a variant, and any other name as it is."""
    for world in WORLDS.values():
        for variant in world.variants:
            if name == variant_id(world.id, variant):
                return f"{world.id}{SEPARATOR}{variant}"
    return name


def variant_names(env_id: str) -> list[str]:
    """Return the full names of the variants of a registered world."""
    return [f"{env_id}{SEPARATOR}{variant}" for variant in (WORLDS[env_id].variants if env_id in WORLDS else {})]


def rough_responses(n_actions: int) -> dict[str, Arguments]:
    """Return the variants of a tabular world that do not respond smoothly.

    Quantised responses have a level per action, so that the uniform policy is perceived as what it is; agents that
    follow the gradient of the response are given that of a world that does not round.
    """
    quantised = {"name": "quantised", "levels": n_actions, "surrogate": "straight-through"}
    wrappers = {"piecewise-linear": "piecewise-linear", "quantised": quantised, "noisy": "noisy"}
    return {name: {"response_wrapper": wrapper} for name, wrapper in wrappers.items()}


def registered_optimum(env_id: str, arguments: Mapping[str, Any]) -> float | None:
    """Return the best value registered with a world, which is that of its default arguments; else ``None``."""
    world = WORLDS.get(env_id)
    return world.optimum if world is not None and isinstance(world.optimum, float) and not arguments else None


def _check_optimum(optimum: float | str | Path | None) -> float | Path | None:
    if optimum is None:
        return None
    if isinstance(optimum, str | Path):
        if not Path(optimum).is_file():
            raise ValueError(f"optimum must be a number or a file, got {str(optimum)!r}")
        return Path(optimum)
    return check_number("optimum", optimum)


def _check_variant(env_id: str, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(arguments, Mapping):
        raise ValueError(f"variants[{name!r}] must be a mapping of arguments, got {arguments!r}")
    try:
        parse_env_id(variant_id(env_id, name))
    except gym.error.Error as error:
        raise ValueError(f"variants must have names that can be part of an id, got {name!r}: {error}") from None
    return arguments


def _native_form(entry_point: str | Callable[..., Any]) -> NativeForm | None:
    """Return the native form of a world, unless it is made by a function: that has none to be found."""
    return NativeForm(entry_point) if isinstance(entry_point, str | type) else None
