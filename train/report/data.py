"""The figures of a benchmark: per world, what every algorithm came to over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.plans import Plan
from train.registry import shipped_facts
from train.report.names import OURS, is_main
from train.report.statistics import SEEDS_TO_DECIDE, Estimate, Lead, estimate_iqm, probability_of_improvement
from train.results import read_failures, read_plan, survey
from train.saved_runs import SavedRun
from train.verification import check_figures

#: Share of the way from the uniform policy to the best known within which an algorithm counts as there.
AT_OPTIMUM = 1e-3
#: Relative difference of two values below which they count as equal.
_TIE = 1e-9
#: What all runs in a world have in common.
_SAME_IN_WORLD = ("env_kwargs", "n_timesteps")
#: What runs of one algorithm in a world may differ in: none of it changes what is learned.
_NO_SETTINGS = ("seed", "n_evals", "best_value", "device")


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
    def variant_of(self) -> str | None:
        """The algorithm that this one is a version of."""
        result = self.runs[0].result
        variant_of: str | None = result.get("variant_of", result.get("like"))  # older results have the latter
        return variant_of

    @property
    def knows(self) -> bool:
        """Whether the algorithm uses the response map; one that does not say so is not taken for one without."""
        said = [run.result.get("uses_response_map") for run in self.runs]
        if any(value is None for value in said):  # older results do not say
            facts = shipped_facts(self.algo) or shipped_facts(self.variant_of or "")
            return facts is None or bool(facts["uses_response_map"])
        return any(said)

    @property
    def is_played(self) -> bool:
        """Whether values are means of played episodes rather than exact."""
        return any(run.result.get("evaluation") == "played" for run in self.runs)

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [int(run.result["seed"]) for run in self.runs]

    def figures(self, name: str) -> NDArray[np.float64]:
        """Return a figure of every run, NaN where it is not known."""
        values = [run.result.get(name) for run in self.runs]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def estimated(self, name: str) -> Estimate | None:
        """Return a figure's interquartile mean with its interval, ``None`` where it is not known of every run."""
        figures = self.figures(name)
        return None if np.isnan(figures).any() else estimate_iqm(figures)

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
        values = [run.result.get("best_value") for results in self.algorithms for run in results.runs]
        return max((float(value) for value in values if value is not None), default=None)

    @property
    def uniform_value(self) -> float | None:
        """The performative value of the uniform policy, ``None`` where it is not known."""
        value: float | None = self.algorithms[0].runs[0].result["uniform_value"]
        return value

    @property
    def is_played(self) -> bool:
        """Whether values are means of played episodes rather than exact."""
        return any(results.is_played for results in self.algorithms)

    @property
    def decimals(self) -> int:
        """Decimals with which figures of this world are written: its largest value gets about four digits."""
        values = np.concatenate([results.values for results in self.algorithms])
        scale = max(float(np.abs(values).max()), abs(self.best_value or 0.0), abs(self.uniform_value or 0.0))
        return int(np.clip(3 - np.round(np.log10(scale or 1.0)), 0, 8))

    @property
    def scale(self) -> float | None:
        """The way from the uniform policy to the best known; ``None`` where no better policy is known."""
        best, uniform = self.best_value, self.uniform_value
        if best is None or uniform is None:
            return None
        return best - uniform if best - uniform > 1e-12 * max(1.0, abs(uniform)) else None

    def normalised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values as shares of the way from the uniform policy (0) to the best known (1).

        Raises:
            ValueError: no policy better than the uniform one is known.
        """
        if self.scale is None:
            raise ValueError(
                f"values in {self.env} cannot be normalised: no policy better than the uniform one is known"
            )
        return (values - (self.uniform_value or 0.0)) / self.scale

    def score(self, results: AlgorithmResults) -> Estimate | None:
        """Return the normalised interquartile mean of an algorithm, where there is one."""
        return None if self.scale is None else estimate_iqm(self.normalised(results.values))

    def find(self, algo: str) -> AlgorithmResults | None:
        """Return the results of an algorithm, ``None`` if it did not take part."""
        return next((results for results in self.algorithms if results.algo == algo), None)

    @property
    def competitors(self) -> tuple[AlgorithmResults, ...]:
        """The algorithms without ablations; all of them where there are only ablations."""
        return tuple(results for results in self.algorithms if results.variant_of is None) or self.algorithms

    @property
    def main(self) -> tuple[AlgorithmResults, ...]:
        """The algorithms of the main comparison; all competitors where none of those took part."""
        return tuple(results for results in self.competitors if is_main(results.algo)) or self.competitors

    @property
    def ranking(self) -> list[AlgorithmResults]:
        """The competitors, the one with the highest interquartile mean first."""
        return sorted(self.competitors, key=lambda results: -results.value.value)

    def at_optimum(self, results: AlgorithmResults) -> bool:
        """Whether an algorithm's interquartile mean is the best known value, but for a thousandth of the way there."""
        best, way = self.best_value, self.scale
        return best is not None and way is not None and best - results.value.value <= AT_OPTIMUM * way

    def tied(self, one: AlgorithmResults, other: AlgorithmResults) -> bool:
        """Whether two algorithms have the same interquartile mean, or are both at the best known value."""
        a, b = one.value.value, other.value.value
        return abs(a - b) <= _TIE * max(abs(a), abs(b)) or (self.at_optimum(one) and self.at_optimum(other))

    def leaders(self, among: Sequence[AlgorithmResults]) -> tuple[AlgorithmResults, ...]:
        """Return who may be the first of several: the highest, its ties, and whose interval overlaps its own.

        Nobody where one of them has too few seeds to be compared.
        """
        best = max(among, key=lambda results: results.value.value)
        if seeds_of(among) < SEEDS_TO_DECIDE:
            return ()
        return tuple(one for one in among if self.tied(best, one) or one.value.overlaps(best.value))

    @property
    def ours(self) -> AlgorithmResults | None:
        """Our algorithm's results, if it took part."""
        return self.find(OURS)


def seeds_of(many: Sequence[AlgorithmResults]) -> int:
    """Return the smallest number of runs that any of the algorithms has."""
    return min(len(results.runs) for results in many)


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
    """Everything a report is made from; ``notes`` say what lies in the folder and was left out."""

    folder: Path
    plan: Plan | None
    worlds: tuple[WorldResults, ...]
    failures: tuple[dict[str, object], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def algos(self) -> list[str]:
        """The algorithms that have results, in order."""
        found = [results.algo for world in self.worlds for results in world.algorithms]
        return list(dict.fromkeys(found))

    @property
    def labels(self) -> dict[str, str]:
        """Names of the algorithms for people."""
        return {results.algo: results.label for world in self.worlds for results in world.algorithms}

    @property
    def runs(self) -> list[SavedRun]:
        """All finished runs."""
        return [run for world in self.worlds for results in world.algorithms for run in results.runs]


def read_bench(folder: Path) -> Bench:
    """Read the results in a folder.

    Raises:
        ValueError: there is no finished run, a file cannot be read, files contradict each other, or runs of one world
            or of one algorithm cannot be compared.
    """
    plan = read_plan(folder)
    found = survey(folder, plan)
    if not found.runs:
        said = "".join(f"; {note}" for note in found.notes)
        raise ValueError(f"{folder} holds no finished run (<algo>/<env>/seed_<k>/result.json){said}")
    worlds = group(found.runs)
    check_figures(found.runs)
    return Bench(folder, plan, worlds, tuple(read_failures(folder)), tuple(found.notes))


def group(runs: Sequence[SavedRun]) -> tuple[WorldResults, ...]:
    """Group runs by world and algorithm, in the order in which they come.

    All optimality gaps of a world are measured from the best value that any of its runs knows.

    Raises:
        ValueError: runs of one world or of one algorithm cannot be compared.
    """
    grouped: dict[str, dict[str, list[SavedRun]]] = {}
    _check_comparable(runs)
    for run in _with_one_yardstick(runs):
        grouped.setdefault(run.result["env"], {}).setdefault(run.result["algo"], []).append(run)
    return tuple(
        WorldResults(env, tuple(AlgorithmResults(algo, tuple(found)) for algo, found in algorithms.items()))
        for env, algorithms in grouped.items()
    )


def _with_one_yardstick(runs: Sequence[SavedRun]) -> list[SavedRun]:
    best: dict[str, float] = {}
    for run in runs:
        env, value = run.result["env"], run.result.get("best_value")
        if value is not None:
            best[env] = max(best.get(env, value), value)
    measured = []
    for run in runs:
        value = best.get(run.result["env"])
        if value is not None and value != run.result.get("best_value"):
            gap = value - run.result["performative_value"]
            run = replace(run, result=run.result | {"best_value": value, "optimality_gap": gap})
        measured.append(run)
    return measured


def _check_comparable(runs: Sequence[SavedRun]) -> None:
    """Raise ``ValueError`` unless all runs in a world were made alike, and those of one algorithm with its settings."""
    in_world: dict[str, SavedRun] = {}
    of_algorithm: dict[tuple[str, str], SavedRun] = {}
    for run in runs:
        env, algo = run.result["env"], run.result["algo"]
        other = in_world.setdefault(env, run)
        elsewhere = run.is_from_elsewhere or other.is_from_elsewhere  # which has a budget of its own
        same = [key for key in _SAME_IN_WORLD if not (elsewhere and key == "n_timesteps")]
        differ = [key for key in same if run.config.get(key) != other.config.get(key)]
        if differ:
            raise ValueError(f"runs of {env} cannot be compared: {_difference(differ[0], other, run)}")
        other = of_algorithm.setdefault((env, algo), run)
        keys = [key for key in {**other.config, **run.config} if key not in _NO_SETTINGS]
        differ = [key for key in keys if run.config.get(key) != other.config.get(key)]
        if differ:
            raise ValueError(
                f"runs of {algo} in {env} are not of one algorithm: {_difference(differ[0], other, run)}; keep runs "
                "with other settings in a folder of their own"
            )


def _difference(key: str, one: SavedRun, other: SavedRun) -> str:
    return f"{key} is {one.config.get(key)} in {one.folder} but {other.config.get(key)} in {other.folder}"
