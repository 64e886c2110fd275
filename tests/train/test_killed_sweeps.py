"""A sweep that is killed without warning and started again ends with the results of one that was left alone."""

import multiprocessing
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from train.bench import plan_runs, run_bench
from train.plans import Plan

PRICING = "PerformativePricing-v0"
ALGOS, SEEDS = ("pepg", "a2c"), 2
KILLS = 10


def sweep(out: Path) -> None:
    plan = Plan.product(ALGOS, [PRICING], range(SEEDS), n_timesteps=640, n_evals=3)
    report = run_bench(plan_runs(plan, out), plan, out, jobs=1)
    if report.failures:
        raise RuntimeError(str(report.failures))


@pytest.fixture
def processes() -> ForkServerContext:
    """Processes that begin with everything imported, so that the kills meet the sweep and not its imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train.bench"])
    return context


@pytest.mark.slow
def test_a_sweep_killed_at_random_times_ends_with_the_same_results(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    started = time.monotonic()
    undisturbed = processes.Process(target=sweep, args=(tmp_path / "undisturbed",))
    undisturbed.start()
    undisturbed.join(120)
    started, duration = time.monotonic(), time.monotonic() - started
    assert undisturbed.exitcode == 0
    expected = (tmp_path / "undisturbed" / "results.csv").read_bytes()

    rng, killed, found = np.random.default_rng(0), 0, set()
    while killed < KILLS and time.monotonic() - started < 120:
        out = tmp_path / f"killed_{len(list(tmp_path.iterdir()))}"
        process = processes.Process(target=sweep, args=(out,))
        process.start()
        while process.is_alive() and not out.exists():
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.5 * duration))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        found.add(len(list(out.glob("*/*/*/result.json"))))
        again = processes.Process(target=sweep, args=(out,))
        again.start()
        again.join(120)
        assert again.exitcode == 0
        assert (out / "results.csv").read_bytes() == expected
        assert not list(out.rglob(".[0-9]*.*")), "what the killed process was writing is still there"
    assert killed == KILLS
    assert len(found) > 1, "the kills all came at the same point"


@pytest.mark.slow
def test_a_killed_command_with_worker_processes_is_continued(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", "bench", "--envs", PRICING, "--algos", *ALGOS, "--seeds", str(SEEDS)]
    command += ["-n", "640", "--n-evals", "3"]
    subprocess.run([*command, "--jobs", "1", "--out", str(tmp_path / "undisturbed")], check=True, capture_output=True)
    command += ["--jobs", "2", "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("killed/*/*/*/result.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "results.csv").exists()
    subprocess.run(command, check=True, capture_output=True)
    results = [(tmp_path / name / "results.csv").read_bytes() for name in ("undisturbed", "killed")]
    assert results[0] == results[1]
