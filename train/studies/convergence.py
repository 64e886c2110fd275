"""How fast planning with exact gradients comes near the optimum, on random instances of the theory's worlds."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from perf_envs import PerformativeMDP
from perf_envs.validation import check_count
from train.engines import check_engine, in_parallel
from train.report.statistics import Estimate, estimate_curve, estimate_iqm
from train.report.styles import INK, PALETTE, drawing, new_figure
from train.report.words import written
from train.studies.claims import FAILS, HOLDS, UNDECIDED, Claim, is_below
from train.studies.page import StudyPage

NAME, ENV, N_ITERATIONS = "convergence", "SoftmaxPeMDP-v0", 1000
#: Gaps below this share of the first one count as none: they are rounding.
_NONE = 1e-9
#: From here on the rate is measured.
_FROM = 10
_ABOUT = (
    f"Exact performative gradients on `{ENV}` (10 states, 4 actions); a seed is an instance of the world. "
    "“Gradient” is plain softmax policy gradient ascent with steps of 1, “natural gradient” takes steps of 0.1; both "
    "start at the uniform policy, without entropy. The gap is J of the best policy known (`agents.planning.pepg` with "
    "several starts, or better if one of the two finds better) minus J. For worlds that stand still the theory bounds "
    "it by c/T (Agarwal et al. 2021, Theorem 5.3, for the natural gradient). The rate is the exponent of T between "
    f"iteration {_FROM} and the end, or the point where nothing but rounding is left."
)
_METHODS = ("gradient", "natural gradient")


def run_convergence(
    seeds: int, n_iterations: int | None = None, jobs: int | None = None, engine: str = "joblib"
) -> StudyPage:
    """Plan on the instances ``0 .. seeds-1`` and return what came out.

    Raises:
        ValueError: fewer than 20 iterations, or jobs or engine are not valid.
    """
    length = check_count("n", N_ITERATIONS if n_iterations is None else n_iterations, at_least=2 * _FROM)
    items = [(seed, length) for seed in range(check_count("seeds", seeds))]
    from train.registrations import Registrations  # it knows all that trains

    known = Registrations.of([ENV])
    frames: list[pd.DataFrame] = list(in_parallel(measure, items, check_engine(engine, jobs), engine, known))
    return judge(pd.concat(frames).sort_values(["seed", "method", "iteration"], ignore_index=True))


def measure(item: tuple[int, int]) -> pd.DataFrame:
    """Return the gaps of both methods on one instance, at iterations spaced evenly on a logarithmic scale."""
    # Imported here, so that the report can judge saved data without what plans.
    from agents.planning import gradient_ascent, natural_policy_gradient, pepg

    seed, length = item
    problem: PerformativeMDP = gym.make(ENV, instance_seed=seed).unwrapped.problem  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*stopped before it converged.*")
        best = pepg(problem, seed=seed).value
        histories = {
            "gradient": gradient_ascent(problem, n_iterations=length, step="fixed", tolerance=0.0).history,
            "natural gradient": natural_policy_gradient(problem, n_iterations=length, tolerance=0.0).history,
        }
    best = max(best, *(float(history.max()) for history in histories.values()))
    points = np.unique(np.geomspace(1, length, 41).round().astype(int))
    rows = []
    for method, history in histories.items():
        values = history.numpy()[np.minimum(points, len(history)) - 1]  # where it has stopped it stays
        rows += [
            {"seed": seed, "method": method, "iteration": int(t), "gap": best - float(value), "best_value": best}
            for t, value in zip(points, values, strict=True)
        ]
    return pd.DataFrame(rows)


def judge(data: pd.DataFrame) -> StudyPage:
    """Return the page of the study from its data, see :func:`measure`."""
    curves = {method: _curves(data, method) for method in _METHODS}
    iterations = np.unique(data["iteration"].to_numpy())
    rates = {method: estimate_iqm([_rate(iterations, gaps) for gaps in curves[method]]) for method in _METHODS}
    best = data.groupby("seed")["best_value"].first().to_numpy()
    near = {method: int((curves[method][:, -1] <= 0.01 * best).sum()) for method in _METHODS}
    seeds = len(best)
    claims = [
        is_below(f"The gap of the {method} falls at least as fast as 1/T (exponent at most −1).", -1.0, rate, seeds)
        for method, rate in rates.items()
    ]
    rows = [
        (
            method,
            written(estimate_iqm(curves[method][:, -1]), 4),
            written(rates[method], 2),
            f"{near[method]} of {seeds}",
        )
        for method in _METHODS
    ]
    columns = ("method", "final gap, IQM [95 % interval]", "exponent of T", "within 1 % of the best known")
    with drawing():
        figure = _figure(iterations, curves)
    findings = _findings(rates, near, seeds, claims)
    return StudyPage(NAME, "Convergence of planning", _ABOUT, data, columns, rows, claims, findings, figure)


def _curves(data: pd.DataFrame, method: str) -> NDArray[np.float64]:
    """Return the gaps ``[seeds, points]`` of a method."""
    table = data[data["method"] == method].pivot(index="seed", columns="iteration", values="gap")
    return table.to_numpy(dtype=np.float64)


def _rate(iterations: NDArray[np.int64], gaps: NDArray[np.float64]) -> float:
    """Return the exponent of ``T`` in the gap of one instance."""
    floor = _NONE * max(float(gaps[0]), 1e-300)
    first = int(np.argmax(iterations >= _FROM))
    at_floor = np.flatnonzero(gaps[first + 1 :] <= floor)
    last = first + 1 + int(at_floor[0]) if at_floor.size else len(gaps) - 1
    start, end = (max(float(gaps[index]), floor) for index in (first, last))
    return float(np.log(end / start) / np.log(iterations[last] / iterations[first]))


def _findings(rates: dict[str, Estimate], near: dict[str, int], seeds: int, claims: list[Claim]) -> list[str]:
    sentences = []
    for (method, rate), claim in zip(rates.items(), claims, strict=True):
        stuck = seeds - near[method]
        tail = "on all instances" if not stuck else f"on {near[method]} of {seeds} instances"
        sentences.append(
            f"From the uniform policy the {method} comes within 1 % of the best known value {tail}; "
            f"its gap falls like T to the power {written(rate, 2)}, so that a rate of 1/T {_VERBS[claim.verdict]}."
        )
        if stuck:
            sentences.append(f"On the other {stuck} it is slower than that or ends in a poorer local maximum.")
    return sentences


_VERBS = {HOLDS: "holds", FAILS: "does not hold", UNDECIDED: "is neither confirmed nor refuted"}


def _figure(iterations: NDArray[np.int64], curves: dict[str, NDArray[np.float64]]) -> Figure:
    figure, (axes,) = new_figure(5.6, 3.6)
    lowest = _NONE * max(float(gaps.max()) for gaps in curves.values())
    for color, (method, gaps) in zip(PALETTE, curves.items(), strict=False):
        middle, low, high = (np.maximum(curve, lowest) for curve in estimate_curve(gaps))
        axes.fill_between(iterations, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(iterations, middle, color=color, label=method)
    start = float(np.median(curves["natural gradient"][:, 0]))
    axes.plot(iterations, start / iterations, color=INK, linestyle=":", label="theory's rate, c/T")
    axes.set(xscale="log", yscale="log", xlabel="iteration T", ylabel="gap to the best known value")
    axes.legend()
    return figure
