"""The figures of a benchmark: per world, what every algorithm came to over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.report.statistics import Estimate, estimate_iqm, probability_of_improvement
from train.results import Plan, SavedRun, find_runs, read_failures, read_plan

#: The algorithm whose advantage over the others is reported.
OURS = "pepg"


@dataclass(frozen=True)
class AlgorithmResults:
    """The finished runs of one algorithm in one world, by seed."""

    algo: str
    runs: tuple[SavedRun, ...]

    @property
    def label(self) -> str:
        """The algorithm's name for people."""
        return str(self.runs[0].result.get("label", self.algo))

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [int(run.result["seed"]) for run in self.runs]

    def figures(self, name: str) -> NDArray[np.float64]:
        """Return a figure of every run, NaN where it is not known."""
        values = [run.result[name] for run in self.runs]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def estimated(self, name: str) -> Estimate:
        """Return a figure's interquartile mean with its interval."""
        return estimate_iqm(self.figures(name))

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The exact performative value of every final policy."""
        return self.figures("performative_value")

    @cached_property
    def value(self) -> Estimate:
        """Interquartile mean of the performative values, with interval."""
        return estimate_iqm(self.values)

    @property
    def median_run(self) -> SavedRun:
        """The run with the median performative value; with an even number of runs, the lower of the two."""
        return self.runs[int(np.argsort(self.values, kind="stable")[(len(self.runs) - 1) // 2])]


@dataclass(frozen=True)
class WorldResults:
    """All algorithms in one world."""

    env: str
    algorithms: tuple[AlgorithmResults, ...]

    @property
    def title(self) -> str:
        """The world's name for people."""
        return self.env

    @property
    def best_value(self) -> float | None:
        """The best performative value known."""
        value: float | None = self.algorithms[0].runs[0].result["best_value"]
        return value

    @property
    def uniform_value(self) -> float:
        """The performative value of the uniform policy."""
        return float(self.algorithms[0].runs[0].result["uniform_value"])

    @property
    def decimals(self) -> int:
        """Decimals with which figures of this world are written: its largest value gets about four digits."""
        values = np.concatenate([results.values for results in self.algorithms])
        scale = max(float(np.abs(values).max()), abs(self.best_value or 0.0), abs(self.uniform_value))
        return int(np.clip(3 - np.round(np.log10(scale or 1.0)), 0, 8))

    @property
    def ranking(self) -> list[AlgorithmResults]:
        """The algorithms, the one with the highest interquartile mean first."""
        return sorted(self.algorithms, key=lambda results: -results.value.value)

    @property
    def ours(self) -> AlgorithmResults | None:
        """Our algorithm's results, if it took part."""
        return next((results for results in self.algorithms if results.algo == OURS), None)


@dataclass(frozen=True)
class Lead:
    """How far one value lies above another: in reward, and in percent where both are positive."""

    difference: float
    percent: float | None

    @classmethod
    def of(cls, value: float, reference: float) -> Lead:
        """Compare a value with a reference."""
        difference = value - reference
        return cls(difference, 100.0 * difference / reference if min(value, reference) > 0.0 else None)


@dataclass(frozen=True)
class Advantage:
    """How far one algorithm is ahead of another.

    Attributes:
        iqm: between the interquartile means.
        worst: between the worst seed of the one and the best seed of the other.
        probability: that a run of the one beats a run of the other.
    """

    iqm: Lead
    worst: Lead
    probability: Estimate


def advantage(one: AlgorithmResults, other: AlgorithmResults) -> Advantage:
    """Return how far ``one`` is ahead of ``other``."""
    return Advantage(
        Lead.of(one.value.value, other.value.value),
        Lead.of(float(one.values.min()), float(other.values.max())),
        probability_of_improvement(one.values, other.values),
    )


@dataclass(frozen=True)
class Bench:
    """Everything a report is made from."""

    folder: Path
    plan: Plan | None
    worlds: tuple[WorldResults, ...]
    failures: tuple[dict[str, object], ...] = ()

    @property
    def algos(self) -> list[str]:
        """The algorithms that have results, in order."""
        found = [results.algo for world in self.worlds for results in world.algorithms]
        return list(dict.fromkeys(found))

    @property
    def runs(self) -> list[SavedRun]:
        """All finished runs."""
        return [run for world in self.worlds for results in world.algorithms for run in results.runs]


def read_bench(folder: Path) -> Bench:
    """Read the results in a folder.

    Raises:
        ValueError: there is no finished run.
    """
    plan = read_plan(folder)
    runs = find_runs(folder, plan)
    if not runs:
        raise ValueError(f"{folder} holds no finished run (<algo>/<env>/seed_<k>/result.json)")
    return Bench(folder, plan, group(runs), tuple(read_failures(folder)))


def group(runs: Sequence[SavedRun]) -> tuple[WorldResults, ...]:
    """Group runs by world and algorithm, in the order in which they come."""
    grouped: dict[str, dict[str, list[SavedRun]]] = {}
    _check_comparable(runs)
    for run in runs:
        grouped.setdefault(run.result["env"], {}).setdefault(run.result["algo"], []).append(run)
    return tuple(
        WorldResults(env, tuple(AlgorithmResults(algo, tuple(found)) for algo, found in algorithms.items()))
        for env, algorithms in grouped.items()
    )


def _check_comparable(runs: Sequence[SavedRun]) -> None:
    """Raise ``ValueError`` unless all runs of a world id were made in the same world for the same number of steps."""
    first: dict[str, SavedRun] = {}
    for run in runs:
        other = first.setdefault(run.result["env"], run)
        for key in ("env_kwargs", "n_timesteps"):
            mine, theirs = run.config.get(key), other.config.get(key)
            if mine != theirs:
                raise ValueError(
                    f"runs of {run.result['env']} cannot be compared: {key} is {theirs} in {other.folder} "
                    f"but {mine} in {run.folder}"
                )
