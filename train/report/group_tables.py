"""The tables of groups of worlds: aggregates, probabilities of improvement, and scores by world."""

from __future__ import annotations

from train.report.data import WorldResults
from train.report.groups import Group
from train.report.statistics import SEEDS_TO_DECIDE
from train.report.table import Cell, Row, Table
from train.report.words import counted, listing
from train.report.world_tables import MARKED

_SCORE = "Normalised scores: 0 is the uniform policy, 1 the best known. "


def aggregate_table(group: Group) -> Table:
    """Return interquartile mean, median and optimality gap over the worlds of a group."""
    best, decided = group.entrants[0].aggregate.iqm, min(entrant.n_runs for entrant in group.entrants)
    rows = [
        Row(
            entrant.label,
            (
                Cell(str(entrant.n_runs)),
                Cell.of(entrant.aggregate.iqm, entrant.n_runs, 3),
                Cell.of(entrant.aggregate.median, entrant.n_runs, 3),
                Cell.of(entrant.aggregate.optimality_gap, entrant.n_runs, 3),
            ),
            leads=decided >= SEEDS_TO_DECIDE and entrant.aggregate.iqm.overlaps(best),
        )
        for entrant in group.entrants
    ]
    note = (
        f"{_SCORE}Interquartile mean over all runs of {counted(len(group.scored), 'world')}, median over worlds of the "
        "mean over runs, and what is missing to 1 on average, where more than 1 counts as 1. In brackets 95 % "
        "intervals from the stratified bootstrap: runs are resampled within each world, and the worlds are taken as "
        f"they are. {MARKED} {' '.join(remarks(group))}"
    ).strip()
    columns = ("runs per world", "IQM", "median", "optimality gap")
    return Table(f"Aggregates: {group.title}", columns, tuple(rows), note=note, on_terminal=(0, 1, 2, 3))


def remarks(group: Group) -> list[str]:
    """Return what does not enter the aggregates of a group, and why."""
    said = []
    if group.unscored:
        names = listing([world.title for world in group.unscored])
        said.append(f"Left out, because no policy better than the uniform one is known there: {names}.")
    absent: dict[str, list[str]] = {}
    for label, worlds in group.missing.items():
        absent.setdefault(listing(worlds), []).append(label)
    said += [f"Not in the aggregates, absent from {where}: {listing(labels)}." for where, labels in absent.items()]
    cut = [entrant for entrant in group.entrants if entrant.n_runs < entrant.n_most]
    if cut:
        names = listing([f"{entrant.label} ({entrant.n_runs} of up to {entrant.n_most})" for entrant in cut])
        said.append(f"Numbers of seeds differ between worlds, and the first that all have count for {names}.")
    return said


def improvement_table(group: Group, ours: str) -> Table:
    """Return how probably a run of our algorithm beats one of each other."""
    rows = [
        Row(item.label, (Cell(str(item.n_worlds)), Cell.of(item.probability, item.n_runs, 3)))
        for item in group.improvements
    ]
    note = (
        f"Probability that a random run of {ours} beats a random run of the other in the same world, ties counting "
        "half: mean over the worlds in which both took part, all seeds, with 95 % interval (Wilson's in every world)."
    )
    return Table(f"Probability of improvement: {group.title}", ("worlds", f"P({ours} better)"), tuple(rows), note=note)


def score_matrix(group: Group, algos: list[str] | None = None, title: str = "Scores by world") -> Table:
    """Return normalised interquartile means of the algorithms in the worlds of a group, leaders in bold.

    Args:
        group: the worlds.
        algos: the rows, all algorithms by default.
        title: of the table.
    """
    shown = list(group.labels) if algos is None else algos
    rows = [Row(group.labels[algo], tuple(_score(world, algo, shown) for world in group.worlds)) for algo in shown]
    note = (
        f"{_SCORE}Interquartile means with 95 % intervals. {MARKED} A dash: did not take part, or nothing better than "
        "the uniform policy is known."
    )
    return Table(f"{title}: {group.title}", tuple(world.title for world in group.worlds), tuple(rows), note=note)


def _score(world: WorldResults, algo: str, shown: list[str]) -> Cell:
    results = world.find(algo)
    score = None if results is None else world.score(results)
    if results is None or score is None:
        return Cell.of(None, 0, 3)
    leaders = world.leaders([found for found in world.algorithms if found.algo in shown])
    return Cell.of(score, len(results.runs), 3, strong=results in leaders)
