"""Making the runs of a study of sampled agents, and judging them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from train.report.resampling import Floats
from train.report.statistics import SEEDS_TO_DECIDE, Estimate, estimate_iqm, estimate_spread
from train.report.styles import INK, PALETTE, drawing, new_figure
from train.report.words import listing, number, written
from train.studies.claims import HOLDS, Claim, is_largest
from train.studies.definitions import RESPONSES, STABILITY_SEEKING, STANDARD, Level, SampledStudy
from train.studies.page import StudyPage
from train.yardstick import measured

if TYPE_CHECKING:
    from train.bench import BenchReport
    from train.run import Run

# What trains is imported where it is needed, so that the report can judge saved data without it.

_FIGURES = ("performative_value", "stability_gap", "optimality_gap", "best_value", "uniform_value")
Values = Mapping[str, Mapping[str, Floats]]
Estimates = Mapping[str, Mapping[str, Estimate]]


def plan_study(study: SampledStudy, seeds: int, out: Path, n_timesteps: int | None = None) -> list[tuple[Level, Run]]:
    """Return the runs of a study, each with its level."""
    from train.run import plan_run

    steps = study.n_timesteps if n_timesteps is None else n_timesteps
    return [
        (level, plan_run(level.algo, level.env, seed, overrides={**level.overrides, "n_timesteps": steps}, out=folder))
        for level in study.levels
        for folder in [out / "runs" / _folder_name(level)]
        for seed in range(seeds)
    ]


def run_study(
    study: SampledStudy,
    seeds: int,
    out: Path,
    n_timesteps: int | None = None,
    jobs: int | None = None,
    engine: str = "joblib",
) -> tuple[StudyPage | None, BenchReport]:
    """Make the runs that are missing; return what they say, ``None`` if some failed twice."""
    from train.bench import make_runs

    planned = plan_study(study, seeds, out, n_timesteps)
    report = make_runs([run for _, run in planned], jobs, engine=engine)
    return None if report.failures else judge(study, collect(planned)), report


def collect(planned: Sequence[tuple[Level, Run]]) -> pd.DataFrame:
    """Return one row per finished run."""
    from train.run import read_result

    rows = []
    for level, run in planned:
        result = measured(read_result(run), run.config)
        row = {"group": level.group, "setting": level.name, "seed": run.seed, "steps": result["steps"]}
        rows.append({**row, **{name: result[name] for name in _FIGURES}})
    return pd.DataFrame(rows)


def judge(study: SampledStudy, data: pd.DataFrame) -> StudyPage:
    """Return the page of a study from its data, see :func:`collect`."""
    values: dict[str, dict[str, Floats]] = {}
    for (group, name), found in data.groupby(["group", "setting"], sort=False):
        values.setdefault(str(group), {})[str(name)] = found["performative_value"].to_numpy(dtype=np.float64)
    estimates = {group: {name: estimate_iqm(of[name]) for name in of} for group, of in values.items()}
    rows = [
        _row(group, name, scores, estimates[group][name])
        for group, of_group in values.items()
        for name, scores in of_group.items()
    ]
    columns = ("setting", "J, IQM [95 % interval]", "standard deviation [95 % interval]", "worst seed", "best seed")
    seeds = int(data.groupby(["group", "setting"]).size().min())
    claims = _claims(study, values, estimates, seeds)
    with drawing():
        figure = _figure(values, estimates, data)
    findings = _findings(data, estimates, claims, seeds)
    return StudyPage(study.name, study.title, study.about, data, columns, rows, claims, findings, figure)


def _folder_name(level: Level) -> str:
    """Return a name for files: ``λ = 0.5`` becomes ``0.5``; algorithms have folders of their own below it."""
    return level.group or level.name.rsplit("= ")[-1]


def _row(group: str, name: str, scores: Floats, estimate: Estimate) -> tuple[str, ...]:
    spread = estimate_spread(scores)
    label = f"{group}, {name}" if group else name
    ends = (number(float(scores.min()), 3), number(float(scores.max()), 3))
    return (label, written(estimate, 3), written(spread, 3), *ends)


def _claims(study: SampledStudy, values: Values, estimates: Estimates, seeds: int) -> list[Claim]:
    if study.name == "entropy":
        constant = {name: estimate for name, estimate in estimates[""].items() if name != "schedule"}
        return [is_largest("Strong entropy (λ = 2) gives the best final performance.", "λ = 2", constant, seeds)]
    if study.name == "learning-rate":
        spreads = {name: estimate_spread(values[""][name]) for name in ("η = 0.1", "η = 0.3", "η = 0.5")}
        return [
            is_largest("η = 0.5 gives the best value.", "η = 0.5", estimates[""], seeds),
            is_largest("η = 0.5 has more variance (standard deviation) than smaller steps.", "η = 0.5", spreads, seeds),
        ]
    rivals = {"standard policy gradients": STANDARD, "methods that seek stability": STABILITY_SEEKING}
    return [
        is_largest(
            f"{response}: PePG beats {kind}.",
            "PePG",
            {name: estimates[response][name] for name in ("PePG", *algos)},
            seeds,
        )
        for response in RESPONSES
        for kind, algos in rivals.items()
    ]


def _findings(data: pd.DataFrame, estimates: Estimates, claims: Sequence[Claim], seeds: int) -> list[str]:
    sentences = []
    for group, of_group in estimates.items():
        ranked = sorted(of_group, key=lambda name: -of_group[name].value)
        best = of_group[ranked[0]]
        equal = [name for name in ranked[1:] if of_group[name].overlaps(best)]
        where = f"With the {group} answer " if group else ""
        beside = f"; its interval overlaps that of {listing(equal)}" if equal else ", its interval above all others"
        beside = beside if seeds >= SEEDS_TO_DECIDE else ""
        sentences.append(f"{where}{ranked[0]} has the highest J, {written(best, 3)}{beside}.")
        uniform = float(data[data["group"] == group]["uniform_value"].iloc[0])
        below = [name for name in ranked if of_group[name].high < uniform]
        if below and seeds >= SEEDS_TO_DECIDE:
            sentences.append(f"Below the uniform policy ({number(uniform, 3)}): {listing(below)}.")
    held = sum(claim.verdict == HOLDS for claim in claims)
    return [*sentences, f"Claims that hold in these data: {held} of {len(claims)}."]


def _figure(values: Values, estimates: Estimates, data: pd.DataFrame) -> Figure:
    figure, axes = new_figure(max(5.0, 2.6 * len(values)), 3.4, 1, len(values))
    for panel, (group, of_group) in zip(axes, values.items(), strict=True):
        for position, (name, scores) in enumerate(of_group.items()):
            color, estimate = PALETTE[position % len(PALETTE)], estimates[group][name]
            offsets = np.linspace(-0.16, 0.16, len(scores)) if len(scores) > 1 else np.zeros(1)
            panel.scatter(position + offsets, scores, s=12, color=color, alpha=0.6, linewidth=0)
            panel.vlines(position + 0.28, estimate.low, estimate.high, color=color, linewidth=3)
            panel.plot(position + 0.28, estimate.value, "o", color=color, markeredgecolor=INK, markersize=5)
        best = data[data["group"] == group]["best_value"].iloc[0]
        if pd.notna(best):
            panel.axhline(best, color=INK, linewidth=0.9, linestyle=":")
        panel.set_xticks(range(len(of_group)), list(of_group), rotation=30)
        panel.set_title(group)
    axes[0].set_ylabel("performative value J")
    return figure
