"""Results over several worlds: normalised scores, and their statistics over the worlds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from train.report.data import Bench, WorldResults
from train.report.names import OURS, world_groups
from train.report.resampling import Floats
from train.report.statistics import Aggregate, Estimate, aggregate, average_improvement

#: Title of the worlds of a group in which nobody is missing.
COMPLETE = "{}, where every method took part"


@dataclass(frozen=True)
class Entrant:
    """An algorithm that took part in every world of a group.

    Attributes:
        algo: the algorithm.
        label: its name for people.
        variant_of: the algorithm that it is a version of.
        scores: normalised scores ``[runs, worlds]``: in every world the first seeds, as many as there are in all.
        n_most: runs in the world that has most; the others have been left out there.
    """

    algo: str
    label: str
    variant_of: str | None
    scores: Floats
    n_most: int

    @property
    def n_runs(self) -> int:
        """Runs per world that count."""
        return len(self.scores)

    @cached_property
    def aggregate(self) -> Aggregate:
        """Interquartile mean, median and optimality gap over the worlds."""
        return aggregate(self.scores)


@dataclass(frozen=True)
class Improvement:
    """How probably a run of our algorithm beats one of another, averaged over the worlds in which both took part."""

    algo: str
    label: str
    n_worlds: int
    n_runs: int
    probability: Estimate


@dataclass(frozen=True)
class Group:
    """Worlds that are summed up together; those in which nothing better than the uniform policy is known are not."""

    title: str
    worlds: tuple[WorldResults, ...]

    @cached_property
    def scored(self) -> tuple[WorldResults, ...]:
        """The worlds in which values can be normalised."""
        return tuple(world for world in self.worlds if world.scale is not None)

    @property
    def unscored(self) -> tuple[WorldResults, ...]:
        """The others."""
        return tuple(world for world in self.worlds if world.scale is None)

    @property
    def is_aggregated(self) -> bool:
        """Whether there is something to sum up."""
        return len(self.scored) > 1 and bool(self.entrants)

    @cached_property
    def labels(self) -> dict[str, str]:
        """Names of the algorithms in any of the worlds, ablations last."""
        found = [results for world in self.worlds for results in world.algorithms]
        return {
            results.algo: results.label for results in sorted(found, key=lambda results: results.variant_of is not None)
        }

    @cached_property
    def entrants(self) -> tuple[Entrant, ...]:
        """The algorithms that took part in every scored world, the one with the highest interquartile mean first."""
        found = [entrant for entrant in map(self._entrant, self.labels) if entrant is not None]
        return tuple(sorted(found, key=lambda entrant: -entrant.aggregate.iqm.value))

    @cached_property
    def missing(self) -> dict[str, list[str]]:
        """The worlds in which an algorithm did not take part, by the names of such algorithms."""
        absent = {
            label: [world.title for world in self.scored if world.find(algo) is None]
            for algo, label in self.labels.items()
        }
        return {label: worlds for label, worlds in absent.items() if worlds}

    @cached_property
    def improvements(self) -> tuple[Improvement, ...]:
        """Our algorithm against every other, where both took part; none if ours did not."""
        found = []
        for algo, label in self.labels.items():
            pairs = [(world.ours, world.find(algo)) for world in self.worlds]
            runs = [(ours.values, other.values) for ours, other in pairs if ours is not None and other is not None]
            if algo != OURS and runs:
                probability = average_improvement(*map(list, zip(*runs, strict=True)))
                n_runs = min(len(values) for pair in runs for values in pair)
                found.append(Improvement(algo, label, len(runs), n_runs, probability))
        return tuple(found)

    def _entrant(self, algo: str) -> Entrant | None:
        results = [world.find(algo) for world in self.scored]
        present = [found for found in results if found is not None]
        if not present or len(present) < len(results):
            return None
        counts = [len(found.runs) for found in present]
        scores = [
            world.normalised(found.values)[: min(counts)] for world, found in zip(self.scored, present, strict=True)
        ]
        return Entrant(algo, present[0].label, present[0].variant_of, np.array(scores).T, max(counts))


def groups(bench: Bench) -> list[Group]:
    """Return the worlds in groups; one with gaps is followed by those of its worlds in which no method is missing."""
    by_name = {world.env: world for world in bench.worlds}
    found = []
    for title, envs in world_groups(by_name).items():
        group = Group(title, tuple(by_name[env] for env in envs))
        found.append(group)
        complete = _complete(group)
        if complete is not None:
            found.append(complete)
    return found


def _complete(group: Group) -> Group | None:
    """Return the worlds in which all methods took part, if they are several and not all; ablations do not count."""
    methods = {results.algo for world in group.scored for results in world.competitors}
    whole = tuple(world for world in group.scored if methods <= {results.algo for results in world.algorithms})
    return Group(COMPLETE.format(group.title), whole) if 1 < len(whole) < len(group.scored) else None
