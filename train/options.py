"""What the command line takes: one dataclass per command, from which tyro makes parser and help."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

_ALGO, _ENV = "NAME|MODULE:CLASS", "ID|MODULE:ID"
#: What is compared or tuned where the options do not say.
DEFAULT_ALGOS = ("pepg", "ppo", "a2c")
DEFAULT_ENVS = ("PerformativeGridWorld-v0", "PerformativePricing-v0")


def _option(metavar: str, default: str | None = None, aliases: tuple[str, ...] = ()) -> Any:
    """Describe an option for the help: how its value is written, and what happens without it."""
    return arg(metavar=metavar, aliases=aliases, help_behavior_hint=f"(default: {default})" if default else None)


@dataclass
class RunCommand:
    """Train one agent in one world; everything about the run is saved in a folder of its own.

    The folder is DIR/ALGO/ENV/seed_K. Settings come from the shipped files of the algorithm, then --config, then --set,
    then the options here.
    """

    algo: Annotated[str, arg(metavar=_ALGO)]
    """What to train; python -m train list names them, and module:Class is one of your own."""
    env: Annotated[str, arg(metavar=_ENV)]
    """The world, such as PerformativePricing-v0, or a variant of it, such as PerformativePricing-v0@strong; module:ID
    imports the module first, which registers it."""
    seed: Annotated[int, arg(metavar="K")] = 0
    """Seed of everything random; the same seed gives the same numbers."""
    n_timesteps: Annotated[int | None, _option("STEPS", "as in the settings", ("-n",))] = None
    """Environment steps to train for."""
    n_envs: Annotated[int | None, _option("N", "as in the settings")] = None
    """Agents stepped side by side in the world."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("results/runs")
    """Folder for the folders of runs."""
    config: Annotated[Path | None, _option("FILE.yaml", "none")] = None
    """Settings on top of the shipped ones, in the form of those."""
    set: Annotated[tuple[str, ...], _option("KEY=VALUE ...", "none")] = ()
    """Single settings, such as learning_rate=1e-3 env_kwargs.shift=2."""
    n_evals: Annotated[int, arg(metavar="N")] = 20
    """Exact evaluations along the training, the first before it and the last after it."""
    best_value: Annotated[float | None, _option("J", "the one shipped for the world, if any")] = None
    """Best performative value known: the optimality gap is measured from it."""
    overwrite: bool = False
    """Replace a finished run that had other settings."""
    progress: bool = False
    """Show a progress bar."""
    tensorboard: bool = False
    """Write a TensorBoard log into the folder of the run too."""

    def run(self, line: str) -> int:
        """Train, and print what came out."""
        from train.commands import run

        return run(self)


@dataclass
class BenchCommand:
    """Compare algorithms in worlds over seeds, and write tables, plots and a report.

    Finished runs are not repeated: the same command continues a benchmark that was stopped. A run that fails is tried
    once more, then listed in failures.csv; the exit code is 1 in that case.
    """

    algos: Annotated[tuple[str, ...] | None, _option(f"{_ALGO} ...", " ".join(DEFAULT_ALGOS))] = None
    """What to compare; python -m train list names them, and module:Class is one of your own."""
    envs: Annotated[tuple[str, ...] | None, _option(f"{_ENV} ...", " ".join(DEFAULT_ENVS))] = None
    """The worlds; ID@VARIANT for one that responds more or less strongly, or less smoothly."""
    seeds: Annotated[int | None, _option("N", "10, with --quick 5")] = None
    """Number of seeds: 0 to N-1."""
    n_timesteps: Annotated[int | None, _option("STEPS", "as in the settings", ("-n",))] = None
    """Environment steps of every run."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("results/bench")
    """Folder for the runs, the tables and the report."""
    configs: Annotated[Path | None, _option("DIR", "none")] = None
    """Folder with settings on top of the shipped ones, ALGO.yaml."""
    jobs: Annotated[int | None, _option("N", "one per core")] = None
    """Runs at the same time."""
    engine: Annotated[str, arg(metavar="{joblib,ray}")] = "joblib"
    """Where runs are made: processes of this machine, or the Ray cluster at the environment variable RAY_ADDRESS."""
    n_evals: Annotated[int, arg(metavar="N")] = 20
    """Exact evaluations along each training."""
    suite: Annotated[str | None, _option("{reference} | FILE.yaml", "none")] = None
    """Several blocks of algorithms, worlds and seeds instead of one."""
    quick: bool = False
    """A comparison of a few minutes: 5 seeds."""

    def run(self, line: str) -> int:
        """Make the runs that are missing, then tables, plots and report."""
        from train.commands import bench

        return bench(self, line)


@dataclass
class PlotCommand:
    """Draw plots and report of a results folder again; nothing is trained."""

    out: Annotated[Positional[Path], arg(metavar="DIR")]
    """A folder written by bench, or by several calls of run."""

    def run(self, line: str) -> int:
        """Draw."""
        from train.plot import plot

        plot(self.out)
        return 0


#: What can be studied.
STUDIES = ("entropy", "learning-rate", "robustness", "convergence")


@dataclass
class StudyCommand:
    """Study one question over seeds: data, a plot and a page of findings that the data wrote.

    The page says of each claim of the paper whether it holds. Finished runs are not repeated: the same command
    continues a study that was stopped. The exit code is 1 if runs failed twice.
    """

    name: Annotated[Positional[str], arg(metavar="{" + ",".join(STUDIES) + "}")]
    """The question."""
    seeds: Annotated[int, arg(metavar="N")] = 10
    """Number of seeds: 0 to N-1; with convergence, instances of the world."""
    n_timesteps: Annotated[int | None, _option("STEPS", "as the study has it", ("-n",))] = None
    """Environment steps of every run; with convergence, iterations."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("results/studies")
    """The study is written to DIR/NAME."""
    jobs: Annotated[int | None, _option("N", "one per core")] = None
    """Runs at the same time."""
    engine: Annotated[str, arg(metavar="{joblib,ray}")] = "joblib"
    """Where runs are made, as in bench."""

    def run(self, line: str) -> int:
        """Make the runs that are missing, then the page."""
        from train.commands import study

        return study(self, line)


@dataclass
class MergeCommand:
    """Put result folders of several machines together, and write their tables, plots and report.

    Finished runs are copied; nothing is trained. A run that is in two folders must have the same settings and the same
    result in both.
    """

    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder that receives the runs; those that it holds already stay."""
    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="FOLDER ...")]
    """Folders written by bench, or by several calls of run."""

    def run(self, line: str) -> int:
        """Copy, then draw."""
        from train.merge import merge
        from train.plot import plot

        merge(self.out, self.folders, line)
        plot(self.out)
        return 0


@dataclass
class TuneCommand:
    """Search the settings of algorithms in worlds: as many trials for each of them, on seeds that bench does not use.

    Where to look is in train/search_spaces; the first trial is the shipped setting without tuning. Needs Optuna. The
    same command continues a search that was stopped, and --trials may be raised. Exit code 1 if all trials of a search
    failed.
    """

    algos: Annotated[tuple[str, ...], _option(f"{_ALGO} ...", " ".join(DEFAULT_ALGOS))] = DEFAULT_ALGOS
    """What to tune."""
    envs: Annotated[tuple[str, ...], _option(f"{_ENV} ...", " ".join(DEFAULT_ENVS))] = DEFAULT_ENVS
    """The worlds."""
    trials: Annotated[int, arg(metavar="N")] = 10
    """Settings tried per algorithm and world."""
    seeds: Annotated[int, arg(metavar="N")] = 2
    """Runs per trial, with seeds from 100; a trial counts as much as their mean exact performative value at the end."""
    n_timesteps: Annotated[int | None, _option("STEPS", "as in the settings", ("-n",))] = None
    """Environment steps of every run."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("results/tuning")
    """Folder for trials (DIR/ALGO/ENV/trials.csv) and winning settings (DIR/ALGO.yaml, which run --config reads)."""
    jobs: Annotated[int | None, _option("N", "one per core")] = None
    """Searches at the same time."""
    configs: Annotated[Path | None, _option("DIR", "none")] = None
    """Folder with settings on top of the shipped ones, ALGO.yaml; a search starts from them."""
    spaces: Annotated[Path | None, _option("DIR", "none")] = None
    """Folder with search spaces in place of the shipped ones, ALGO.yaml."""
    save: bool = False
    """Put the winners among the shipped settings, in train/configs/tuned."""

    def run(self, line: str) -> int:
        """Search."""
        from train.tuning.command import tune

        return tune(self)


@dataclass
class EvaluateCommand:
    """Say what a policy is worth that was trained anywhere: exactly where the world is known, and played.

    With --into it is saved beside the runs of a results folder, whose tables and report then show it.
    """

    policy: Annotated[Positional[str], arg(metavar="FILE.zip|FILE.npy|MODULE:FUNCTION")]
    """A model of Stable-Baselines3, a table or means and deviations as runs save them, or a function
    observation -> probabilities, action or (mean, deviation)."""
    env: Annotated[str, arg(metavar=_ENV)]
    """The world, or a variant of it."""
    seed: Annotated[int, arg(metavar="K")] = 0
    """Seed of the episodes that are played."""
    into: Annotated[Path | None, _option("DIR", "none")] = None
    """A results folder that the evaluation is put into."""
    name: Annotated[str | None, _option("TEXT", "that of the policy")] = None
    """What the policy is called there."""
    knows_response: bool = False
    """Say of it that it was found with knowledge of the response map."""

    def run(self, line: str) -> int:
        """Evaluate, and print what came out."""
        from train.commands import evaluate

        return evaluate(self, line)


@dataclass
class ListCommand:
    """List worlds (spaces, variants, optimum, what is known) and algorithms (spaces, knowledge, settings)."""

    what: Annotated[Positional[str], arg(metavar="{all,worlds,algorithms}")] = "all"
    """What to list."""
    envs: Annotated[tuple[str, ...], _option(f"{_ENV} ...", "those that are registered")] = ()
    """Worlds of your own that are listed as well."""
    algos: Annotated[tuple[str, ...], _option(f"{_ALGO} ...", "those that are registered")] = ()
    """Algorithms of your own that are listed as well."""

    def run(self, line: str) -> int:
        """Print the lists."""
        from train.listing import print_lists

        print_lists(self.what, self.envs, self.algos)
        return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    "run": RunCommand,
    "bench": BenchCommand,
    "plot": PlotCommand,
    "merge": MergeCommand,
    "study": StudyCommand,
    "tune": TuneCommand,
    "evaluate": EvaluateCommand,
    "list": ListCommand,
}


def option_names(command: Any) -> list[str]:
    """Return the options of a command as they are written, long and short."""
    return ["--help", "-h", *(name for names in option_spellings(command).values() for name in names)]


def option_spellings(command: Any) -> dict[str, list[str]]:
    """Return the spellings of every option of a command, the long one first."""
    hints = typing.get_type_hints(command, include_extras=True)
    spellings = {}
    for field in dataclasses.fields(command):
        marks = getattr(hints[field.name], "__metadata__", ())
        aliases = [alias for mark in marks for alias in (getattr(mark, "aliases", None) or ())]
        spellings[field.name] = ["--" + field.name.replace("_", "-"), *aliases]
    return spellings
