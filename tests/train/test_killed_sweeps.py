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
    undisturbed = processes.Process(target=sweep, args=(tmp_path / "undisturbed",))
    undisturbed.start()
    undisturbed.join()
    assert undisturbed.exitcode == 0
    expected = (tmp_path / "undisturbed" / "results.csv").read_bytes()
    n_files = len(list((tmp_path / "undisturbed").rglob("*")))

    rng, killed, found = np.random.default_rng(0), 0, set()
    for attempt in range(3 * KILLS):
        if killed == KILLS:
            break
        # By what it has written and not by the clock: how long it takes is the machine's business.
        enough = 1 + attempt % KILLS * n_files // KILLS
        out = tmp_path / f"killed_{attempt}"
        process = processes.Process(target=sweep, args=(out,))
        process.start()
        while process.is_alive() and len(list(out.rglob("*"))) < enough:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL  # the last may be done before they are killed
        found.add(len(list(out.glob("*/*/*/result.json"))))
        again = processes.Process(target=sweep, args=(out,))
        again.start()
        again.join()
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
    while not list(tmp_path.glob("killed/*/*/*/result.json")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "results.csv").exists()
    subprocess.run(command, check=True, capture_output=True)
    results = [(tmp_path / name / "results.csv").read_bytes() for name in ("undisturbed", "killed")]
    assert results[0] == results[1]
