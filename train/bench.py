"""Algorithms x worlds x seeds over the cores. Finished runs are kept, so the same command continues what was killed."""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from perf_envs.validation import check_count
from train.engines import WorkerLostError, check_engine, in_parallel
from train.evaluators import World
from train.files import read_text, remove_leftovers, write_text
from train.fitting import applies, check_applies
from train.folders import ERROR, beside, settle
from train.locks import at_work_in, awaited
from train.plans import PLAN, Plan
from train.registrations import Registrations
from train.registry import find_algorithm
from train.results import write_failures, write_results
from train.run import Run, execute, plan_run

Train = Callable[[Run], object]

#: How often a run is tried.
ATTEMPTS = 2


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended: ``error`` is ``None`` where it succeeded.

    Attributes:
        run: what was to be made.
        error: what went wrong.
        made: whether this attempt has made it; another sweep may have done so before.
    """

    run: Run
    error: str | None = None
    made: bool = False


@dataclass(frozen=True)
class BenchReport:
    """What a benchmark did.

    Attributes:
        kept: runs that were there already, or that another sweep in the same folder has made meanwhile.
        made: runs made now, by this sweep.
        failures: runs that failed, with their last error.
    """

    kept: int
    made: int
    failures: tuple[Outcome, ...]


def plan_runs(plan: Plan, out: Path) -> list[Run]:
    """Return all runs of a benchmark, checked, in the order of its tables: world, algorithm, seed.

    Algorithms are left out of worlds in which they cannot act.

    Raises:
        ValueError: unknown names, a settings file that is not valid, or a world in which no algorithm of these can act.
    """
    for env in plan.envs:
        check_applies(plan.algos, env)
    overrides = {} if plan.n_timesteps is None else {"n_timesteps": check_count("n", plan.n_timesteps)}
    options: dict[str, Any] = {"out": out} if plan.n_evals is None else {"out": out, "n_evals": plan.n_evals}
    settled = functools.cache(lambda algo, env: plan_run(algo, env, 0, overrides=overrides, **options))
    return [replace(settled(algo, env), seed=seed) for env, algo, seed in plan.runs() if applies(algo, env)]


def run_bench(
    runs: Sequence[Run],
    plan: Plan,
    out: Path,
    jobs: int | None = None,
    train: Train = execute,
    engine: str = "joblib",
) -> BenchReport:
    """Make the runs that are not finished and write ``bench.yaml``, ``results.csv`` and ``failures.csv``.

    Args:
        runs: what to run, see :func:`plan_runs`.
        plan: how it was asked for.
        out: folder of the benchmark.
        jobs: processes; ``None`` for one per core, 1 trains in this process.
        train: what makes a run and its folder.
        engine: where runs are made, see :func:`train.engines.check_engine`. Ray's workers write to ``out`` as well: a
            cluster of several machines needs it on a file system that they share.

    Raises:
        ValueError: jobs or engine are not valid.
    """
    check_engine(engine, jobs)
    with at_work_in(out):  # or another sweep's files would be taken for leftovers
        remove_leftovers(out)
        write_text(out / PLAN, plan.dump())
    report = make_runs(runs, jobs, train, engine)
    rows = [{"algo": o.run.algo, "env": o.run.env, "seed": o.run.seed, "error": o.error} for o in report.failures]
    failed = [failure.run.folder for failure in report.failures]
    with at_work_in(out):
        write_failures(out, rows)
        write_results(out, plan, [run.folder for run in runs if run.folder not in failed and run.is_finished()])
    return report


def make_runs(
    runs: Sequence[Run], jobs: int | None = None, train: Train = execute, engine: str = "joblib"
) -> BenchReport:
    """Make those of the runs that are not finished; see :func:`run_bench`."""
    pool = _Pool(engine, check_engine(engine, jobs), train, time.time())
    done = [run.is_finished() for run in runs]
    pending = longest_first([run for run, is_done in zip(runs, done, strict=True) if not is_done])
    outcomes: list[Outcome] = []
    with _progress() as progress:
        task = progress.add_task("runs", total=len(runs), completed=len(runs) - len(pending), failed="")
        for outcome in _attempt_all(pending, pool):
            outcomes.append(outcome)
            n_failed = sum(bool(one.error) for one in outcomes)
            progress.update(task, advance=1, failed=f"{n_failed} failed" if n_failed else "")
    failures = sorted((one for one in outcomes if one.error), key=lambda one: runs.index(one.run))
    made = sum(one.made for one in outcomes)
    return BenchReport(len(runs) - made - len(failures), made, tuple(failures))


def longest_first(runs: Iterable[Run]) -> list[Run]:
    """Return the runs with those first that will take longest, so that all cores are busy to the end."""
    response = {}

    def seconds(run: Run) -> float:
        world = (run.env, str(run.settings["env_kwargs"]))
        if world not in response:
            response[world] = _response_seconds(run)
        rollout = run.settings["n_envs"] * run.settings.get("n_steps", 1)
        per_step = find_algorithm(run.algo).seconds_per_step + 2.0 * response[world] / rollout
        return float(run.settings["n_timesteps"] * per_step)

    return sorted(runs, key=seconds, reverse=True)


def _response_seconds(run: Run) -> float:
    """Return how long the world of a run takes to answer a deployment; infinity where it cannot be made."""
    try:
        env = World(run.world, run.settings["env_kwargs"]).make()
    except ValueError:
        return float("inf")  # the run itself will say what is wrong
    with contextlib.closing(env):
        if not env.has_wrapper_attr("problem"):
            return 0.0
        problem = env.get_wrapper_attr("problem")
        start = time.perf_counter()
        problem.response(problem.policies.initial())
        return time.perf_counter() - start


@dataclass(frozen=True)
class _Pool:
    """Who makes runs."""

    engine: str
    jobs: int
    train: Train
    since: float

    def attempt(self, runs: Sequence[Run], jobs: int | None = None) -> Iterator[Outcome]:
        """Yield one outcome per run; ``WorkerLostError`` if a run kills its process."""
        # Ray's workers have another working folder.
        sent = [replace(run, out=run.out.resolve()) for run in runs] if self.engine == "ray" else list(runs)
        function = functools.partial(_attempt, train=self.train, since=self.since)
        known = Registrations.of((run.world for run in runs), (run.algo for run in runs))
        for outcome in in_parallel(function, sent, self.jobs if jobs is None else jobs, self.engine, known):
            yield replace(outcome, run=runs[sent.index(outcome.run)])


def _attempt_all(runs: list[Run], pool: _Pool) -> Iterator[Outcome]:
    """Yield the last outcome of every run: a run that fails is tried again after the others."""
    for attempt in range(1, ATTEMPTS + 1):
        again = []
        for outcome in _attempt_each(runs, pool):
            if outcome.error and attempt < ATTEMPTS:
                again.append(outcome.run)
            else:
                yield outcome
        runs = again


def _attempt_each(runs: list[Run], pool: _Pool) -> Iterator[Outcome]:
    """Yield one outcome per run, also if runs kill their worker processes."""
    for run in runs:
        (run.folder / ERROR).unlink(missing_ok=True)  # from here on it speaks of this attempt
    waiting = list(runs)
    while waiting:
        try:
            for outcome in pool.attempt(waiting):
                waiting = [run for run in waiting if run != outcome.run]
                yield outcome
        except WorkerLostError:
            # Every worker is lost with the one that died, and nobody knows whose fault it was: who had begun and not
            # ended is tried alone.
            ended = [outcome for outcome in map(_read_outcome, waiting) if outcome is not None]
            waiting = [run for run in waiting if run not in [outcome.run for outcome in ended]]
            yield from ended
            suspects = [run for run in waiting if _has_begun(run)]
            for run in suspects[: pool.jobs] or waiting[:1]:
                waiting.remove(run)
                yield _attempt_alone(run, pool)


def _has_begun(run: Run) -> bool:
    """Whether somebody has begun a run and not finished it, in its place or beside a finished one."""
    folder = beside(run.folder) if run.has_result() else run.folder
    return (folder / "config.yaml").exists()


def _read_outcome(run: Run) -> Outcome | None:
    """Return how a run ended that nobody has told of, ``None`` if it has not."""
    if run.is_finished():
        return Outcome(run, made=True)
    error = run.folder / ERROR
    return Outcome(run, read_text(error).rstrip().rsplit("\n", 1)[-1]) if error.exists() else None


def _attempt_alone(run: Run, pool: _Pool) -> Outcome:
    try:
        return next(pool.attempt([run], 2))  # two jobs, because one would run in this process
    except WorkerLostError:
        return Outcome(run, "the worker process died")


def _attempt(run: Run, train: Train, since: float) -> Outcome:
    """Execute a run; whatever goes wrong is returned rather than raised, so that the other runs go on.

    Args:
        run: what to make.
        train: what makes it.
        since: when the sweep began: a run with other settings that is younger is another command's.
    """
    # Another sweep, or a worker that has not noticed yet that its own was killed, may be at work in the same folder.
    with awaited(run.folder):
        try:
            settle(run.folder)
            if run.is_finished():
                return Outcome(run)
            if (run.result_time() or 0.0) > since:
                return Outcome(run, _made_otherwise(run))
            train(run)
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk is a reason to fail, not to end the sweep
                run.folder.mkdir(parents=True, exist_ok=True)
                write_text(run.folder / ERROR, traceback.format_exc())
            return Outcome(run, f"{type(error).__name__}: {error}")
    return Outcome(run, made=True)


def _made_otherwise(run: Run) -> str:
    return (
        f"another command, which is at work in {run.out} too, has made this run with other settings "
        f"({', '.join(run.differing())}): give one of them another --out"
    )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("[red]{task.fields[failed]}"), transient=False)
