"""Sentences about groups of worlds, written from the data."""

from __future__ import annotations

from train.report.groups import Entrant, Group, Improvement
from train.report.statistics import SEEDS_TO_DECIDE, Estimate
from train.report.words import all_or_listing, counted, listing, written
from train.report.world_findings import compared

_EVEN = Estimate(0.5, 0.5, 0.5)


def group_findings(group: Group, ours: str) -> list[str]:
    """Return what the results over a group of worlds say, one sentence each.

    Args:
        group: the worlds.
        ours: our algorithm's name for people.
    """
    said = [_first(group)] if group.is_aggregated else []
    return [*said, *_improvements(group.improvements, ours)]


def _first(group: Group) -> str:
    first, *rest = [entrant for entrant in group.entrants if entrant.variant_of is None] or group.entrants
    mine = first.aggregate.iqm
    score = f"a normalised score of {written(mine, 3, first.n_runs)} (interquartile mean; 1 is the best known policy)"
    where = f"Over {counted(len(group.scored), 'world')}"
    if not rest:
        return f"{where}, {first.label} has {score}; nobody else took part in all of them."
    if min(entrant.n_runs for entrant in (first, *rest)) < SEEDS_TO_DECIDE:
        return (
            f"{where}, {first.label} has the highest score: {score}; fewer than {SEEDS_TO_DECIDE} seeds decide nothing."
        )
    place = compared("its interval", mine, {entrant.label: entrant.aggregate.iqm for entrant in rest})
    return f"{where}, {first.label} has the highest score: {score}; {place}.{_versions_ahead(group, first)}"


def _versions_ahead(group: Group, first: Entrant) -> str:
    ahead = [
        entrant.label
        for entrant in group.entrants
        if entrant.variant_of is not None and entrant.aggregate.iqm.value > first.aggregate.iqm.value
    ]
    return (
        f" Among the versions of others, {listing(ahead)} scored higher still."
        if first.variant_of is None and ahead
        else ""
    )


def _improvements(items: tuple[Improvement, ...], ours: str) -> list[str]:
    decided = [item for item in items if item.n_runs >= SEEDS_TO_DECIDE]
    everyone = [item.label for item in decided]
    verdicts = {
        f"A random run of {ours} is more probably better than worse against": [
            item.label for item in decided if item.probability.is_above(_EVEN)
        ],
        f"A random run of {ours} is more probably worse than better against": [
            item.label for item in decided if _EVEN.is_above(item.probability)
        ],
        f"It is not decided whether a run of {ours} is rather better or worse against": [
            item.label for item in decided if item.probability.overlaps(_EVEN)
        ],
    }
    return [f"{text} {all_or_listing(names, everyone)}." for text, names in verdicts.items() if names]
