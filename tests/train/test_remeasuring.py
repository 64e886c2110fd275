"""Runs that were finished before a better policy was known for their world."""

from pathlib import Path

import pytest

from train.bench import BenchReport, plan_runs, run_bench
from train.files import read_json
from train.judges import TabularJudge
from train.plans import Plan
from train.remeasuring import remeasure
from train.run import execute, plan_run

PRICING = "PerformativePricing-v0"
#: What differs between two runs of the same seed.
TIMED = ("wall_time", "seconds")


def bench(out: Path) -> BenchReport:
    plan = Plan.product(["pepg", "rr"], [PRICING], [0], n_timesteps=100, n_evals=2)
    return run_bench(plan_runs(plan, out), plan, out, jobs=1)


def know(monkeypatch: pytest.MonkeyPatch, value: float | None) -> None:
    monkeypatch.setattr(TabularJudge, "best_known_value", lambda judge: value)


def contents(out: Path, algo: str) -> list[str]:
    """Return result and evaluations of a run without what a clock has told."""
    folder = out / algo / PRICING / "seed_0"
    result = {key: value for key, value in read_json(folder / "result.json").items() if key not in TIMED}
    rows = (folder / "evaluations.csv").read_text().splitlines()
    assert rows[0].endswith(",wall_time")
    return [str(result), *(row.rsplit(",", 1)[0] for row in rows)]


@pytest.mark.parametrize("before", [None, 9.0])
def test_they_end_up_as_if_they_were_made_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: float | None
) -> None:
    know(monkeypatch, before)
    assert bench(tmp_path / "old").made == 2
    know(monkeypatch, 12.0)
    bench(tmp_path / "new")
    assert contents(tmp_path / "old", "pepg") != contents(tmp_path / "new", "pepg")
    report = bench(tmp_path / "old")
    assert (report.kept, report.made, report.remeasured) == (2, 0, 2)
    for algo in ("pepg", "rr"):
        assert contents(tmp_path / "old", algo) == contents(tmp_path / "new", algo)
    assert "12.0" in (tmp_path / "old" / "results.csv").read_text()


@pytest.mark.parametrize("now", [None, 9.0, 12.0])
def test_they_are_left_alone_while_nothing_better_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: float | None
) -> None:
    know(monkeypatch, 12.0)
    bench(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/seed_0/*")}
    know(monkeypatch, now)
    assert bench(tmp_path).remeasured == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_best_value_of_the_users_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plan_run("rr", PRICING, 0, overrides={"n_timesteps": 100}, out=tmp_path, n_evals=2, best_value=9.0)
    execute(run)
    know(monkeypatch, 12.0)
    assert remeasure([run]) == 0
    assert read_json(run.folder / "result.json")["best_value"] == 9.0
