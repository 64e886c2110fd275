"""How figures and lists are written in sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence

from train.report.statistics import Estimate, Lead

#: Lists of more names than this are cut short, if they can be.
_LONG = 6
#: So many may be missing from "all others but".
_MISSING = 3


def number(value: float | None, decimals: int) -> str:
    """Return a number with a fixed number of decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def written(estimate: Estimate, decimals: int, n_runs: int = 2) -> str:
    """Return a figure with its interval, which a single run does not have."""
    return f"{number(estimate.value, decimals)} {bracket(estimate, decimals, n_runs)}".strip()


def bracket(estimate: Estimate, decimals: int, n_runs: int = 2) -> str:
    """Return the interval of a figure alone."""
    return f"[{number(estimate.low, decimals)}, {number(estimate.high, decimals)}]" if n_runs > 1 else ""


def lead(ahead: Lead, decimals: int) -> str:
    """Return a lead in percent, or in units of reward where percents say nothing."""
    text = f"{ahead.difference:+.{decimals}f}" if ahead.percent is None else f"{ahead.percent:+.1f}\u00a0%"
    return text.replace("-", "−")


def percent(share: float, decimals: int = 0) -> str:
    """Return a share in percent."""
    return f"{100.0 * share:.{decimals}f}\u00a0%".replace("-", "−")


def listing(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def all_or_listing(names: Sequence[str], everyone: Sequence[str], which: str = "others") -> str:
    """Return the names, or ``all 12 others`` or ``all 12 others but A`` where they are many and few are missing."""
    missing = [name for name in everyone if name not in names]
    if len(names) <= _LONG or len(missing) > _MISSING:
        return listing(names)
    return f"all {len(everyone)} {which}{f' but {listing(missing)}' if missing else ''}"


def counted(count: int, noun: str) -> str:
    """Return ``1 run`` or ``2 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
