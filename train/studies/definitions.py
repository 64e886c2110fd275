"""The studies of agents that learn from samples: what varies, and the settings that stay."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ENV = "PerformativePricing-v0"
#: PePG on softmax tables, as in the theory. The step size is Adam's, per logit and round; the entropy weight is in
#: units of the range of the world's rewards.
_TABLES: dict[str, Any] = {"policy": "SoftmaxPolicy", "n_envs": 64, "n_steps": 16, "learning_rate": 0.1}
_SCHEDULE = {"points": [[0.0, 0.02], [0.5, 0.02], [0.8, 0.0]]}


@dataclass(frozen=True)
class Level:
    """One setting of what a study varies: ``group`` is compared within, ``name`` is what differs there."""

    name: str
    algo: str = "pepg"
    group: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    env: str = ENV


@dataclass(frozen=True)
class SampledStudy:
    """A study of training runs.

    Attributes:
        name: on the command line.
        title: heading of its page.
        about: what is done, in which units.
        n_timesteps: environment steps of each run by default.
        levels: what is compared.
    """

    name: str
    title: str
    about: str
    n_timesteps: int
    levels: tuple[Level, ...]


def _tables(**overrides: Any) -> dict[str, Any]:
    return copy.deepcopy({**_TABLES, "ent_coef": _SCHEDULE, **overrides})


ENTROPY = SampledStudy(
    "entropy",
    "Entropy",
    f"PePG on softmax tables in `{ENV}`, with a constant entropy weight λ in units of the range of the world's "
    "rewards: λ = 1 pays for a nat of entropy what the best reward is above the worst. “Schedule” is what PePG has "
    "by default: 0.02 for half of the training, given up by 0.8 of it. J is the exact performative value of the final "
    "policy, without entropy.",
    300_000,
    (
        *(Level(f"λ = {weight:g}", overrides=_tables(ent_coef=weight)) for weight in (0.0, 0.5, 1.0, 2.0)),
        Level("schedule", overrides=_tables()),
    ),
)

LEARNING_RATE = SampledStudy(
    "learning-rate",
    "Step size",
    f"PePG on softmax tables in `{ENV}`, with a constant step size η: that of Adam, so that a logit moves by about η "
    "per round of 64 agents × 16 steps. Entropy by schedule (0.02 of the range of rewards for half of the training, "
    "given up by 0.8 of it). J is the exact performative value of the final policy.",
    300_000,
    tuple(Level(f"η = {rate:g}", overrides=_tables(learning_rate=rate)) for rate in (0.1, 0.3, 0.5, 0.7)),
)

#: How the world answers, by name in the study: the world, or a variant of it.
RESPONSES = {"smooth": ENV} | {name: f"{ENV}@{name}" for name in ("piecewise-linear", "quantised", "noisy")}
STANDARD, STABILITY_SEEKING = {"PPO": "ppo", "A2C": "a2c"}, {"RR": "rr", "MDRR": "mdrr"}
#: The second best setting that tuning found for PPO; the best takes four times as long.
_LESS_TIME: dict[str, dict[str, Any]] = {"ppo": {"learning_rate": 1.1e-4, "n_steps": 32, "batch_size": 512}}
ROBUSTNESS = SampledStudy(
    "robustness",
    "Non-smooth and random answers",
    f"Algorithms in `{ENV}` whose market answers the policy as it is (smooth), through a piecewise linear curve, "
    "rounded to multiples of 1/8 (quantised; PePG is given the gradient as if it were not rounded), or with fresh "
    "noise at every deployment. PePG on softmax tables, the others with their shipped settings, but PPO in batches of "
    "512, which takes a quarter of the time (on the tuning seeds J is 9.5 then, and 9.7 with those of 64). J is the "
    "exact performative value of the final policy in the world that answers that way; values of different answers are "
    "not comparable.",
    200_000,
    tuple(
        Level(name, algo, response, settings, world)
        for response, world in RESPONSES.items()
        for name, algo, settings in (
            ("PePG", "pepg", _tables()),
            *((label, algo, _LESS_TIME.get(algo, {})) for label, algo in {**STANDARD, **STABILITY_SEEKING}.items()),
        )
    ),
)

SAMPLED = {study.name: study for study in (ENTROPY, LEARNING_RATE, ROBUSTNESS)}
