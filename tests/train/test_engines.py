import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from train.bench import plan_runs, run_bench
from train.engines import WorkerLostError, check_engine, in_parallel
from train.plans import Plan

PRICING = "PerformativePricing-v0"
ALGOS = ("pepg", "a2c")
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def double(number: int) -> tuple[int, int]:
    return os.getpid(), 2 * number


def meet(place: tuple[Path, int]) -> bool:
    """Come to a folder and wait there until two have come."""
    folder, number = place
    (folder / str(number)).touch()
    deadline = time.monotonic() + 300
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def die(number: int) -> None:
    os._exit(number)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Ray cluster on this machine with two workers, joined as any other: at its address."""
    ray = pytest.importorskip("ray")
    context = ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8, log_to_driver=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", context.address_info["gcs_address"])
        yield
    ray.shutdown()


def test_one_job_works_in_this_process() -> None:
    assert list(in_parallel(double, [1, 2, 3], 1)) == [(os.getpid(), 2), (os.getpid(), 4), (os.getpid(), 6)]


def test_several_jobs_work_in_other_processes() -> None:
    done = list(in_parallel(double, [1, 2, 3], 2))
    assert sorted(number for _, number in done) == [2, 4, 6]
    assert os.getpid() not in {pid for pid, _ in done}


def test_a_worker_that_dies_is_reported() -> None:
    with pytest.raises(WorkerLostError):
        list(in_parallel(die, [3], 2))


@pytest.mark.parametrize(
    ("engine", "jobs", "said"),
    [("rya", None, "did you mean 'ray'"), ("joblib", 0, "jobs must be >= 1"), ("ray", 1, "must be >= 2")],
)
def test_bad_engines_are_rejected(engine: str, jobs: int | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(ValueError, match=said):
        check_engine(engine, jobs)


def test_without_ray_its_engine_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"performative-rl\[ray\]"):
        check_engine("ray", None)


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore")  # Ray's own, at work and at its end
def test_a_ray_cluster_gives_the_results_of_this_machine(tmp_path: Path) -> None:
    assert check_engine("ray", None) == 2
    workers = {pid for pid, _ in in_parallel(double, range(8), 2, "ray")}
    assert os.getpid() not in workers
    (tmp_path / "meeting").mkdir()
    assert all(in_parallel(meet, [(tmp_path / "meeting", number) for number in range(2)], 2, "ray"))
    for engine in ("joblib", "ray"):
        plan = Plan.product(ALGOS, [PRICING], [0, 1], n_timesteps=100, n_evals=2)
        runs = plan_runs(plan, tmp_path / engine)
        report = run_bench(runs, plan, tmp_path / engine, jobs=1 if engine == "joblib" else 2, engine=engine)
        assert (report.made, report.failures) == (4, ())
    results = [(tmp_path / engine / "results.csv").read_bytes() for engine in ("joblib", "ray")]
    assert results[0] == results[1]
    assert len(pd.read_csv(tmp_path / "ray" / "results.csv")) == 4


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore")
def test_a_ray_worker_that_dies_is_reported() -> None:
    with pytest.raises(WorkerLostError):
        list(in_parallel(die, [3, 3], 2, "ray"))
