"""Schedules of training progress, as Stable-Baselines3 takes them: functions of the progress remaining, from 1 to 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perf_envs.validation import check_choice, check_number

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class PiecewiseLinear:
    """A schedule through given points of ``(progress done, value)``, constant before the first and after the last.

    A class rather than a closure, so that models with schedules can be saved, copied and shown.

    Raises:
        ValueError: progress outside [0, 1] or not increasing.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        progress = [check_number("progress", point[0], at_least=0.0, at_most=1.0) for point in self.points]
        if not progress or sorted(set(progress)) != progress:
            raise ValueError(f"points must have increasing progress between 0 and 1, got {self.points}")

    def __call__(self, progress_remaining: float) -> float:
        """Return the value at ``1 - progress_remaining`` of the training."""
        done = 1.0 - progress_remaining
        before, value = self.points[0]
        for after, target in self.points:
            if done <= after:
                share = 0.0 if after == before else max(0.0, (done - before) / (after - before))
                return value + share * (target - value)
            before, value = after, target
        return value


def ramp(end: float, start_value: float = 0.0, end_value: float = 1.0) -> PiecewiseLinear:
    """Go linearly from ``start_value`` to ``end_value`` over the first share ``end`` of the training."""
    return PiecewiseLinear(((0.0, start_value), (end, end_value)))


def hold_then_fall(value: float, hold: float, zero: float) -> PiecewiseLinear:
    """Keep ``value`` for a share ``hold`` of the training, then fall linearly to 0 at ``zero``."""
    return PiecewiseLinear(((0.0, value), (hold, value), (zero, 0.0)))


def as_schedule(name: str, value: float | Schedule | Mapping[str, Any]) -> Schedule:
    """Return a schedule from a number >= 0, a schedule, or ``{"points": [[progress, value], ...]}`` as in YAML.

    Raises:
        ValueError: a number or a value at a point is negative or not finite, or it is none of these.
    """
    if callable(value):
        return value
    if isinstance(value, Mapping):
        for key in value:
            check_choice(f"{name} key", key, ("points",))
        points = [(float(at), float(target)) for at, target in value["points"]]
        return PiecewiseLinear(
            tuple((at, check_number(f"{name} at progress {at:g}", to, at_least=0.0)) for at, to in points)
        )
    return PiecewiseLinear(((0.0, check_number(name, value, at_least=0.0)),))
