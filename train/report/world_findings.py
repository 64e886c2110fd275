"""Sentences about who won in a world, written from the data."""

from __future__ import annotations

from train.report.data import AT_OPTIMUM, AlgorithmResults, Bench, WorldResults, seeds_of
from train.report.names import OURS
from train.report.statistics import SEEDS_TO_DECIDE, Estimate, Lead
from train.report.words import all_or_listing, counted, lead, listing, number, percent

#: Share of the way by which a value may lie above the best known and still be the same.
_ROUNDING = 1e-6
_ABOVE = "above"
#: Rivals that the first sentence names.
_NAMED = 3


def findings(world: WorldResults) -> list[str]:
    """Return what the results in a world say, one sentence each."""
    first, *rest = world.ranking
    sentences = [_winner(world, first, rest)]
    if rest and not world.tied(first, rest[0]):
        sentences += [_certainty(first, rest), _seed_by_seed(first, rest)]
    sentences += [_against_optimum(world, first), _against_uninformed(world), _version_ahead(world, first)]
    return [sentence for sentence in [*sentences, _stability(world), _played(world)] if sentence]


def _played(world: WorldResults) -> str:
    if not world.is_played:
        return ""
    return (
        "How this world responds is not known: J is the mean discounted return of played episodes, with a standard "
        "error in results.csv, and there is no stability gap."
    )


def compared(name: str, mine: Estimate, others: dict[str, Estimate], which: str = "others") -> str:
    """Return where an interval lies among others, by their names."""
    parts = {
        "lies above": [other for other, estimate in others.items() if mine.is_above(estimate)],
        "overlaps": [other for other, estimate in others.items() if mine.overlaps(estimate)],
        "lies below": [other for other, estimate in others.items() if estimate.is_above(mine)],
    }
    said = [
        f"{verb} {'that' if len(names) == 1 else 'those'} of {all_or_listing(names, list(others), which)}"
        for verb, names in parts.items()
        if names
    ]
    return f"{name} {listing(said)}"


def tally(bench: Bench) -> list[str]:
    """Return in how many worlds our algorithm is first, and how it stands to the methods that know less."""
    worlds = [world for world in bench.worlds if world.ours is not None and len(world.competitors) > 1]
    if not worlds:
        return []
    name, total = bench.labels[OURS], f"of {counted(len(worlds), 'world')}"
    first = [world for world in worlds if world.ranking[0] is world.ours]
    tied = [world for world in worlds if world not in first and world.ours and world.tied(world.ranking[0], world.ours)]
    beside = f", and ties with the highest in {len(tied)} more" if tied else ""
    said = [f"{name} has the highest J of all methods in {len(first)} {total}{beside}."]
    standings = [(world, _standing(world)) for world in worlds]
    judged = [(world, standing) for world, standing in standings if standing]
    if judged:
        clear = [world for world, standing in judged if standing == _ABOVE]
        rest = [f"{world.title} ({standing})" for world, standing in judged if standing != _ABOVE]
        said.append(
            f"{name}'s 95\u00a0% interval lies above those of all methods that do not know the response map in "
            f"{len(clear)} of {counted(len(judged), 'world')}{f'; not in {listing(rest)}' if rest else ''}."
        )
    return said


def _standing(world: WorldResults) -> str:
    """Return how our interval lies to those of the methods that know less; empty where too few seeds say so."""
    others = [results for results in world.competitors if not results.knows]
    if world.ours is None or not others or seeds_of([world.ours, *others]) < SEEDS_TO_DECIDE:
        return ""
    above = [results.label for results in others if results.value.is_above(world.ours.value)]
    beside = [results.label for results in others if results.value.overlaps(world.ours.value)]
    said = [f"below {listing(above)}"] if above else []
    return ", ".join([*said, *([f"overlaps {listing(beside)}"] if beside else [])]) or _ABOVE


def _winner(world: WorldResults, first: AlgorithmResults, rest: list[AlgorithmResults]) -> str:
    value = f"a performative value J of {number(first.value.value, world.decimals)} (interquartile mean)"
    if not rest:
        return f"{first.label} reaches {value}; there is nothing to compare it with."
    equals = [results for results in rest if world.tied(first, results)]
    if equals:
        names = listing([first.label, *(results.label for results in equals)])
        if world.at_optimum(first):
            best = number(world.best_value, world.decimals)
            return f"{names} tie at the best known value, {best} (within {percent(AT_OPTIMUM, 1)} of the way there)."
        return f"{names} tie for first place: each reaches {value}."
    behind = [_behind(world, first, results) for results in rest[:_NAMED]]
    behind += [counted(len(rest) - _NAMED, "other")] if len(rest) > _NAMED else []
    verb = "wins" if _is_certain(first, rest) else "leads"
    return f"{first.label} {verb} with {value}, ahead of {listing(behind)}."


def _is_certain(first: AlgorithmResults, rest: list[AlgorithmResults]) -> bool:
    return seeds_of([first, *rest]) >= SEEDS_TO_DECIDE and all(first.value.is_above(results.value) for results in rest)


def _behind(world: WorldResults, first: AlgorithmResults, other: AlgorithmResults) -> str:
    ahead = lead(Lead.of(first.value.value, other.value.value), world.decimals)
    return f"{other.label} with {number(other.value.value, world.decimals)} ({ahead})"


def _certainty(first: AlgorithmResults, rest: list[AlgorithmResults]) -> str:
    n_seeds = seeds_of([first, *rest])
    if n_seeds < 2:
        return "With a single seed there are no intervals: the order may be chance."
    if n_seeds < SEEDS_TO_DECIDE:
        return f"Fewer than {SEEDS_TO_DECIDE} seeds decide nothing: the order may be chance."
    overlapping = [results.label for results in rest if first.value.overlaps(results.value)]
    if overlapping:
        names = all_or_listing(overlapping, [results.label for results in rest])
        return f"Its 95\u00a0% interval overlaps that of {names}: that order may be chance."
    everyone = [results.label for results in rest]
    names = all_or_listing(everyone, everyone)
    return f"Its 95\u00a0% interval lies above {'that' if len(rest) == 1 else 'those'} of {names}."


def _seed_by_seed(first: AlgorithmResults, rest: list[AlgorithmResults]) -> str:
    beaten = [results.label for results in rest if first.values.min() > results.values.max()]
    if not beaten or seeds_of([first, *rest]) < 2:
        return ""
    names = all_or_listing(beaten, [results.label for results in rest])
    return f"Even its worst seed is better than the best seed of {names}."


def _against_optimum(world: WorldResults, first: AlgorithmResults) -> str:
    if world.scale is None:
        return ""
    ours = world.ours
    shown = [first] if ours is None or ours is first else [first, ours]
    ways = listing([f"{results.label} is {_way(_share(world, results))} of the way" for results in shown])
    low, high = (number(value, world.decimals) for value in (world.uniform_value, world.best_value))
    sentence = f"From the uniform policy ({low}) to the best known optimum ({high}), {ways}."
    beyond = [results.label for results in world.algorithms if _share(world, results) > 1.0 + _ROUNDING]
    return f"{sentence} Beyond that: {listing(beyond)}; a better policy is known now." if beyond else sentence


def _way(share: float) -> str:
    """Return a share in percent, with a decimal where whole percents would say that nothing is missing."""
    return percent(share, 1 if 0.99 <= share < 1.0 else 0)


def _share(world: WorldResults, results: AlgorithmResults) -> float:
    return (results.value.value - (world.uniform_value or 0.0)) / (world.scale or 1.0)


def _against_uninformed(world: WorldResults) -> str:
    """Return our algorithm against the methods that do not know the response map."""
    ours = world.ours
    others = [results for results in world.competitors if not results.knows]
    if ours is None or len(others) < 2:
        return ""
    against = f"Against the {counted(len(others), 'method')} that do not know the response map"
    if seeds_of([ours, *others]) < SEEDS_TO_DECIDE:
        return f"{against}, fewer than {SEEDS_TO_DECIDE} seeds decide nothing."
    where = compared("interval", ours.value, {results.label: results.value for results in others}, "of them")
    return f"{against}, {ours.label}'s {where}."


def _version_ahead(world: WorldResults, first: AlgorithmResults) -> str:
    ahead = [
        results.label
        for results in world.algorithms
        if results not in world.competitors
        and results.value.value > first.value.value
        and not world.tied(first, results)
    ]
    return f"Among the versions of others, {listing(ahead)} reached a higher J still." if ahead else ""


def _stability(world: WorldResults) -> str:
    known = [(results.estimated("stability_gap"), results.label) for results in world.algorithms]
    gaps = sorted((gap.value, label) for gap, label in known if gap is not None)
    if len(gaps) < 2:
        return ""
    (low, nearest), (high, farthest) = gaps[0], gaps[-1]
    return (
        f"Nearest to performative stability, which is another thing than a high J, is {nearest} "
        f"(stability gap {number(low, world.decimals)}); farthest is {farthest} ({number(high, world.decimals)})."
    )
