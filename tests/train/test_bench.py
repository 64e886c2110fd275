import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from train.bench import BenchReport, longest_first, plan_runs, run_bench
from train.files import write_text
from train.plans import Block, Plan, read_suite
from train.run import Run, execute

PRICING = "PerformativePricing-v0"
ALGOS = ("pepg", "a2c")


def bench(out: Path, jobs: int = 1, train: Callable[[Run], object] = execute, seeds: int = 2) -> BenchReport:
    plan = Plan.product(ALGOS, [PRICING], range(seeds), n_timesteps=100, n_evals=2)
    return run_bench(plan_runs(plan, out), plan, out, jobs, train)


def test_results_have_one_row_per_run_in_the_order_of_the_plan(tmp_path: Path) -> None:
    report = bench(tmp_path)
    assert (report.kept, report.made, report.failures) == (0, 4, ())
    results = pd.read_csv(tmp_path / "results.csv")
    assert list(zip(results["algo"], results["seed"], strict=True)) == [
        ("pepg", 0),
        ("pepg", 1),
        ("a2c", 0),
        ("a2c", 1),
    ]
    assert {"env", "steps", "performative_value", "stability_gap", "rollout_return_mean"} <= set(results)
    assert not (tmp_path / "failures.csv").exists()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "results.parquet"), results, check_dtype=False)


def test_finished_runs_are_kept_and_missing_ones_made(tmp_path: Path) -> None:
    bench(tmp_path)
    before = (tmp_path / "results.csv").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*/result.json")}
    gone = tmp_path / "a2c" / PRICING / "seed_1" / "result.json"
    gone.unlink()
    kept.pop(gone)
    report = bench(tmp_path)
    assert (report.kept, report.made) == (3, 1)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (tmp_path / "results.csv").read_bytes() == before


def test_results_are_the_same_on_any_number_of_cores(tmp_path: Path) -> None:
    bench(tmp_path / "one", jobs=1)
    bench(tmp_path / "two", jobs=2)
    assert (tmp_path / "one" / "results.csv").read_bytes() == (tmp_path / "two" / "results.csv").read_bytes()


def test_a_run_that_fails_once_is_made_at_the_second_attempt(tmp_path: Path) -> None:
    attempts = []

    def fails_once(run: Run) -> None:
        attempts.append((run.algo, run.seed))
        if attempts.count(("pepg", 0)) == 1 and attempts[-1] == ("pepg", 0):
            raise OSError("disk is asleep")
        execute(run)

    report = bench(tmp_path, train=fails_once)
    assert (report.made, report.failures) == (4, ())
    assert attempts.count(("pepg", 0)) == 2
    assert len(pd.read_csv(tmp_path / "results.csv")) == 4


def test_a_run_that_fails_twice_is_listed_and_the_others_go_on(tmp_path: Path) -> None:
    attempts = []

    def fails(run: Run) -> None:
        attempts.append((run.algo, run.seed))
        if attempts[-1] == ("pepg", 1):
            raise OSError("disk, full")
        execute(run)

    report = bench(tmp_path, train=fails)
    assert attempts.count(("pepg", 1)) == 2
    assert report.made == 3
    listed = pd.read_csv(tmp_path / "failures.csv")
    assert listed.to_dict("records") == [
        {"algo": "pepg", "env": PRICING, "seed": 1, "error": "OSError: disk, full"},
    ]
    assert "Traceback" in (tmp_path / "pepg" / PRICING / "seed_1" / "error.txt").read_text()
    assert len(pd.read_csv(tmp_path / "results.csv")) == 3
    # The next attempt clears the list.
    assert bench(tmp_path).kept == 3
    assert not (tmp_path / "failures.csv").exists()
    assert not (tmp_path / "pepg" / PRICING / "seed_1" / "error.txt").exists()


def test_a_run_that_kills_its_process_is_listed_and_the_others_go_on(tmp_path: Path) -> None:
    def kills(run: Run) -> None:
        if (run.algo, run.seed) == ("a2c", 0):
            run.folder.mkdir(parents=True, exist_ok=True)
            write_text(run.folder / "config.yaml", "begun: true")
            os.kill(os.getpid(), signal.SIGKILL)
        execute(run)

    report = bench(tmp_path, jobs=2, train=kills)
    assert [(o.run.algo, o.run.seed, o.error) for o in report.failures] == [("a2c", 0, "the worker process died")]
    assert report.made == 3
    assert len(pd.read_csv(tmp_path / "results.csv")) == 3


def test_sweeps_side_by_side_count_only_what_they_have_made(tmp_path: Path) -> None:
    """The other sweep makes every second run while this one is under way."""
    others: list[BenchReport] = []

    def with_another_sweep(run: Run) -> None:
        if not others:
            others.append(bench(tmp_path / "out", seeds=1))
        execute(run)

    plan = Plan.product(["a2c"], [PRICING], [5], n_timesteps=100, n_evals=2)
    more = Plan((Block(("a2c",), (PRICING,), (5,)), Block(ALGOS, (PRICING,), (0,))), n_timesteps=100, n_evals=2)
    (first,) = plan_runs(plan, tmp_path / "out")
    runs = [first, *(run for run in plan_runs(more, tmp_path / "out") if run != first)]
    report = run_bench(
        runs, more, tmp_path / "out", 1, lambda run: with_another_sweep(run) if run == first else execute(run)
    )
    assert (others[0].made, others[0].kept) in ((2, 0), (1, 1), (0, 2))
    assert report.made + others[0].made == 3 == len(list((tmp_path / "out").glob("*/*/*/result.json")))
    assert report.made + report.kept == 3


def test_another_command_with_other_settings_is_not_overwritten(tmp_path: Path) -> None:
    """It makes a run that this sweep has not begun."""
    plan = Plan.product(["pepg"], [PRICING], [0, 1], n_timesteps=100, n_evals=2)
    made: list[Run] = []

    def with_another_command(run: Run) -> None:
        if not made:
            other = replace(run, seed=1 - run.seed, settings={**run.settings, "n_timesteps": 200})
            execute(other)
            made.append(other)
        execute(run)

    report = run_bench(plan_runs(plan, tmp_path), plan, tmp_path, 1, with_another_command)
    (failure,) = report.failures
    assert failure.run.seed == made[0].seed
    assert "has made this run with other settings (n_timesteps)" in str(failure.error)
    assert made[0].is_finished()
    assert pd.read_csv(tmp_path / "results.csv")["seed"].tolist() == [1 - made[0].seed]


def test_results_of_other_settings_are_replaced_and_never_reported(tmp_path: Path) -> None:
    bench(tmp_path)
    plan = Plan.product(ALGOS, [PRICING], [0, 1], n_timesteps=200, n_evals=2)

    def fails(run: Run) -> None:
        if run.algo == "a2c":
            raise ValueError("no")
        execute(run)

    report = run_bench(plan_runs(plan, tmp_path), plan, tmp_path, 1, fails)
    assert (report.kept, report.made, len(report.failures)) == (0, 2, 2)
    assert set(pd.read_csv(tmp_path / "results.csv")["algo"]) == {"pepg"}


def test_the_longest_runs_come_first(tmp_path: Path) -> None:
    plans = [Plan.product(["ppo"], [PRICING], [0], n_timesteps=steps) for steps in (1_000, 1_000_000)]
    short, long = (plan_runs(plan, tmp_path)[0] for plan in plans)
    assert longest_first([short, long, short]) == [long, short, short]


@pytest.mark.parametrize(
    ("algos", "envs", "seeds", "said"),
    [
        (["pepg", "pepg"], [PRICING], 1, "algos must be one or more different values"),
        (["pepg"], [], 1, "envs must be one or more"),
        (["pepg"], [PRICING], 0, "seeds must be"),
        (["pepg", "ppoo"], [PRICING], 1, "did you mean 'ppo'"),
    ],
)
def test_bad_plans_are_rejected(algos: list[str], envs: list[str], seeds: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        plan_runs(Plan.product(algos, envs, range(seeds)), tmp_path)


def test_a_suite_is_several_blocks_and_every_run_is_made_once(tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    both = "{algos: [pepg, a2c], envs: [PerformativePricing-v0], seeds: 1}"
    one = "{algos: [pepg], envs: [PerformativePricing-v0, PerformativePricing-v0@weak], seeds: 2}"
    suite.write_text(f"blocks:\n- {both}\n- {one}\n")
    plan = Plan(read_suite(str(suite)).blocks, n_timesteps=64)
    keys = [("PerformativePricing-v0", "pepg", 0), ("PerformativePricing-v0", "pepg", 1)]
    keys += [("PerformativePricing-v0", "a2c", 0)]
    keys += [("PerformativePricing-v0@weak", "pepg", 0), ("PerformativePricing-v0@weak", "pepg", 1)]
    assert plan.runs() == keys
    assert (plan.seeds_of("a2c", PRICING), plan.seeds_of("a2c", f"{PRICING}@weak")) == ([0], [])
    assert [(run.env, run.algo, run.seed) for run in plan_runs(plan, tmp_path)] == keys
    write_text(tmp_path / "bench.yaml", plan.dump())
    assert Plan.load(tmp_path / "bench.yaml") == plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blocks: []", "blocks must be a list"),
        ("blocks: [{algos: [ppo], envs: [X]}]", "block 1: must have algos, envs and seeds"),
        ("blocks: [{algos: ppo, envs: [X], seeds: 1}]", "block 1: algos must be a list of names"),
        ("blocks: [{algos: [ppo], envs: [X], seeds: 0}]", "block 1: seeds"),
        ("blocks: [{algos: [ppo, ppo], envs: [X], seeds: 1}]", "block 1: algos must be one or more different"),
        ("blocks: [{algos: [ppo], envs: [X], seeds: 1}]\nn_timesteps: 300", "mine.yaml: key .* got 'n_timesteps'"),
        ("blokcs: []", "did you mean 'blocks'"),
        ("blocks: [{algos: [ppo], envs: [X], seeds: 1}]\nconfigs: 3", "configs must be a folder, got 3"),
    ],
)
def test_bad_suites_are_rejected(text: str, said: str, tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_suite(str(suite))


def test_settings_of_a_suite_lie_beside_it(tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    block = "{algos: [ppo], envs: [PerformativePricing-v0], seeds: 1}"
    suite.write_text(f"configs: settings/of_mine\nblocks: [{block}]\n")
    assert read_suite(str(suite)).configs == tmp_path / "settings" / "of_mine"
    suite.write_text(f"configs: {tmp_path / 'elsewhere'}\nblocks: [{block}]\n")
    assert read_suite(str(suite)).configs == tmp_path / "elsewhere"
    assert read_suite("reference").configs is None


def test_a_suite_that_is_not_shipped_is_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'reference'"):
        read_suite("referense")


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "bench.yaml").write_text("algos: [ppo]\n")
    with pytest.raises(ValueError, match="is not the plan of a benchmark, it has no 'blocks': bench writes it anew"):
        Plan.load(tmp_path / "bench.yaml")
