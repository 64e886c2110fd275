"""What a run is trained with: later layers override earlier ones.

1. ``protocol.yaml``, what all algorithms share,
2. the shipped file of the algorithm in ``configs/``, then the one in ``configs/tuned/`` if tuning wrote one (of an
   ablation: those of the algorithm it is like, then its own),
3. a file of the user's,
4. the command line.

A settings file has a section ``default`` and sections named after worlds and their variants, which override it; a file
without sections holds the settings themselves. Keys are those of :data:`RUN_KEYS` and the constructor arguments of the
algorithm.
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
import torch
from gymnasium.envs.registration import load_env_creator

from agents.common.schedules import as_schedule
from perf_envs import WORLDS
from perf_envs.registration import split_variant, variant_names
from perf_envs.validation import check_choice, check_count, check_number, did_you_mean
from train.fitting import check_applies
from train.registry import Algorithm, find_algorithm
from train.yaml_files import parse_yaml, read_mapping

PROTOCOL = Path(__file__).parent / "protocol.yaml"
#: Settings that are not hyperparameters of the algorithm.
RUN_KEYS = ("n_envs", "n_timesteps", "round_length", "policy", "policy_kwargs", "env_kwargs")
#: Settings that are mappings: layers add to them instead of replacing them.
MAPPING_KEYS = ("policy_kwargs", "env_kwargs")
#: Arguments of the worlds that training decides itself.
_DECIDED_BY_TRAINING = ("self", "deployment", "round_length", "render_mode")
#: Smallest values of whole numbers that may be below 1: -1 is Stable-Baselines3's "never".
_LEAST = {"sde_sample_freq": -1}
#: Bounds of numbers that Stable-Baselines3 takes unchecked.
_BOUNDS: dict[str, dict[str, float]] = {
    "gamma": {"at_least": 0.0, "at_most": 1.0},
    "gae_lambda": {"at_least": 0.0, "at_most": 1.0},
    **{key: {"at_least": 0.0} for key in ("learning_rate", "ent_coef", "vf_coef", "clip_range", "cg_damping")},
    **{key: {"above": 0.0} for key in ("clip_range_vf", "target_kl", "max_grad_norm", "rms_prop_eps")},
}

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
        env: id of the world, or of one of its variants.
        config: a settings file on top of the shipped ones.
        overrides: settings on top of all files.
        tuned: whether what tuning found counts among the shipped settings.

    Raises:
        ValueError: unknown algorithm, world or key (the nearest valid one is named), a value of the wrong type, or an
            algorithm that cannot act in the world.
    """
    algorithm = find_algorithm(algo)
    world, env_kwargs = split_variant(env)
    check_registered(world)
    check_applies([algo], env)
    settings: Settings = {"policy": next(iter(algorithm.policies), "MlpPolicy"), "policy_kwargs": {}}
    settings |= {"device": "cpu"} if "device" in algorithm.hyperparameters else {}
    settings |= {"env_kwargs": env_kwargs, "round_length": None}
    files = [PROTOCOL, *_files_of(algorithm, tuned), *([config] if config else [])]
    layers = [layer for path in files for layer in _read_layers(algorithm, env, path)]
    layers += [_check_keys(overrides or {}, algorithm)]
    for layer in layers:
        for key, value in layer.items():
            settings[key] = {**settings[key], **value} if key in MAPPING_KEYS else value
    _check_settings(settings, algorithm, world)
    return settings


def _files_of(algorithm: Algorithm, tuned: bool) -> list[Path]:
    """Return the files of an algorithm: of a version of another those of that one, tuned, and then its own."""
    found = algorithm.tuned if tuned and algorithm.tuned is not None and algorithm.tuned.is_file() else None
    first, rest = algorithm.settings[:1], algorithm.settings[1:]
    return [*first, *([found] if found else []), *rest]


def check_registered(env_id: str) -> str:
    """Return the id of an environment, or raise ``ValueError`` if none is registered under it."""
    if env_id not in gym.registry:
        raise ValueError(
            f"env must be one of {', '.join(map(repr, WORLDS))} or another registered environment with deploy(policy), "
            f"got {env_id!r}{did_you_mean(env_id, WORLDS)}"
        )
    return env_id


def read_sections(algorithm: Algorithm, env: str, path: Path) -> Settings:
    """Return what a file in the form of settings says of a world: its section over ``default``; keys are checked."""
    return {key: value for layer in _read_layers(algorithm, env, path) for key, value in layer.items()}


def parse_assignments(assignments: Iterable[str]) -> Settings:
    """Return the settings that ``KEY=VALUE`` texts ask for, in whatever order; values are YAML.

    ``env_kwargs.shift=2`` sets an entry of a mapping, ``env_kwargs={shift: 2}`` all that it has.

    Raises:
        ValueError: a text is no assignment, its value is not YAML, a key that is no mapping has entries, or a setting
            is given twice.
    """
    settings: Settings = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not (equals and key):
            raise ValueError(f"--set takes KEY=VALUE, such as learning_rate=1e-3, got {assignment!r}")
        value = parse_yaml(text, f"the value of {key!r}")
        outer, dot, inner = key.partition(".")
        if dot and outer not in MAPPING_KEYS:
            hint = did_you_mean(outer, MAPPING_KEYS)
            raise ValueError(f"only {' and '.join(MAPPING_KEYS)} have entries, got {key!r}{hint}")
        if outer not in MAPPING_KEYS:
            _give(settings, key, value)
            continue
        entries = {inner: value} if dot else value
        if not isinstance(entries, Mapping):
            raise ValueError(f"{key!r} must be a mapping, got {value!r}")
        for entry, entry_value in entries.items():
            _give(settings.setdefault(outer, {}), entry, entry_value, f"{outer}.")
        settings.setdefault(outer, {})
    return settings


def _give(settings: Settings, key: str, value: Any, prefix: str = "") -> None:
    if key in settings:
        raise ValueError(f"'{prefix}{key}' is given twice with --set: {settings[key]!r} and {value!r}")
    settings[key] = value


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
    world = split_variant(env)[0]
    sections = ["default", *WORLDS, *(variant for name in WORLDS for variant in variant_names(name)), world]
    if not (set(data) & set(sections)):
        return [_check_keys(data, algorithm, f" in {path}")]
    for section, content in data.items():
        if section not in sections:
            raise ValueError(
                f"{path}: section must be 'default' or a world, got {section!r}{did_you_mean(section, sections)}"
            )
        if not isinstance(content, dict):
            raise ValueError(f"{path}: section {section!r} must hold keys and values, got {content!r}")
        _check_keys(content, algorithm, f" in {path}, section {section!r},")
    return [data.get(section, {}) for section in dict.fromkeys(("default", world, env))]


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
            raise ValueError(f"{key} must be set: it is neither in the settings of {algorithm.name} nor given")
        settings[key] = check_count(key, settings[key])
    _check_rounds(settings, algorithm)
    _check_device(settings.get("device", "cpu"))
    if algorithm.policies:
        check_choice("policy", settings["policy"], algorithm.policies)
    arguments = world_arguments(env)
    for key in settings["env_kwargs"] if arguments is not None else ():
        check_choice(f"env_kwargs of {env}", key, arguments or ())
    for key, hint in algorithm.hyperparameters.items():
        if key in settings and key not in RUN_KEYS:
            settings[key] = _check_value(key, settings[key], hint)


def _check_device(device: Any) -> None:
    try:
        torch.device("cpu" if device == "auto" else device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"device must be a device of torch, such as 'cpu', 'cuda' or 'cuda:1', got {device!r}"
        ) from None


def _check_rounds(settings: Settings, algorithm: Algorithm) -> None:
    if settings["round_length"] is None:
        return
    length = settings["round_length"] = check_count("round_length", settings["round_length"])
    n_steps = settings.get("n_steps", algorithm.rollout_length)
    if algorithm.deploys_itself and isinstance(n_steps, int) and n_steps < length:
        raise ValueError(
            f"round_length must be at most n_steps, {n_steps}, because {algorithm.name} deploys at every rollout, got "
            f"{length}; null makes each rollout a round"
        )


def world_arguments(env: str) -> list[str] | None:
    """Return the arguments a world may be made with, ``None`` if it passes on whatever it is given."""
    entry_point = gym.spec(env).entry_point
    world = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    arguments = inspect.signature(typing.cast(Callable[..., Any], world)).parameters
    if any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in arguments.values()):
        return None
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
    if float in kinds:
        return check_number(key, value, **_BOUNDS.get(key, {}))
    return check_count(key, value, at_least=_LEAST.get(key, 1))


def _alternatives(hint: Any) -> set[Any]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return set(typing.get_args(hint)) if is_union else {hint}


def _takes_schedule(hint: Any) -> bool:
    return any(typing.get_origin(kind) is Callable for kind in _alternatives(hint))
