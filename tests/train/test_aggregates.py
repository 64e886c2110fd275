"""Results over several worlds: scores, aggregates, groups, ablations, studies."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rliable import library, metrics

from tests.train.conftest import save_run, write_bench
from train.plot import plot
from train.report.ablations import ablation_findings, comparisons
from train.report.data import read_bench
from train.report.figures.curves import learning_curves
from train.report.group_findings import group_findings
from train.report.group_tables import aggregate_table, score_matrix
from train.report.groups import groups
from train.report.intervals import interval
from train.report.names import KNOWN, world_groups
from train.report.resampling import RESAMPLES, draws
from train.report.statistics import aggregate, average_improvement, performance_profile
from train.report.styles import looks
from train.report.world_findings import findings, tally

PRICING, GRID = "PerformativePricing-v0", "PerformativeGridWorld-v0"
STRONG, WEAK = f"{PRICING}@strong", f"{PRICING}@weak"
SIX = [11.0, 11.1, 11.2, 11.3, 11.4, 11.5]
LOW = [8.0, 8.3, 8.1, 8.2, 8.6, 8.4]


def group_of(folder: Path):
    (group,) = groups(read_bench(folder))
    return group


class WithOurDraws(library.StratifiedBootstrap):
    """The bootstrap of rliable, by arch, on the runs that ours draws."""

    def update_indices(self) -> tuple[np.ndarray, ...]:
        """Return the runs of the next resample, world by world."""
        n_runs, n_worlds = self._args_shape
        self._at = getattr(self, "_at", -1) + 1
        return (np.stack([draws(n_runs, world)[self._at] for world in range(n_worlds)], axis=-1), *self._strata_indices)


@pytest.mark.parametrize(("n_runs", "n_worlds"), [(1, 3), (3, 1), (5, 4), (10, 7)])
def test_of_the_same_draws_aggregates_and_percentiles_are_those_of_rliable(n_runs: int, n_worlds: int) -> None:
    scores = np.random.default_rng((n_runs, n_worlds)).normal(0.8, 0.3, size=(n_runs, n_worlds))
    found = aggregate(scores)
    for name in ("iqm", "median", "optimality_gap"):
        metric, mine = getattr(metrics, f"aggregate_{name}"), getattr(found, name)
        theirs = WithOurDraws(scores).apply(metric, reps=RESAMPLES)[:, 0]
        low, high = map(float, interval(np.float64(metric(scores)), theirs, n_runs))
        assert (mine.value, mine.low, mine.high) == pytest.approx((metric(scores), low, high), rel=1e-12, abs=1e-12)
        percentiles = WithOurDraws(scores).conf_int(metric, reps=RESAMPLES, method="percentile")[:, 0]
        assert percentiles == pytest.approx(np.percentile(theirs, (2.5, 97.5)), rel=1e-12, abs=1e-12)
        assert mine.low <= percentiles[0] + 1e-12
        assert mine.high >= percentiles[1] - 1e-12


def test_aggregates_are_those_of_rliable_and_with_many_runs_their_intervals_too() -> None:
    scores = np.random.default_rng(0).normal(0.8, 0.3, size=(200, 5))
    found = aggregate(scores)
    names = ("iqm", "median", "optimality_gap")
    np.random.seed(1)  # noqa: NPY002
    points, bounds = library.get_interval_estimates(
        {"": scores},
        lambda x: np.array([getattr(metrics, f"aggregate_{name}")(x) for name in names]),
        reps=1000,
    )
    few = aggregate(scores[:8])
    for index, name in enumerate(names):
        mine = getattr(found, name)
        assert getattr(few, name).value == pytest.approx(getattr(metrics, f"aggregate_{name}")(scores[:8]))
        assert mine.value == pytest.approx(points[""][index])
        low, high = bounds[""][:, index]
        noise = 0.12 * (high - low)
        # Ours is two intervals in one, of which theirs is one; they differ where resampling moves the figure, as it
        # does the median of world means that lie close together.
        assert mine.low <= low + noise
        assert mine.high >= high - noise
        if name != "median":
            assert (mine.low, mine.high) == (pytest.approx(low, abs=noise), pytest.approx(high, abs=noise))


def test_improvement_over_worlds_is_that_of_rliable() -> None:
    rng = np.random.default_rng(0)
    scores, others = rng.integers(0, 6, size=(8, 4)).astype(float), rng.integers(0, 5, size=(5, 4)).astype(float)
    found = average_improvement(list(scores.T), list(others.T))
    assert found.value == pytest.approx(metrics.probability_of_improvement(scores, others))


def test_profiles_are_those_of_rliable() -> None:
    scores = np.random.default_rng(0).integers(0, 9, size=(6, 5)) / 8.0  # some of them are thresholds themselves
    thresholds = np.linspace(-0.25, 1.25, 13)
    share, _, _ = performance_profile(scores, thresholds)
    assert share == pytest.approx(library.score_distributions(scores, thresholds), rel=1e-12)


def test_profiles_are_shares_of_runs_above_a_score() -> None:
    scores = np.array([[0.1, 0.9], [0.5, 0.7]])
    share, low, high = performance_profile(scores, np.array([0.0, 0.5, 0.6, 0.9]))
    assert share.tolist() == [1.0, 0.5, 0.5, 0.0]
    assert (low <= share).all()
    assert (share <= high).all()


def test_scores_go_from_the_uniform_policy_to_the_best_known(save_worlds) -> None:
    values = {PRICING: {"pepg": SIX, "ppo": LOW}, GRID: {"pepg": LOW, "ppo": SIX}}
    group = group_of(save_worlds(values, {PRICING: 12.0, GRID: 16.0}))
    ours = next(entrant for entrant in group.entrants if entrant.algo == "pepg")
    expected = np.stack([(np.array(SIX) - 6.0) / 6.0, (np.array(LOW) - 6.0) / 10.0], axis=1)
    assert ours.scores == pytest.approx(expected)
    assert ours.aggregate.iqm.value == pytest.approx(metrics.aggregate_iqm(expected))
    cells = [row.cells for row in score_matrix(group).rows if row.label == "PePG"]
    assert [cell.strong for cell in cells[0]] == [True, False]


def test_worlds_are_grouped_by_what_follows_their_name() -> None:
    envs = [PRICING, STRONG, f"{GRID}@noisy", WEAK, f"{GRID}@odd"]
    assert list(world_groups(envs).values()) == [[PRICING], [STRONG, WEAK], [f"{GRID}@noisy"], [f"{GRID}@odd"]]


def test_a_world_without_a_known_optimum_is_left_out_and_named(save_worlds) -> None:
    values = {name: {"pepg": SIX, "ppo": LOW} for name in (PRICING, GRID, "SoftmaxPeMDP-v0")}
    folder = save_worlds(values, {GRID: None})
    group = group_of(folder)
    assert [world.env for world in group.scored] == [PRICING, "SoftmaxPeMDP-v0"]
    assert f"no policy better than the uniform one is known there: {GRID}" in aggregate_table(group).note
    assert [str(row.cells[1]) for row in score_matrix(group).rows] == ["–", "–"]
    assert group.improvements[0].n_worlds == 3, "which run is better needs no optimum"


def test_who_is_missing_in_a_world_is_no_entrant_but_compared_where_it_took_part(save_worlds) -> None:
    values = {
        PRICING: {"pepg": SIX, "ppo": LOW, "rr": LOW},
        GRID: {"pepg": SIX, "ppo": LOW, "rr": LOW},
        "SoftmaxPeMDP-v0": {"pepg": SIX, "ppo": LOW},
    }
    whole, complete = groups(read_bench(save_worlds(values)))
    assert {entrant.algo for entrant in whole.entrants} == {"pepg", "ppo"}
    assert "absent from SoftmaxPeMDP-v0: RR." in aggregate_table(whole).note
    assert {item.algo: item.n_worlds for item in whole.improvements} == {"ppo": 3, "rr": 2}
    assert [world.env for world in complete.worlds] == [PRICING, GRID]
    assert {entrant.algo for entrant in complete.entrants} == {"pepg", "ppo", "rr"}


def test_of_unequal_seeds_the_first_that_all_worlds_have_count(save_worlds) -> None:
    group = group_of(save_worlds({PRICING: {"pepg": SIX, "ppo": LOW}, GRID: {"pepg": SIX, "ppo": LOW[:4]}}))
    ppo = next(entrant for entrant in group.entrants if entrant.algo == "ppo")
    assert (ppo.n_runs, ppo.n_most) == (4, 6)
    assert ppo.scores[:, 0] == pytest.approx((np.array(LOW[:4]) - 6.0) / 6.0)
    assert "PPO (4 of up to 6)" in aggregate_table(group).note
    assert "PePG (" not in aggregate_table(group).note


def test_the_side_with_fewer_seeds_decides_whether_there_are_enough(save_worlds) -> None:
    group = group_of(save_worlds({PRICING: {"pepg": SIX, "ppo": LOW}, GRID: {"pepg": SIX, "ppo": LOW[:4]}}))
    assert [item.n_runs for item in group.improvements] == [4]
    said = " ".join(group_findings(group, "PePG"))
    assert "fewer than 5 seeds decide nothing" in said
    assert "more probably" not in said
    assert not any(row.leads for row in aggregate_table(group).rows)


def test_one_world_in_which_nobody_is_missing_is_no_group(save_worlds) -> None:
    values = {PRICING: {"pepg": SIX, "ppo": LOW, "rr": LOW}, GRID: {"pepg": SIX, "ppo": LOW}}
    assert [group.title for group in groups(read_bench(save_worlds(values)))] == ["Worlds as they are"]


def test_a_single_seed_has_no_intervals_and_decides_nothing(save_worlds) -> None:
    folder = save_worlds({name: {"pepg": [11.0], "ppo": [9.0]} for name in (STRONG, WEAK)})
    group = group_of(folder)
    assert all("[" not in str(cell) for row in aggregate_table(group).rows for cell in row.cells)
    (said,) = group_findings(group, "PePG")
    assert "decide nothing" in said
    plot(folder, Console(quiet=True))


def test_sentences_over_worlds_follow_the_data(save_worlds, tmp_path: Path) -> None:
    better, worse = {"pepg": SIX, "ppo": LOW}, {"pepg": LOW, "ppo": SIX}
    said = " ".join(group_findings(group_of(save_worlds({PRICING: better, GRID: better})), "PePG"))
    assert "PePG has the highest score" in said
    assert "its interval lies above that of PPO" in said
    assert "PePG is more probably better than worse against PPO" in said
    other = tmp_path / "other"
    other.mkdir()
    said = " ".join(group_findings(group_of(write_bench(other, {PRICING: better, GRID: worse}, {})), "PePG"))
    assert "It is not decided" in said
    assert tally(read_bench(other))[0] == "PePG has the highest J of all methods in 1 of 2 worlds."
    assert f"in 1 of 2 worlds; not in {GRID} (below PPO)" in tally(read_bench(other))[1]


def test_a_world_without_others_is_not_counted(save_worlds) -> None:
    bench = read_bench(save_worlds({PRICING: {"pepg": SIX, "ppo": LOW}, GRID: {"pepg": SIX}}))
    assert tally(bench)[0] == "PePG has the highest J of all methods in 1 of 1 world."


def test_who_is_at_the_best_known_value_ties(save_bench) -> None:
    folder = save_bench({"pepg": [11.999] * 4, "ppo": [11.9985] * 4, "a2c": [11.9] * 4})
    said = findings(read_bench(folder).worlds[0])[0]
    assert said.startswith("PePG and PPO tie at the best known value")


@pytest.mark.parametrize(("value", "there"), [(11.9945, True), (11.9935, False)])
def test_the_optimum_is_reached_within_a_thousandth_of_the_way(save_bench, value: float, there: bool) -> None:
    world = read_bench(save_bench({"pepg": [value] * 5})).worlds[0]  # the way goes from 6 to 12
    assert world.at_optimum(world.algorithms[0]) is there


@pytest.mark.parametrize(("values", "seed"), [([3.0, 1.0, 4.0, 2.0], 3), ([3.0, 1.0, 4.0], 0), ([5.0], 0)])
def test_the_median_seed_is_the_lower_of_two(save_bench, values: list[float], seed: int) -> None:
    (results,) = read_bench(save_bench({"pepg": values})).worlds[0].algorithms
    assert results.median_run.result["seed"] == seed


def test_methods_that_know_the_response_map_are_not_counted_among_those_that_do_not(save_bench) -> None:
    folder = save_bench({"pepg": SIX, "ppo": LOW, "a2c": SIX, "performative_ppo": SIX, "pepg-blind": LOW})
    said = " ".join(findings(read_bench(folder).worlds[0]))
    assert "Against the 2 methods that do not know the response map" in said
    assert "PePG's interval lies above that of PPO and overlaps that of A2C." in said


@pytest.mark.parametrize(
    ("part", "verdict"),
    [(LOW, "loses against PePG in"), ([11.8] * 6, "gains on PePG in"), (SIX, "cannot be told from PePG")],
)
def test_the_cost_of_an_ablation_is_decided_by_intervals(save_worlds, part: list[float], verdict: str) -> None:
    folder = save_worlds({PRICING: {"pepg": SIX, "pepg-blind": part}, STRONG: {"pepg": SIX}})
    (sentence,) = ablation_findings(read_bench(folder))
    assert f"PePG without response {verdict}" in sentence
    assert PRICING in sentence
    assert STRONG not in sentence
    (compared,) = comparisons(read_bench(folder))["PePG without response"]
    if verdict.startswith("loses"):
        expected = (metrics.aggregate_iqm(np.array(SIX)) - metrics.aggregate_iqm(np.array(part))) / 6.0
        assert float(compared.cost.split("\u00a0")[0]) == pytest.approx(100.0 * expected, abs=0.05)


def test_an_ablation_ahead_is_named_but_does_not_win(save_bench) -> None:
    said = findings(read_bench(save_bench({"pepg": SIX, "ppo": LOW, "pepg-blind": [11.9] * 6})).worlds[0])
    assert said[0].startswith("PePG wins")
    assert any(sentence.startswith("Among the versions of others, PePG without response") for sentence in said)


def test_a_continuous_world_is_reported_without_table_methods(save_worlds) -> None:
    folder = save_worlds({PRICING: {"pepg": SIX, "rr": LOW}, WEAK: {"pepg": SIX, "pepg-blind": LOW}})
    for algo, values in (("pepg", SIX), ("ppo", LOW)):
        for seed, value in enumerate(values):
            key = {"algo": algo, "env": "LinearPricing-v0", "seed": seed}
            save_run(folder / algo / "LinearPricing-v0" / f"seed_{seed}", key, value, 12.0, np.ones((2, 20, 1)))
    (folder / "bench.yaml").unlink()
    plot(folder, Console(quiet=True))
    html = (folder / "report.html").read_text()
    assert 'id="world-linearpricing-v0"' in html
    assert (folder / "plots" / f"{WEAK}_policies.png").is_file()
    assert 'id="ablations"' in html


def test_a_study_beside_the_benchmark_is_judged_anew(save_bench) -> None:
    folder = save_bench({"pepg": SIX, "ppo": LOW})
    rows = [
        {"seed": seed, "method": method, "iteration": t, "gap": 1.0 / t, "best_value": 10.0}
        for seed in range(4)
        for method in ("gradient", "natural gradient")
        for t in (1, 10, 100, 1000)
    ]
    path = folder / "studies" / "convergence" / "convergence.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    plot(folder, Console(quiet=True))
    html = (folder / "report.html").read_text()
    assert 'id="study-convergence"' in html
    assert "exponent at most −1" in html
    assert (folder / "plots" / "study_convergence.svg").is_file()
    path.write_text("seed\n1\n")
    with pytest.raises(ValueError, match=r"convergence\.csv does not hold the data"):
        plot(folder, Console(quiet=True))


def test_twenty_algorithms_look_different_and_always_the_same() -> None:
    algos = [*KNOWN, "one", "two", "three"]
    found = looks(algos)
    assert len(set(found.values())) == len(algos) >= 20
    assert [algo for algo in algos if found[algo].color == found["pepg"].color] == ["pepg"]
    assert len({found[algo].color for algo in KNOWN[:7]}) == 7
    assert looks(["zofw", "mdpo"]) == {algo: found[algo] for algo in ("zofw", "mdpo")}


@pytest.mark.slow
def test_many_algorithms_have_panels_of_their_own(save_bench) -> None:
    folder = save_bench({algo: [9.0 + 0.1 * index, 9.5] for index, algo in enumerate([*KNOWN[:16], "pepg-blind"])})
    plot(folder, Console(quiet=True))
    drawn = (folder / "plots" / f"{PRICING}_learning_curves.svg").read_text()
    assert ">PePG without response</text>" in drawn
    assert drawn.count('id="axes_') == 1 + 17 - 7


@pytest.mark.parametrize("n_algos", [2, 5, 7])
def test_the_legend_below_a_panel_is_no_wider_than_the_picture(save_bench, n_algos: int) -> None:
    algos = ["pepg", "ppo_penalty", "performative_ppo", "performative_npg", "reinforce", "trpo", "mdrr"][:n_algos]
    bench = read_bench(save_bench({algo: [9.0 + 0.1 * index, 9.5] for index, algo in enumerate(algos)}))
    figure = learning_curves(bench.worlds[0], looks(bench.algos))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    extent, canvas = legend.get_window_extent(), figure.bbox
    assert canvas.x0 <= extent.x0 < extent.x1 <= canvas.x1
