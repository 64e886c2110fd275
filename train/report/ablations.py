"""What is lost where a part of an algorithm is taken away, or its tuning: each version against the algorithm itself."""

from __future__ import annotations

from dataclasses import dataclass

from train.report.data import AlgorithmResults, Bench, WorldResults, seeds_of
from train.report.statistics import SEEDS_TO_DECIDE, Estimate, probability_of_improvement
from train.report.table import Cell, Row, Table
from train.report.words import listing, number, percent

LOSES, GAINS, UNDECIDED = "loses", "gains", "undecided"


@dataclass(frozen=True)
class Comparison:
    """An ablation beside the whole algorithm, in one world."""

    world: WorldResults
    whole: AlgorithmResults
    part: AlgorithmResults

    @property
    def n_seeds(self) -> int:
        """Runs that both have."""
        return seeds_of([self.whole, self.part])

    @property
    def verdict(self) -> str:
        """Decided by whether the intervals of the interquartile means are disjoint."""
        if self.n_seeds < SEEDS_TO_DECIDE or self.whole.value.overlaps(self.part.value):
            return UNDECIDED
        return LOSES if self.whole.value.is_above(self.part.value) else GAINS

    @property
    def cost(self) -> str:
        """What is lost, as a share of the way from the uniform policy to the best known where that is known."""
        lost = self.whole.value.value - self.part.value.value
        if self.world.scale is None:
            return f"{number(lost, self.world.decimals)} of J"
        return f"{percent(lost / self.world.scale, 1)} of the way"

    @property
    def probability(self) -> Estimate:
        """That a run of the whole algorithm beats one of the ablation."""
        return probability_of_improvement(self.whole.values, self.part.values)


def comparisons(bench: Bench) -> dict[str, list[Comparison]]:
    """Return every ablation, by its name, beside its whole algorithm in the worlds in which both took part."""
    found: dict[str, list[Comparison]] = {}
    for world in bench.worlds:
        for part in world.algorithms:
            whole = None if part.variant_of is None else world.find(part.variant_of)
            if whole is not None:
                found.setdefault(part.label, []).append(Comparison(world, whole, part))
    return found


def ablation_findings(bench: Bench) -> list[str]:
    """Return a sentence per ablation: what it costs, and where."""
    return [_sentence(label, found) for label, found in comparisons(bench).items()]


def ablation_table(label: str, found: list[Comparison]) -> Table:
    """Return an ablation beside the whole algorithm, a row per world."""
    whole = found[0].whole.label
    rows = [
        Row(
            item.world.title,
            (
                Cell.of(item.whole.value, len(item.whole.runs), item.world.decimals),
                Cell.of(item.part.value, len(item.part.runs), item.world.decimals),
                Cell(item.cost),
                Cell.of(item.probability, item.n_seeds, 2),
                Cell(item.verdict),
            ),
        )
        for item in found
    ]
    columns = (f"J of {whole}", f"J of {label}", "lost", f"P({whole} better)", "verdict")
    note = (
        "Interquartile means with 95 % intervals. Lost: in percent of the way from the uniform policy to the best "
        "known, or in units of J where that is said. “Loses” and “gains” where the intervals are disjoint "
        f"and of at least {SEEDS_TO_DECIDE} seeds."
    )
    return Table(f"{label}, beside {whole}", columns, tuple(rows), head="world", note=note)


def _sentence(label: str, found: list[Comparison]) -> str:
    whole = found[0].whole.label
    if all(item.n_seeds < SEEDS_TO_DECIDE for item in found):
        return f"{label}: fewer than {SEEDS_TO_DECIDE} seeds decide nothing."
    parts = []
    for verdict, text in ((LOSES, "loses against"), (GAINS, "gains on")):
        hits = [f"{item.world.title} ({item.cost.replace('−', '')})" for item in found if item.verdict == verdict]
        if hits:
            parts.append(f"{text} {whole} in {listing(hits)}")
    open_ = [item.world.title for item in found if item.verdict == UNDECIDED]
    if open_:
        parts.append(f"cannot be told from {whole} by its interval in {listing(open_)}")
    return f"{label} {listing(parts)}."
