"""The tables of single worlds: what every algorithm came to, and what it was given."""

from __future__ import annotations

import numpy as np

from train.report.data import AlgorithmResults, Bench, WorldResults, advantage
from train.report.names import OURS
from train.report.resampling import Floats
from train.report.statistics import SEEDS_TO_DECIDE
from train.report.table import Cell, Row, Table, words_table
from train.report.words import lead, number

_VALUES = ("J, IQM [95 % interval]", "J, worst seed", "J, best seed")
_FIGURES = (*_VALUES, "normalised", "stability gap", "optimality gap", "discounted return", "episode return")
_ADVANTAGE = ("{ours} ahead, IQM", "{ours} ahead, worst vs best seed", "P({ours} better)")
#: What bold type says.
MARKED = (
    "Bold: the highest, and all that it cannot be told from by its interval; nothing with fewer than "
    f"{SEEDS_TO_DECIDE} seeds."
)
_ON_TERMINAL = (0, 1, 2, 3, 4)
_NOTE = (
    "IQM: interquartile mean over seeds, the lowest and the highest quarter left out; in brackets its 95 % interval. "
    f"{MARKED} J and the gaps are computed exactly from the final policy. Normalised: 0 is the uniform policy, 1 the "
    "best known. Returns are means over episodes played in the world that answers the final policy: discounted returns "
    "to the end of the discount, whatever the step limit; episode returns undiscounted and up to the step limit."
)
_NOTE_CUT = (
    " Discounted returns of runs without `discounted_return_rest` in their result.json end at the step limit, if the "
    "world has one, and are lower than J by what comes after it."
)
_NOTE_ADVANTAGE = (
    " “Ahead” is the difference in percent of the other algorithm’s J (in units of J where not both are positive): "
    "between the IQMs, and between the worst seed of the one and the best seed of the other. P: probability that a "
    "random seed of the one beats a random seed of the other."
)


def world_table(bench: Bench, world: WorldResults) -> Table:
    """Return the table of a world; our algorithm's advantage is there if it took part with others."""
    ours = world.ours if len(world.algorithms) > 1 else None
    headings = ("seeds", *_FIGURES, *(_ADVANTAGE if ours else ()))
    columns = tuple(heading.format(ours=ours.label if ours else "") for heading in headings)
    leaders = world.leaders(world.algorithms)
    rows = [
        Row(
            results.label,
            _figures(bench, world, results) + (_advantage(world, ours, results) if ours else ()),
            leads=results in leaders,
        )
        for results in sorted(world.algorithms, key=lambda results: results.variant_of is not None)
    ]
    shown = tuple(index for index in _ON_TERMINAL if index < len(columns))
    cut = any("discounted_return_rest" not in run.result for results in world.algorithms for run in results.runs)
    note = _NOTE + _NOTE_CUT * cut + (_NOTE_ADVANTAGE if ours else "")
    return Table(world.title, columns, tuple(rows), note=note, on_terminal=shown)


def effort_table(world: WorldResults) -> Table:
    """Return how much every algorithm was given in a world: steps, deployments, time."""
    rows = []
    for results in world.algorithms:
        steps, rounds = results.figures("steps"), results.figures("deployments")
        speed = sum(steps) / max(sum(results.figures("seconds")), 1e-9)
        seeds = results.seeds
        consecutive = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 1
        named = f"{seeds[0]}–{seeds[-1]}" if consecutive else ", ".join(map(str, seeds))
        rows.append((results.label, named, span(steps), span(rounds), f"{speed:,.0f}"))
    columns = ("algorithm", "seeds", "environment steps", "deployments", "steps per second")
    return words_table(world.title, columns, rows)


def span(values: Floats) -> str:
    """Return a number, or the smallest and the largest of several."""
    low, high = int(np.min(values)), int(np.max(values))
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _figures(bench: Bench, world: WorldResults, results: AlgorithmResults) -> tuple[Cell, ...]:
    done, decimals = len(results.runs), world.decimals
    planned = len(bench.plan.seeds_of(results.algo, world.env)) if bench.plan else done
    return (
        Cell(str(done) if done == planned else f"{done} of {planned}"),
        Cell.of(results.value, done, decimals),
        Cell(number(float(results.values.min()), decimals)),
        Cell(number(float(results.values.max()), decimals)),
        Cell.of(world.score(results), done, 3),
        Cell.of(results.estimated("stability_gap"), done, decimals),
        Cell.of(None if world.best_value is None else results.estimated("optimality_gap"), done, decimals),
        *(_mean(results, name, decimals) for name in ("discounted_return_mean", "rollout_return_mean")),
    )


def _mean(results: AlgorithmResults, name: str, decimals: int) -> Cell:
    mean = float(results.figures(name).mean())
    return Cell(number(None if np.isnan(mean) else mean, decimals))


def _advantage(world: WorldResults, ours: AlgorithmResults, results: AlgorithmResults) -> tuple[Cell, ...]:
    if results.algo == OURS:
        return (Cell(""), Cell(""), Cell(""))
    ahead = advantage(ours, results)
    return (
        Cell(lead(ahead.iqm, world.decimals)),
        Cell(lead(ahead.worst, world.decimals)),
        Cell.of(ahead.probability, min(len(ours.runs), len(results.runs)), 2),
    )
