"""What ``tune`` does with its options."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from perf_envs.extras import check_extra
from perf_envs.validation import check_count
from train.bench import longest_first
from train.engines import WorkerLostError, check_engine, in_parallel
from train.fitting import applies, check_applies
from train.naming import named
from train.options import TuneCommand
from train.plans import Block
from train.registrations import Registrations
from train.registry import TUNED, find_algorithm, use_files
from train.run import execute
from train.tuning.search import Search, Train, search
from train.tuning.spaces import first_trials, read_space, shipped_setting
from train.tuning.trials import Trial, best_trial
from train.tuning.winners import save_winners, write_winners
from train.yaml_files import dump_value

#: The benchmark has seeds from 0; its settings must not be chosen on them.
FIRST_SEED = 100


def tune(command: TuneCommand) -> int:
    """Search the best settings of every algorithm in every world, all with the same budget."""
    check_extra("tune", "tune")
    jobs = check_engine("joblib", command.jobs)
    use_files(command.algos, command.configs, command.spaces)
    block = named(Block(command.algos, command.envs, (0,)))
    planned = plan_searches(block.algos, block.envs, command.trials, command.seeds, command.out, command.n_timesteps)
    try:
        trials = make_searches(planned, jobs)
    except WorkerLostError as error:
        print(f"a worker process died, the same command continues: {error}", file=sys.stderr)
        return 1
    for algo in block.algos:
        write_winners(command.out, algo, command.trials)
    if command.save:
        save_winners(TUNED, list(itertools.chain.from_iterable(trials)))
    _show(trials)
    print(f"settings: {(TUNED if command.save else command.out).resolve()}")
    failed = [in_pair[0] for in_pair in trials if best_trial(in_pair) is None]
    for first in failed:
        print(f"all trials failed: {first.algo} in {first.env}: {first.error}", file=sys.stderr)
    return 1 if failed else 0


def plan_searches(
    algos: Sequence[str],
    envs: Sequence[str],
    n_trials: int,
    n_seeds: int,
    out: Path,
    n_timesteps: int | None = None,
) -> list[Search]:
    """Return a search for every algorithm in every world, checked.

    Raises:
        ValueError: unknown or repeated names, a file that is not valid, or a folder that holds other searches.
    """
    seeds = tuple(range(FIRST_SEED, FIRST_SEED + check_count("seeds", n_seeds)))
    for env in envs:
        check_applies(algos, env)
    asked = Block(tuple(algos), tuple(envs), seeds)
    check_count("trials", n_trials)
    steps = None if n_timesteps is None else check_count("n", n_timesteps)
    planned = []
    for env, algo in itertools.product(asked.envs, asked.algos):
        if applies(algo, env):
            shipped, space = shipped_setting(algo, env, steps), read_space(algo, env)
            firsts = first_trials(algo, env, shipped, space)
            planned.append(Search(algo, env, shipped, space, firsts, seeds, n_trials, out))
    for one in planned:
        one.check_continuable()
    return planned


def make_searches(planned: Sequence[Search], jobs: int, train: Train = execute) -> list[list[Trial]]:
    """Make searches side by side, the longest first, and return their trials in the order of the searches.

    Within a search one trial follows the other, so that what comes out does not depend on the number of jobs.
    """
    first_runs = {(one.algo, one.env): one.run(one.seeds[0], {}) for one in planned}
    pairs = [(run.algo, run.env) for run in longest_first(first_runs.values())]
    order = sorted(planned, key=lambda one: pairs.index((one.algo, one.env)))
    done: dict[tuple[str, str], list[Trial]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("searches", total=len(planned))
        known = Registrations.of((run.world for run in first_runs.values()), (one.algo for one in planned))
        for trials in in_parallel(functools.partial(search, train=train), order, jobs, registrations=known):
            done[trials[0].algo, trials[0].env] = trials
            progress.update(task, advance=1)
            progress.console.print(_line(trials), highlight=False)
    return [done[one.algo, one.env] for one in planned]


def _line(trials: Sequence[Trial]) -> str:
    best, failed = best_trial(trials), sum(bool(trial.error) for trial in trials)
    outcome = "no trial succeeded" if best is None else f"J {best.mean:.4f}, shipped setting {trials[0].mean:.4f}"
    return f"{trials[0].algo} in {trials[0].env}: {outcome}" + (f", {failed} trials failed" if failed else "")


def _show(searches: Sequence[Sequence[Trial]]) -> None:
    """Print the winners, a table per world."""
    for env, in_world in itertools.groupby(searches, key=lambda trials: trials[0].env):
        table = Table(title=env, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for heading in ("", "J", "shipped", "trial"):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        table.add_column("settings")
        for trials in in_world:
            best = best_trial(trials)
            if best is not None:
                figures = (f"{best.mean:.4f}", f"{trials[0].mean:.4f}", str(best.trial))
                chosen = "\n".join(f"{key}: {dump_value(value)}" for key, value in best.params.items())
                table.add_row(find_algorithm(best.algo).label, *figures, chosen)
        Console().print(table)
