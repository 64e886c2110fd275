"""Where tuning may look: a file per algorithm in ``search_spaces/``, with sections as in a settings file.

An entry is ``{low, high}``, with ``log: true`` for even steps in the logarithm, or ``{choices: [...]}``. Whole numbers
are drawn where the algorithm takes them. The shipped setting is always one of the choices, listed or not: tuning starts
from it, and it has to be a point of the space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.common.schedules import PiecewiseLinear
from perf_envs.validation import check_choice, check_number
from train.registry import Algorithm, find_algorithm, find_defaults
from train.settings import RUN_KEYS, Settings, read_sections, resolve_settings

#: What the protocol gives everybody alike; the discount is that of the world.
_FIXED = (*RUN_KEYS, "gamma", "device")


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``; whole ones if both are ``int``."""

    low: float
    high: float
    log: bool = False

    def contains(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choices:
    """Any of a few values, schedules among them."""

    values: tuple[Any, ...]

    def contains(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values


Space = dict[str, Range | Choices]


def shipped_setting(algo: str, env: str, n_timesteps: int | None = None) -> Settings:
    """Return the settings of an algorithm in a world before any tuning."""
    overrides = {} if n_timesteps is None else {"n_timesteps": n_timesteps}
    return resolve_settings(algo, env, overrides=overrides, tuned=False)


def read_space(algo: str, env: str) -> Space:
    """Return the search space of an algorithm in a world, checked.

    Raises:
        ValueError: the algorithm is a version of another, the file cannot be read, an entry is not a hyperparameter of
            the algorithm or has values that it does not take, or the shipped setting lies outside of a range.
    """
    algorithm = find_algorithm(algo)
    if algorithm.variant_of is not None:
        raise ValueError(
            f"algo must not be a version of another, got {algo!r}: its settings follow {algorithm.variant_of!r}, "
            "tune that"
        )
    path = algorithm.search_space
    if path is None:
        raise ValueError(f"{algo} has no search space: write DIR/{algo}.yaml and give --spaces DIR")
    entries = read_sections(algorithm, env, path)
    if not entries:
        raise ValueError(f"{path} must hold at least one entry for {env}")
    for key in entries:
        if key in _FIXED:
            raise ValueError(f"{key!r} in {path} is not tuned: it is the same for every algorithm")
    space: Space = {}
    for key, shipped in shipped_values(algo, shipped_setting(algo, env), entries).items():
        name = f"{key!r} in {path}"
        space[key] = _with_shipped(name, _read_entry(name, algorithm, env, key, entries[key]), shipped)
    return space


def shipped_values(algo: str, settings: Settings, keys: Iterable[str]) -> Settings:
    """Return some of the shipped hyperparameters, those of the class where no file sets them."""
    defaults = find_algorithm(algo).defaults
    return {key: settings[key] if key in settings else _written(defaults[key]) for key in keys}


def first_trials(algo: str, env: str, settings: Settings, space: Space) -> tuple[Settings, ...]:
    """Return what a search tries first: the shipped setting, then the defaults of the library that has the algorithm.

    Raises:
        ValueError: the defaults are no point of the space.
    """
    shipped, version = shipped_values(algo, settings, space), find_defaults(algo)
    if version is None:
        return (shipped,)
    defaults = resolve_settings(version.name, env, overrides={"n_timesteps": settings["n_timesteps"]}, tuned=False)
    values = shipped_values(version.name, defaults, space)
    held = shipped_values(algo, settings, [key for key in defaults if key not in space])
    outside = [key for key, value in held.items() if defaults[key] != value]
    outside += [key for key, value in values.items() if not space[key].contains(value)]
    if outside:
        raise ValueError(
            f"the search space of {algo} must contain the setting of {version.name}, got no such {outside[0]!r}"
        )
    return (shipped, values) if values != shipped else (shipped,)


def _written(value: Any) -> Any:
    """Return a default value as a settings file has it."""
    return {"points": [list(point) for point in value.points]} if isinstance(value, PiecewiseLinear) else value


def _read_entry(name: str, algorithm: Algorithm, env: str, key: str, entry: Any) -> Range | Choices:
    if not isinstance(entry, Mapping) or not {"choices", "low"} & set(entry):
        raise ValueError(f"{name} must be {{low: , high: }} or {{choices: [...]}}, got {entry!r}")
    for word in entry:
        check_choice(f"an entry of {name}", word, ("choices",) if "choices" in entry else ("low", "high", "log"))

    def checked(value: Any) -> Any:
        try:
            return resolve_settings(algorithm.name, env, overrides={key: value}, tuned=False)[key]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    if "choices" not in entry:
        return _read_range(name, checked, entry)
    choices = entry["choices"]
    if not isinstance(choices, list) or not choices or any(value in choices[:i] for i, value in enumerate(choices)):
        raise ValueError(f"the choices of {name} must be a list of different values, got {choices!r}")
    return Choices(tuple(checked(value) for value in choices))


def _read_range(name: str, checked: Callable[[Any], Any], entry: Mapping[str, Any]) -> Range:
    for word in ("low", "high"):
        check_number(f"{word} of {name}", entry.get(word))  # type: ignore[arg-type]
    low, high, log = checked(entry["low"]), checked(entry["high"]), entry.get("log", False)
    check_number(f"high of {name}", high, above=low)
    if not isinstance(log, bool):
        raise ValueError(f"log of {name} must be true or false, got {log!r}")
    if log:
        check_number(f"low of {name} (with log)", low, above=0.0)
    return Range(low, high, log)


def _with_shipped(name: str, entry: Range | Choices, shipped: Any) -> Range | Choices:
    if isinstance(entry, Choices):
        return entry if entry.contains(shipped) else Choices((*entry.values, shipped))
    if not entry.contains(shipped):
        raise ValueError(f"{name} must contain the shipped setting {shipped!r}, got {entry.low} to {entry.high}")
    return entry
