"""Settings of algorithms: checked and used as they are now, whoever gave them.

A setting may come from the constructor, from ``load(path, setting=...)``, which writes attributes past the constructor,
or from ``model.setting = ...``. So attributes hold what was given, rules say what may be given, and schedules are asked
where they are used. Rules are applied when a model is set up (built or loaded) and at the start of every ``learn``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.common.queries import world_discount
from agents.common.refusals import check_batch_size
from agents.common.schedules import PiecewiseLinear, as_schedule
from perf_envs.validation import check_choice, check_count, check_number, did_you_mean

#: Takes name and value of a setting, and returns the value as it is used, or raises ``ValueError``.
Rule = Callable[[str, Any], Any]


def count(at_least: int = 1) -> Rule:
    """Return the rule of a whole number."""
    return lambda name, value: check_count(name, value, at_least=at_least)


def number(**bounds: float) -> Rule:
    """Return the rule of a number within bounds, as :func:`perf_envs.validation.check_number` takes them."""
    return lambda name, value: check_number(name, value, **bounds)


def choice(options: Iterable[str]) -> Rule:
    """Return the rule of one of several names."""
    known = tuple(options)
    return lambda name, value: check_choice(name, value, known)


@dataclass(frozen=True)
class Optional:
    """A rule that lets ``None`` pass as well."""

    rule: Rule

    def __call__(self, name: str, value: Any) -> Any:
        """Return what the rule returns, or ``None``."""
        return None if value is None else self.rule(name, value)


def or_none(rule: Rule) -> Rule:
    """Return a rule that lets ``None`` pass as well."""
    return Optional(rule)


def minibatch(name: str, value: Any) -> int | None:
    """Check the size of a minibatch: two steps at least, or ``None`` for the whole rollout."""
    return check_batch_size(value)


@dataclass(frozen=True)
class Scheduled:
    """The rule of a number or a schedule of the progress remaining, whose values are within bounds."""

    bounds: Mapping[str, float] = field(default_factory=lambda: {"at_least": 0.0})

    def __call__(self, name: str, value: Any) -> Any:
        """Return a number as it is, and anything else as a schedule."""
        if not callable(value) and not isinstance(value, Mapping):
            return check_number(name, value, **self.bounds)
        schedule = as_schedule(name, value)
        if isinstance(schedule, PiecewiseLinear):
            for progress, target in schedule.points:
                check_number(f"{name} at progress {progress:g}", target, **self.bounds)
        return schedule

    def at(self, name: str, value: Any, progress_remaining: float) -> float:
        """Return the value at a point of the training.

        Raises:
            ValueError: the schedule has a value there that is out of bounds.
        """
        if not callable(value):
            return check_number(name, value, **self.bounds)
        now = value(progress_remaining)
        return check_number(f"{name} at progress {1.0 - progress_remaining:.4g}", float(now), **self.bounds)


def scheduled(**bounds: float) -> Scheduled:
    """Return the rule of a number or schedule; without bounds, of one that is never negative."""
    return Scheduled(bounds or {"at_least": 0.0})


#: Attributes that Stable-Baselines3's own scripts replace in ``load`` too.
_BESIDE_SETTINGS = ("observation_space", "action_space", "n_envs", "lr_schedule", "num_timesteps", "action_noise")
#: What all on-policy algorithms have.
_COMMON: dict[str, Rule] = {
    "learning_rate": scheduled(),
    "n_steps": count(),
    "gae_lambda": number(at_least=0.0, at_most=1.0),
}


class Settings(OnPolicyAlgorithm):
    """Mixin: an on-policy algorithm whose settings count as they are when ``learn`` is called.

    Subclasses list rules by attribute in ``rules``; those of their bases hold too.
    """

    rules: ClassVar[Mapping[str, Rule]] = _COMMON
    #: Names that attributes had in saved models of older versions, by today's name.
    older_names: ClassVar[Mapping[str, str]] = {}

    @classmethod
    @functools.cache
    def all_rules(cls) -> dict[str, Rule]:
        """Return the rules of this class and its bases by attribute."""
        rules: dict[str, Rule] = {}
        for base in reversed(cls.__mro__):
            rules |= base.__dict__.get("rules", {})
        return rules

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a model, as in Stable-Baselines3; keyword arguments are settings that replace the saved ones.

        Raises:
            ValueError: a setting does not exist, is out of range, or is one that a model is made with once and for all.
        """
        cls._check_given(set(kwargs) - set(inspect.signature(OnPolicyAlgorithm.load).parameters))
        for name, older in cls.older_names.items():
            if name in kwargs:  # or what an older version has saved under another name would win
                kwargs[older] = kwargs[name]
        return super().load(*args, **kwargs)

    @classmethod
    def _check_given(cls, names: Iterable[str]) -> None:
        """Raise ``ValueError`` for what would have no effect, with the nearest setting that has."""
        takes = [*inspect.signature(cls.__init__).parameters, *_BESIDE_SETTINGS]
        for name in names:
            if name in ("policy", "_init_setup_model"):
                raise ValueError(f"{name} cannot be given to load: it is that of the saved model")
            if name not in takes:
                raise ValueError(f"{name!r} is not a setting of {cls.__name__}{did_you_mean(name, takes)}")

    def check_settings(self) -> None:
        """Check all settings, and bring them into the form in which they are used.

        Raises:
            ValueError: one of them is out of range; nothing is changed then.
        """
        checked = {name: rule(name, getattr(self, name)) for name, rule in self.all_rules().items()}
        for name, value in checked.items():
            setattr(self, name, value)

    def value_of(self, name: str, progress_remaining: float | None = None) -> float:
        """Return the value of a setting that may be a schedule, now or at another point of the training."""
        rule = self.all_rules()[name]
        rule = rule.rule if isinstance(rule, Optional) else rule
        if not isinstance(rule, Scheduled):
            raise TypeError(f"{name} is no setting that may be a schedule")
        progress = self._current_progress_remaining if progress_remaining is None else progress_remaining
        return rule.at(name, getattr(self, name), progress)

    def _setup_model(self) -> None:
        for name, older in self.older_names.items():
            if older in self.__dict__:
                setattr(self, name, self.__dict__.pop(older))
        if "stats_window_size" in self.__dict__:  # given to load
            self._stats_window_size = self.__dict__.pop("stats_window_size")
        self.check_settings()
        self._build()

    def _build(self) -> None:
        """Make buffers, networks and generators of random numbers."""
        super()._setup_model()

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        self.check_settings()
        self._setup_lr_schedule()
        self._fit_buffer()
        return super()._setup_learn(*args, **kwargs)

    def _fit_buffer(self) -> None:
        """Let the rollout buffer follow the settings."""
        buffer: RolloutBuffer | None = self.rollout_buffer  # tabular methods have none
        if buffer is None:
            return
        if (buffer.buffer_size, buffer.n_envs) != (self.n_steps, self.n_envs):
            make = cast(type[RolloutBuffer], self.rollout_buffer_class)
            self.rollout_buffer = buffer = make(
                self.n_steps,
                self.observation_space,
                self.action_space,
                device=self.device,
                gamma=self.gamma,
                gae_lambda=self.gae_lambda,
                n_envs=self.n_envs,
                **self.rollout_buffer_kwargs,
            )
        buffer.gamma, buffer.gae_lambda = self.gamma, self.gae_lambda

    def _update_learning_rate(self, optimizers: Any) -> None:
        self.value_of("learning_rate")  # within its bounds
        super()._update_learning_rate(optimizers)


class OwnOrWorldsDiscount(Settings):
    """Mixin: a discount that the user gave stays; otherwise it is that of the world, wherever the world comes from.

    Given are a ``gamma`` of the constructor or of ``load`` and one set as attribute; ``None`` is none.
    """

    #: The discount without a world.
    _NO_WORLD = 0.99
    #: The discount taken from a world, until a user sets another; ``None`` once one was given.
    _taken_discount: float | None = None

    def _first_discount(self, gamma: float | None) -> float:
        """Return the discount to build the model with, from the constructor's argument."""
        self._taken_discount = self._NO_WORLD if gamma is None else None
        return self._NO_WORLD if gamma is None else gamma

    def _discount_in(self, venv: VecEnv | None) -> float:
        """Return the discount to use in an environment."""
        given = cast(float | None, self.gamma)
        if given is not None and given != self._taken_discount:
            return given
        of_world = None if venv is None else world_discount(venv)
        return self._NO_WORLD if of_world is None else of_world

    def _take_discount(self, venv: VecEnv | None) -> None:
        """Use that discount from here on."""
        gamma = self._discount_in(venv)
        if self.gamma in (None, self._taken_discount):
            self._taken_discount = gamma
        self.gamma = gamma

    def _setup_model(self) -> None:
        # An older version saved what was given, None for nothing.
        if self.__dict__.pop("_own_discount", self) is None:
            self._taken_discount = self.gamma
        super()._setup_model()
