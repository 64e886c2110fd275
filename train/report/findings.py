"""Sentences about who won, written from the data."""

from __future__ import annotations

from train.report.summary import AlgorithmResults, Lead, WorldResults

#: Relative difference of two values below which they count as equal.
_TIE = 1e-9
#: With fewer seeds an interval is little more than the worst and the best of them: the first only leads.
_SEEDS_TO_WIN = 3


def number(value: float | None, decimals: int) -> str:
    """Return a number with a fixed number of decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def lead(ahead: Lead, decimals: int) -> str:
    """Return a lead in percent, or in units of reward where percents say nothing."""
    text = f"{ahead.difference:+.{decimals}f}" if ahead.percent is None else f"{ahead.percent:+.1f}\u00a0%"
    return text.replace("-", "−")


def listing(names: list[str]) -> str:
    """Return ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def findings(world: WorldResults) -> list[str]:
    """Return what the results in a world say, one sentence each."""
    first, *rest = world.ranking
    sentences = [_winner(world, first, rest)]
    if rest and not tied(first, rest[0]):
        sentences += [_certainty(first, rest), _seed_by_seed(first, rest)]
    sentences += [_against_optimum(world, first), _stability(world)]
    return [sentence for sentence in sentences if sentence]


def tied(first: AlgorithmResults, second: AlgorithmResults) -> bool:
    """Whether two algorithms have the same interquartile mean."""
    a, b = first.value.value, second.value.value
    return abs(a - b) <= _TIE * max(abs(a), abs(b))


def _winner(world: WorldResults, first: AlgorithmResults, rest: list[AlgorithmResults]) -> str:
    value = f"a performative value J of {number(first.value.value, world.decimals)} (interquartile mean)"
    if not rest:
        return f"{first.label} reaches {value}; there is nothing to compare it with."
    equals = [results for results in rest if tied(first, results)]
    if equals:
        names = listing([first.label, *(results.label for results in equals)])
        return f"{names} tie for first place: each reaches {value}."
    others = listing([_behind(world, first, results) for results in rest])
    verb = "wins" if _is_certain(first, rest) else "leads"
    return f"{first.label} {verb} with {value}, ahead of {others}."


def _is_certain(first: AlgorithmResults, rest: list[AlgorithmResults]) -> bool:
    several = min(len(results.runs) for results in (first, *rest)) >= _SEEDS_TO_WIN
    return several and not any(first.value.overlaps(results.value) for results in rest)


def _behind(world: WorldResults, first: AlgorithmResults, other: AlgorithmResults) -> str:
    ahead = lead(Lead.of(first.value.value, other.value.value), world.decimals)
    return f"{other.label} with {number(other.value.value, world.decimals)} ({ahead})"


def _certainty(first: AlgorithmResults, rest: list[AlgorithmResults]) -> str:
    if min(len(results.runs) for results in (first, *rest)) < 2:
        return "With a single seed there are no intervals: the order may be chance."
    overlapping = [results.label for results in rest if first.value.overlaps(results.value)]
    if overlapping:
        return f"Its 95\u00a0% interval overlaps that of {listing(overlapping)}: that order may be chance."
    return f"Its 95\u00a0% interval lies above {'that' if len(rest) == 1 else 'those'} of {_labels(rest)}."


def _seed_by_seed(first: AlgorithmResults, rest: list[AlgorithmResults]) -> str:
    beaten = [results for results in rest if first.values.min() > results.values.max()]
    if not beaten or min(len(results.runs) for results in (first, *rest)) < 2:
        return ""
    return f"Even its worst seed is better than the best seed of {_labels(beaten)}."


def _against_optimum(world: WorldResults, first: AlgorithmResults) -> str:
    best, uniform = world.best_value, world.uniform_value
    if best is None or best <= uniform:
        return ""
    share = f"{100.0 * (first.value.value - uniform) / (best - uniform):.0f}\u00a0%".replace("-", "−")
    low, high = number(uniform, world.decimals), number(best, world.decimals)
    return f"From the uniform policy ({low}) to the best known optimum ({high}), {first.label} is {share} of the way."


def _stability(world: WorldResults) -> str:
    if len(world.algorithms) < 2:
        return ""
    gaps = sorted((results.estimated("stability_gap").value, results.label) for results in world.algorithms)
    (low, nearest), (high, farthest) = gaps[0], gaps[-1]
    return (
        f"Nearest to performative stability, which is another thing than a high J, is {nearest} "
        f"(stability gap {number(low, world.decimals)}); farthest is {farthest} ({number(high, world.decimals)})."
    )


def _labels(many: list[AlgorithmResults]) -> str:
    return listing([results.label for results in many])
