import copy
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.envs.registration import EnvSpec

from agents import PePG, SoftmaxPolicy
from perf_envs import exact
from perf_envs.extras import MissingExtraError
from perf_envs.worlds.pricing.env import PerformativePricing
from train.bench import plan_runs, run_bench
from train.engines import WorkerLostError, check_engine, in_parallel
from train.plans import Plan
from train.registrations import Registrations
from train.registry import ALGORITHMS, Algorithm, find_algorithm

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
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"performative-rl\[ray\]"):
        check_engine("ray", None)


class Mine(PerformativePricing):
    """Somebody's own world."""


class MinePolicy(SoftmaxPolicy):
    """Somebody's own policy."""


def look_up(name: str) -> tuple[int, str, int, str]:
    """Return what a process has under a name: the world, its number of periods, and the policy of an algorithm."""
    env = gym.make(name).unwrapped
    return os.getpid(), type(env).__name__, env.horizon, find_algorithm("mine").build.policy_aliases["Mine"].__name__


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Registrations:
    """A world in place of a shipped one, a world and an algorithm that only this process knows."""

    def make(**kwargs: object) -> Mine:  # has no name that another process could import
        return Mine(horizon=3, **kwargs)

    monkeypatch.setitem(gym.registry, PRICING, EnvSpec(PRICING, make))
    monkeypatch.setitem(gym.registry, "Mine-v0", EnvSpec("Mine-v0", make))
    monkeypatch.setitem(ALGORITHMS, "mine", Algorithm("mine", "Mine", PePG))
    monkeypatch.setitem(PePG.policy_aliases, "Mine", MinePolicy)
    return Registrations.of([PRICING, "Mine-v0"], ["mine"])


def test_workers_know_the_worlds_algorithms_and_policies_of_who_calls_them(registered: Registrations) -> None:
    for name in (PRICING, "Mine-v0"):
        (found,) = in_parallel(look_up, [name], 2, registrations=registered)
        assert found[0] != os.getpid()
        assert found[1:] == ("Mine", 3, "MinePolicy")


def test_what_a_script_defines_goes_along_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "Mine", Mine, raising=False)
    monkeypatch.setitem(gym.registry, "Mine-v0", EnvSpec("Mine-v0", "__main__:Mine"))
    spec = Registrations.of(["Mine-v0"]).specs["Mine-v0"]
    assert spec.entry_point is Mine
    assert gym.registry["Mine-v0"].entry_point == "__main__:Mine", "ours stays as it is"


def test_a_benchmark_in_workers_gives_what_one_in_this_process_gives_in_a_world_of_ones_own(
    registered: Registrations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped = gym.spec("PerformativeGridWorld-v0")
    small = copy.deepcopy(shipped)
    small.kwargs = {"beta": 3.0}
    monkeypatch.setitem(gym.registry, shipped.id, small)
    for jobs in (1, 2):
        plan = Plan.product(["pepg"], [shipped.id], [0], n_timesteps=100, n_evals=2)
        out = tmp_path / str(jobs)
        assert run_bench(plan_runs(plan, out), plan, out, jobs).failures == ()
    assert (tmp_path / "1" / "results.csv").read_bytes() == (tmp_path / "2" / "results.csv").read_bytes()
    problem = gym.make(shipped.id).unwrapped.problem
    uniform = np.full((problem.n_states, problem.n_actions), 1.0 / problem.n_actions)
    (row,) = pd.read_csv(tmp_path / "2" / "results.csv").to_dict("records")
    with torch.no_grad():
        assert row["uniform_value"] == pytest.approx(float(exact.performative_value(problem, uniform)), rel=1e-12)


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
