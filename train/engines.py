"""Where the runs of a sweep are made: in processes of this machine, or on a Ray cluster; joblib speaks to both."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from perf_envs.extras import check_extra
from perf_envs.validation import check_choice, check_count
from train.provenance import available_cores

if TYPE_CHECKING:  # the report, which judges studies, has no need to wait for what trains
    from train.registrations import Registrations

Item = TypeVar("Item")
Result = TypeVar("Result")

ENGINES = ("joblib", "ray")


class WorkerLostError(RuntimeError):
    """A worker process died, and with it what nobody has heard of since."""


def check_engine(engine: str, jobs: int | None) -> int:
    """Return how many runs an engine makes at the same time; Ray is started, or joined, for that.

    Args:
        engine: ``"joblib"`` or ``"ray"``. Ray joins the cluster at the environment variable ``RAY_ADDRESS``, or one
            that runs on this machine, and starts one where there is none.
        jobs: what was asked for, ``None`` for one per core of the machine or of the cluster.

    Raises:
        ValueError: unknown engine, or fewer than 2 jobs for Ray, which would leave it idle.
        MissingExtraError: Ray is not installed.
    """
    check_choice("engine", engine, ENGINES)
    if jobs is not None:
        check_count("jobs", jobs)
    if engine == "joblib":
        return available_cores() if jobs is None else jobs
    check_extra("ray", "engine 'ray'")
    if jobs is not None:
        return check_count("jobs (with engine 'ray')", jobs, at_least=2)
    _join_cluster()
    import ray

    return check_count("CPUs of the Ray cluster", int(ray.cluster_resources().get("CPU", 0)), at_least=2)


def in_parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    engine: str = "joblib",
    registrations: Registrations | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` of every item, in any order; one job works in this process.

    Ray hands the results over together, at the end: its joblib backend knows no generators.

    Args:
        function: what to do.
        items: with what.
        jobs: how many at the same time.
        engine: where, see :func:`check_engine`.
        registrations: worlds and algorithms of this process that the workers must know.

    Raises:
        WorkerLostError: a worker process died.
    """
    if engine == "ray":
        yield from _on_ray(functools.partial(_knowing, function, registrations), items, jobs)
        return
    parent = os.getpid()
    with parallel_config(backend="loky", inner_max_num_threads=1) if jobs > 1 else parallel_config("sequential"):
        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
        try:
            yield from pool(delayed(_work)(function, item, parent, registrations) for item in items)
        except TerminatedWorkerError as error:
            raise WorkerLostError(str(error)) from error


def _on_ray(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> list[Result]:
    from ray.exceptions import RayError
    from ray.util.joblib import register_ray

    _join_cluster()
    register_ray()
    with parallel_config(backend="ray"):
        try:
            done: list[Result] = Parallel(n_jobs=jobs, batch_size=1)(delayed(function)(item) for item in items)
        except RayError as error:
            raise WorkerLostError(str(error)) from error
    return done


def _join_cluster() -> None:
    """Join the cluster at ``RAY_ADDRESS``, or start one here."""
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False)


def _work(function: Callable[[Item], Result], item: Item, parent: int, registrations: Registrations | None) -> Result:
    if os.getpid() == parent:
        return function(item)
    _live_and_die_with(parent)
    return _knowing(function, registrations, item)


def _knowing(function: Callable[[Item], Result], registrations: Registrations | None, item: Item) -> Result:
    """Call a function in a worker that has been told what is registered."""
    if registrations is not None:
        registrations.apply()
    return function(item)


def _live_and_die_with(parent: int) -> None:
    """Leave Ctrl-C to the parent process, and end when it has ended: a killed sweep must not go on writing."""
    if os.getppid() != parent or any(thread.name == "watch-parent" for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
