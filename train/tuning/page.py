"""What tuning found, as a page to read beside the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from train.registry import ALGORITHMS
from train.report.words import number
from train.tuning.trials import TRIALS, Trial, best_trial, by_world
from train.yaml_files import dump_value

PAGE = "README.md"
_ABOUT = f"""# What tuning found

Written by `python -m train tune`. J is the mean exact performative value over the tuning seeds at the end of the
training: of the setting without tuning (trial 0), and of the winner. The highest of several means over few seeds is
rather too high; what a winner is worth the benchmark says, whose seeds are others. [{TRIALS}]({TRIALS}) has all
trials, seed by seed. A schedule is written as its values, each with the share of the training at which it is reached.
"""


def winners_page(trials: Sequence[Trial]) -> str:
    """Return the winners as Markdown, a table per world."""
    return "\n".join([_ABOUT, *(_table(env, in_world) for env, in_world in by_world(trials))])


def _table(env: str, trials: Sequence[Trial]) -> str:
    lines = [
        f"## {env}",
        "",
        "| algorithm | untuned | winner | won by | steps, seeds | settings |",
        "|---|--:|--:|--:|---|---|",
    ]
    order = list(ALGORITHMS)
    for algo in sorted({trial.algo for trial in trials}, key=order.index):
        mine = [trial for trial in trials if trial.algo == algo]
        best = best_trial(mine)
        if best is not None:
            settings = ", ".join(f"`{key}` {_value(value)}" for key, value in best.params.items())
            budget = f"{best.n_timesteps}, {len(best.values)}"
            figures = [number(mine[0].mean, 4), number(best.mean, 4), f"trial {best.trial} of {len(mine)}", budget]
            lines.append(f"| {ALGORITHMS[algo].label} | {' | '.join(figures)} | {settings} |")
    return "\n".join([*lines, ""])


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return " → ".join(f"{y:g} @ {x:g}" for x, y in value["points"])
    return dump_value(value)
