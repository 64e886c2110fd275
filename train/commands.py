"""What ``run`` and ``bench`` do with their options."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perf_envs.validation import check_choice, check_count
from train.bench import BenchReport, plan_runs, run_bench
from train.failures import RunFailedError
from train.files import write_text
from train.foreign import Evaluation, read_foreign
from train.naming import named
from train.options import DEFAULT_ALGOS, DEFAULT_ENVS, STUDIES, BenchCommand, EvaluateCommand, RunCommand, StudyCommand
from train.plans import Block, Plan, Suite, read_suite
from train.plot import plot
from train.registry import use_files
from train.results import read_plan, write_results
from train.run import Run, execute, plan_run
from train.settings import parse_assignments
from train.studies.convergence import run_convergence
from train.studies.definitions import SAMPLED
from train.studies.sampled import run_study

#: How many seeds a benchmark has, and how many with ``--quick``, where the options do not say otherwise.
SEEDS, QUICK_SEEDS = 10, 5


def run(command: RunCommand) -> int:
    """Train one agent and print what it is worth."""
    overrides = parse_assignments(command.set)
    for key in ("n_timesteps", "n_envs"):
        given = getattr(command, key)
        if given is not None and key in overrides:
            option = f"--{key.replace('_', '-')}"
            raise ValueError(f"{key} is given twice: {given} with {option} and {overrides[key]!r} with --set")
        if given is not None:
            overrides[key] = given
    planned = plan_run(
        command.algo,
        command.env,
        command.seed,
        command.config,
        overrides,
        out=command.out,
        n_evals=command.n_evals,
        best_value=command.best_value,
        progress=command.progress,
        tensorboard=command.tensorboard,
    )
    if not command.overwrite:
        planned.check_replaceable()  # before anything is made
    result = _execute(planned, command.overwrite)
    best = planned.best_value if planned.best_value is not None else planned.evaluator().best_known_value()
    print(describe(result, best))
    print(f"saved in {planned.folder}")
    return 0


def evaluate(command: EvaluateCommand, line: str) -> int:
    """Evaluate a policy, print what it is worth, and save it where that is asked for."""
    found = Evaluation.of(read_foreign(command.policy), command.env, command.seed, command.name)
    print(describe(found.result, found.best_value))
    if command.into is not None:
        folder = found.save(command.into, line, command.knows_response)
        print(f"saved in {folder}")
        plan = read_plan(command.into)
        if plan is not None:
            write_results(command.into, plan)
        plot(command.into)
    return 0


def _execute(planned: Run, overwrite: bool) -> dict[str, Any]:
    try:
        return execute(planned, overwrite)
    except (OSError, ValueError):
        raise  # these say what is wrong themselves
    except Exception as error:
        # Beside the folder, which may hold a finished run that stays.
        path = planned.folder.with_name(f"{planned.folder.name}.error.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, traceback.format_exc())
        raise RunFailedError(f"{type(error).__name__}: {error} (traceback: {path})") from error


def describe(result: Mapping[str, Any], best_value: float | None) -> str:
    """Return the result of a run in words.

    Args:
        result: what :func:`train.run.execute` returns.
        best_value: the best performative value known.
    """
    gap = None if best_value is None else best_value - result["performative_value"]
    uniform = "" if result["uniform_value"] is None else f"  (uniform policy {result['uniform_value']:.4f})"
    return (
        f"{result['label']} in {result['env']}, seed {result['seed']}{_trained(result)}\n"
        f"performative value J  {_value(result)}{uniform}\n"
        f"stability gap         {_or_unknown(result['stability_gap'])}\n"
        f"optimality gap        {_or_unknown(gap)}\n"
        f"discounted return     {_measured(result, 'discounted_return')}  ({_played(result)})\n"
        f"return of an episode  {_measured(result, 'rollout_return')}  (undiscounted, {_length(result)})"
    )


def _trained(result: Mapping[str, Any]) -> str:
    if "seconds" not in result:  # trained elsewhere
        return ""
    return f": {result['steps']} steps and {result['deployments']} deployments in {result['seconds']:.1f} s"


def _value(result: Mapping[str, Any]) -> str:
    error = result["performative_value_se"]
    return f"{result['performative_value']:.4f}" + ("" if error is None else f" ± {error:.4f}, played")


def _or_unknown(figure: float | None) -> str:
    return "unknown" if figure is None else f"{figure:.4f}"


def _measured(result: Mapping[str, Any], name: str) -> str:
    mean, error = result[f"{name}_mean"], result[f"{name}_se"]
    return "unknown" if mean is None else f"{mean:.4f} ± {error:.4f}"


def _played(result: Mapping[str, Any]) -> str:
    """Return how discounted returns were played: where they had to be cut before the discount ended, by how much."""
    deployments, rest = result["played_deployments"], result["discounted_return_rest"]
    answers = f" over {deployments} deployments" if deployments > 1 else ""
    cut = ""
    if rest is None:
        cut = "; cut at time limits"
    elif rest > (result["discounted_return_se"] or 0.0):
        cut = f"; cut: up to {rest:.2g} is missing"
    return f"played, {result['n_episodes']} episodes{answers}, standard error{cut}"


def _length(result: Mapping[str, Any]) -> str:
    limit = result["max_episode_steps"]
    return "to its end" if limit is None else f"at most {limit} steps"


def bench(command: BenchCommand, line: str) -> int:
    """Make the runs of a benchmark that are missing, then plots and report."""
    try:
        suite = _suite(command)
        plan = Plan(suite.blocks, line, command.n_timesteps, command.n_evals)
        for configs in (suite.configs, command.configs):
            use_files(plan.algos, configs)
        runs = plan_runs(plan, command.out)
    except ValueError as error:
        if command.suite is None or str(command.suite) in str(error):
            raise
        raise ValueError(f"suite {command.suite}: {error}") from None
    report = run_bench(runs, plan, command.out, command.jobs, engine=command.engine)
    _tell(report)
    if len(report.failures) < len(runs):
        plot(command.out)
    return 1 if report.failures else 0


def _suite(command: BenchCommand) -> Suite:
    """Return what a benchmark is to run: a suite, or one block of what the options name."""
    if command.suite is not None:
        given = [name for name in ("algos", "envs", "seeds") if getattr(command, name) is not None]
        if given or command.quick:
            raise ValueError(f"suite {command.suite} says itself what is run: leave {', '.join(given) or 'quick'} out")
        suite = read_suite(command.suite)
        return replace(suite, blocks=tuple(named(block) for block in suite.blocks))
    seeds = command.seeds if command.seeds is not None else (QUICK_SEEDS if command.quick else SEEDS)
    algos = DEFAULT_ALGOS if command.algos is None else command.algos
    envs = DEFAULT_ENVS if command.envs is None else command.envs
    return Suite((named(Block(algos, envs, tuple(range(check_count("seeds", seeds))))),))


def study(command: StudyCommand, line: str) -> int:
    """Make what is missing of a study, then its page."""
    check_choice("study", command.name, STUDIES)
    check_count("seeds", command.seeds)
    out = command.out / command.name
    if command.name == "convergence":
        page = run_convergence(command.seeds, command.n_timesteps, command.jobs, command.engine)
    else:
        made, report = run_study(
            SAMPLED[command.name], command.seeds, out, command.n_timesteps, command.jobs, command.engine
        )
        _tell(report)
        if made is None:
            return 1
        page = made
    for claim in page.claims:
        print(f"{claim.verdict}: {claim.text} {claim.because}")
    print(" ".join(page.findings))
    print(f"page: {page.write(out, line).resolve()}")
    return 0


def _tell(report: BenchReport) -> None:
    print(f"{report.made} runs made, {report.kept} were finished already, {len(report.failures)} failed")
    for failure in report.failures:
        print(f"failed twice: {failure.run.folder}: {failure.error}", file=sys.stderr)
