"""What a run is trained with: the shipped file of its algorithm, what tuning found, the user's file, the options.

Later ones override earlier ones.

A settings file has a section ``default`` and sections named after worlds, which override it; a file without sections
holds the settings themselves. Keys are those of :data:`RUN_KEYS` and the constructor arguments of the algorithm.
"""

from __future__ import annotations

import copy
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from agents.common.schedules import as_schedule
from perf_envs import WORLDS
from perf_envs.validation import check_choice, check_count, check_number, did_you_mean
from train.algorithms import Algorithm, find_algorithm
from train.yaml_files import parse_yaml, read_mapping

CONFIGS = Path(__file__).parent / "configs"
#: What ``python -m train tune --save`` found.
TUNED = CONFIGS / "tuned"
#: Settings that are not hyperparameters of the algorithm.
RUN_KEYS = ("n_envs", "n_timesteps", "policy", "policy_kwargs", "env_kwargs")
#: Settings that are mappings: layers add to them instead of replacing them.
MAPPING_KEYS = ("policy_kwargs", "env_kwargs")
#: Arguments of the worlds that training decides itself.
_DECIDED_BY_TRAINING = ("self", "deployment", "round_length", "render_mode")
#: Smallest values of whole numbers that may be below 1: -1 is Stable-Baselines3's "never".
_LEAST = {"sde_sample_freq": -1}

Settings = dict[str, Any]


def resolve_settings(
    algo: str,
    env: str,
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    tuned: bool = True,
) -> Settings:
    """Return the settings of an algorithm in a world, checked.

    Args:
        algo: name of the algorithm.
        env: id of the world.
        config: a settings file on top of the shipped ones.
        overrides: settings on top of all files.
        tuned: whether what tuning found counts among the shipped settings.

    Raises:
        ValueError: unknown algorithm, world or key (the nearest valid one is named), or a value of the wrong type.
    """
    algorithm = find_algorithm(algo)
    check_choice("env", env, WORLDS)
    settings: Settings = {"policy": algorithm.policies[0], "policy_kwargs": {}, "env_kwargs": {}, "device": "cpu"}
    layers = [*_read_layers(algorithm, env, CONFIGS / f"{algo}.yaml")]
    if tuned and (TUNED / f"{algo}.yaml").is_file():
        layers += _read_layers(algorithm, env, TUNED / f"{algo}.yaml")
    layers += _read_layers(algorithm, env, config) if config else []
    layers += [_check_keys(overrides or {}, algorithm)]
    for layer in layers:
        for key, value in layer.items():
            settings[key] = {**settings[key], **value} if key in MAPPING_KEYS else value
    _check_settings(settings, algorithm, env)
    return settings


def read_sections(algorithm: Algorithm, env: str, path: Path) -> Settings:
    """Return what a file in the form of settings says of a world: its section over ``default``; keys are checked."""
    return {key: value for layer in _read_layers(algorithm, env, path) for key, value in layer.items()}


def parse_assignments(assignments: Iterable[str]) -> Settings:
    """Return settings from ``key=value`` texts; values are YAML, ``env_kwargs.shift=2`` sets one entry of a mapping.

    Raises:
        ValueError: a text has no ``=``, or its value is not YAML.
    """
    settings: Settings = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not (equals and key):
            raise ValueError(f"--set takes KEY=VALUE, such as learning_rate=1e-3, got {assignment!r}")
        value = parse_yaml(text, f"the value of {key!r}")
        outer, dot, inner = key.partition(".")
        if not dot:
            settings[key] = value
        elif outer not in MAPPING_KEYS:
            hint = did_you_mean(outer, MAPPING_KEYS)
            raise ValueError(f"only {' and '.join(MAPPING_KEYS)} have entries, got {key!r}{hint}")
        else:
            settings[outer] = {**settings.get(outer, {}), inner: value}
    return settings


def hyperparameters(algorithm: Algorithm, settings: Settings) -> dict[str, Any]:
    """Return the constructor arguments of the algorithm, with schedules in place of their points."""
    # Copies: Stable-Baselines3 fills in policy_kwargs.
    arguments = {key: copy.deepcopy(value) for key, value in settings.items() if key in algorithm.hyperparameters}
    for key, value in arguments.items():
        if isinstance(value, Mapping) and _takes_schedule(algorithm.hyperparameters[key]):
            arguments[key] = as_schedule(key, value)
    return arguments


def _read_layers(algorithm: Algorithm, env: str, path: Path) -> list[Settings]:
    """Return the default settings of a file and those of the world, after checking all of its sections."""
    data = read_mapping(path)
    if not (set(data) & {"default", *WORLDS}):
        return [_check_keys(data, algorithm, f" in {path}")]
    for section, content in data.items():
        if section not in ("default", *WORLDS):
            raise ValueError(
                f"{path}: section must be 'default' or a world, got {section!r}"
                f"{did_you_mean(section, ['default', *WORLDS])}"
            )
        if not isinstance(content, dict):
            raise ValueError(f"{path}: section {section!r} must hold keys and values, got {content!r}")
        _check_keys(content, algorithm, f" in {path}, section {section!r},")
    return [data.get("default", {}), data.get(env, {})]


def _check_keys(settings: Mapping[str, Any], algorithm: Algorithm, where: str = "") -> Settings:
    known = [*RUN_KEYS, *(key for key in algorithm.hyperparameters if key not in RUN_KEYS)]
    for key, value in settings.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"; {algorithm.name} takes {', '.join(known)}"
            raise ValueError(f"{key!r}{where} is not a setting of {algorithm.name}{hint}")
        if key in MAPPING_KEYS and not isinstance(value, Mapping):
            raise ValueError(f"{key!r}{where} must be a mapping, got {value!r}")
    return dict(settings)


def _check_settings(settings: Settings, algorithm: Algorithm, env: str) -> None:
    for key in ("n_envs", "n_timesteps"):
        if key not in settings:
            raise ValueError(f"{key} must be set: it is neither in {CONFIGS / algorithm.name}.yaml nor given")
        settings[key] = check_count(key, settings[key])
    check_choice("policy", settings["policy"], algorithm.policies)
    arguments = world_arguments(env)
    for key in settings["env_kwargs"]:
        check_choice(f"env_kwargs of {env}", key, arguments)
    for key, hint in algorithm.hyperparameters.items():
        if key in settings and key not in RUN_KEYS:
            settings[key] = _check_value(key, settings[key], hint)


def world_arguments(env: str) -> list[str]:
    """Return the arguments a world may be made with."""
    entry_point = gym.spec(env).entry_point
    world = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    arguments = inspect.signature(typing.cast(Callable[..., Any], world)).parameters
    return [name for name in arguments if name not in _DECIDED_BY_TRAINING]


def _check_value(key: str, value: Any, hint: Any) -> Any:
    """Return a hyperparameter if it fits its annotation; what no simple rule covers is left to the algorithm."""
    kinds = _alternatives(hint)
    if value is None and type(None) in kinds:
        return None
    if isinstance(value, Mapping) and _takes_schedule(hint):
        try:
            as_schedule(key, value)
        except (KeyError, TypeError, ValueError) as error:
            shape = "{points: [[progress, value], ...]}"
            raise ValueError(f"{key} must be a number or {shape}, got {value!r}: {error}") from None
        return value
    if bool in kinds or not kinds & {int, float}:
        if bool in kinds and not isinstance(value, bool):
            raise ValueError(f"{key} must be true or false, got {value!r}")
        return value
    if isinstance(value, str) and str in kinds:
        return value
    if isinstance(value, bool):
        raise ValueError(f"{key} must be a number, got {value!r}")
    return check_number(key, value) if float in kinds else check_count(key, value, at_least=_LEAST.get(key, 1))


def _alternatives(hint: Any) -> set[Any]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return set(typing.get_args(hint)) if is_union else {hint}


def _takes_schedule(hint: Any) -> bool:
    return any(typing.get_origin(kind) is Callable for kind in _alternatives(hint))
