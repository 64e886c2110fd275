"""What a study was asked to test, and what its data say: decided by whether 95 % intervals are disjoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from train.report.statistics import SEEDS_TO_DECIDE, Estimate
from train.report.words import listing, number, written

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
_TOO_FEW = f"fewer than {SEEDS_TO_DECIDE} seeds decide nothing"


@dataclass(frozen=True)
class Claim:
    """A claim with its verdict and the figures that decided it."""

    text: str
    verdict: str
    because: str


def is_largest(text: str, name: str, estimates: Mapping[str, Estimate], n_seeds: int, decimals: int = 3) -> Claim:
    """Judge the claim that one figure lies above all others.

    Args:
        text: the claim.
        name: whose figure it is about.
        estimates: figures with intervals, those of ``name`` and of the others.
        n_seeds: how many seeds each of them has.
        decimals: of the figures in the text.
    """
    mine = estimates[name]
    others = {other: estimate for other, estimate in estimates.items() if other != name}
    above = [other for other, estimate in others.items() if estimate.low > mine.high]
    beside = [other for other, estimate in others.items() if estimate.overlaps(mine)]
    compared = f"{name} has {written(mine, decimals)}"
    if n_seeds < SEEDS_TO_DECIDE:
        return Claim(text, UNDECIDED, f"{compared}, but {_TOO_FEW}")
    if above:
        return Claim(text, FAILS, f"{compared}, below {_listed(others, above, decimals)}")
    if beside:
        return Claim(text, UNDECIDED, f"{compared}, which overlaps {_listed(others, beside, decimals)}")
    return Claim(text, HOLDS, f"{compared}, above {_listed(others, list(others), decimals)}")


def is_below(text: str, bound: float, estimate: Estimate, n_seeds: int, decimals: int = 2) -> Claim:
    """Judge the claim that a figure is at most ``bound``."""
    because = f"measured {written(estimate, decimals)}, claimed at most {number(bound, decimals)}"
    verdict = HOLDS if estimate.high <= bound else FAILS if estimate.low > bound else UNDECIDED
    if n_seeds < SEEDS_TO_DECIDE:
        return Claim(text, UNDECIDED, f"{because}, but {_TOO_FEW}")
    return Claim(text, verdict, because)


def _listed(estimates: Mapping[str, Estimate], names: list[str], decimals: int) -> str:
    return listing([f"{name} with {written(estimates[name], decimals)}" for name in names])
