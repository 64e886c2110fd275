"""One training run and its folder ``<out>/<algo>/<env>/seed_<k>/``.

A run is finished when ``result.json`` is there; it is written last. Until then the folder holds what has been saved so
far, and starting the run again replaces it.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure

from agents import DeployCallback, make_vec_env
from agents.common.deploying import PerformativeProblem, performative_problem
from perf_envs.validation import check_count, check_number
from perf_envs.variants import split_variant
from train import provenance
from train.algorithms import find_algorithm
from train.evaluation import play
from train.files import read_json, remove_leftovers, write_json, write_text, write_with
from train.judges import Policy, find_judge
from train.recording import EVALUATIONS, EvaluationCallback
from train.settings import MAPPING_KEYS, Settings, hyperparameters, resolve_settings
from train.yaml_files import dump_value, dump_yaml, parse_yaml, read_mapping

RESULT, ERROR = "result.json", "error.txt"
_INPUTS = ("config.yaml", "command.txt", "meta.json")
_FILES = (*_INPUTS, "progress.csv", EVALUATIONS, "policy.npy", "model.zip", ERROR)
#: Lines in ``progress.csv``, about.
_LOG_LINES = 100


@dataclass(frozen=True)
class Run:
    """What to train, in full.

    Attributes:
        algo: name of the algorithm.
        env: id of the world, or of one of its variants.
        seed: seed of everything random in the run.
        settings: see :mod:`train.settings`.
        out: folder that holds the folders of runs.
        n_evals: exact evaluations along the training.
        best_value: the best performative value known, where none is shipped for the world.
    """

    algo: str
    env: str
    seed: int
    settings: Settings
    out: Path = Path("results")
    n_evals: int = 20
    best_value: float | None = None
    tensorboard: bool = field(default=False, compare=False)
    progress: bool = field(default=False, compare=False)

    @property
    def world(self) -> str:
        """The id that the world, of which ``env`` may be a variant, is registered under."""
        return split_variant(self.env)[0]

    def problem(self) -> PerformativeProblem | None:
        """Make the world and return its performative problem; ``None`` if it is an ordinary environment."""
        return performative_problem(make_vec_env(self.world, env_kwargs=self.settings["env_kwargs"]))

    @property
    def folder(self) -> Path:
        """Where the run keeps its files."""
        return self.out / self.algo / self.env / f"seed_{self.seed}"

    @property
    def config(self) -> dict[str, Any]:
        """Everything the outcome depends on."""
        best = {} if self.best_value is None else {"best_value": self.best_value}
        return {"algo": self.algo, "env": self.env, "seed": self.seed, "n_evals": self.n_evals, **best, **self.settings}

    @property
    def command(self) -> str:
        """The command that repeats this run, whatever the shipped settings are by then."""
        parts = ["python", "-m", "train", "run", "--algo", self.algo, "--env", self.env, "--seed", str(self.seed)]
        parts += ["-n", str(self.settings["n_timesteps"]), "--n-envs", str(self.settings["n_envs"])]
        parts += ["--n-evals", str(self.n_evals), "--out", str(self.out)]
        parts += [] if self.best_value is None else ["--best-value", repr(self.best_value)]
        rest = {key: value for key, value in self.settings.items() if key not in ("n_timesteps", "n_envs")}
        assignments = [f"{key}={dump_value(value)}" for key, value in rest.items() if value or key not in MAPPING_KEYS]
        return shlex.join([*parts, *(["--set", *assignments] if assignments else [])])

    def is_finished(self) -> bool:
        """Whether the folder holds the result of exactly this run; the order of the settings does not matter."""
        config = self.folder / "config.yaml"
        if not ((self.folder / RESULT).is_file() and config.is_file()):
            return False
        before, now = config.read_text(encoding="utf-8"), dump_yaml(self.config)
        return before == now or parse_yaml(before, str(config)) == parse_yaml(now, "the settings")

    def check_replaceable(self) -> None:
        """Raise ``ValueError`` if the folder holds the result of a run with other settings."""
        config = self.folder / "config.yaml"
        if not (self.folder / RESULT).is_file() or self.is_finished():
            return
        before = read_mapping(config) if config.is_file() else {}
        differ = [key for key in {**before, **self.config} if before.get(key) != self.config.get(key)]
        raise ValueError(
            f"{self.folder} holds a finished run with other settings ({', '.join(differ)}): --overwrite replaces it, "
            "--out writes elsewhere"
        )


def plan_run(
    algo: str,
    env: str,
    seed: int,
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Return a run with its settings resolved and checked.

    Raises:
        ValueError: something in the arguments or in a settings file is not valid.
    """
    check_count("seed", seed, at_least=0)
    check_count("n_evals", options.get("n_evals", 20), at_least=2)
    if options.get("best_value") is not None:
        check_number("best_value", options["best_value"])
    return Run(algo, env, seed, resolve_settings(algo, env, config, overrides), **options)


def execute(run: Run) -> dict[str, Any]:
    """Train, evaluate, save, and return the result.

    Raises:
        ValueError: the algorithm or the world rejects its settings.
    """
    with _one_thread(), contextlib.ExitStack() as stack:
        algorithm, settings = find_algorithm(run.algo), run.settings
        venv = make_vec_env(run.world, settings["n_envs"], run.seed, settings["env_kwargs"])
        stack.callback(venv.close)
        problem = performative_problem(venv)
        if problem is None:
            raise ValueError(f"env must be a performative world, got {run.env!r}")
        judge = find_judge(problem)
        arguments = {"gamma": problem.gamma, **hyperparameters(algorithm, settings)}
        model = algorithm.make(venv, run.seed, settings["policy"], **arguments)
        best = run.best_value if run.best_value is not None else judge.best_known_value()
        meta = _open_folder(run)  # not before all settings have proved good: it removes what an earlier run left
        model.set_logger(configure(str(run.folder), ["csv", *(["tensorboard"] if run.tensorboard else [])]))
        stack.callback(model.logger.close)
        evaluations = EvaluationCallback(run.folder / EVALUATIONS, judge, settings["n_timesteps"], run.n_evals, best)
        start = time.perf_counter()
        model.learn(
            settings["n_timesteps"],
            callback=[DeployCallback(every_steps=_round_steps(settings)), evaluations],
            log_interval=_log_interval(model, settings),
            progress_bar=run.progress,
        )
        seconds = time.perf_counter() - start
        policy = judge.read(model)
        figures = {key: evaluations.last[key] for key in ("performative_value", "stability_gap", "optimality_gap")}
        figures |= {"best_value": best, "uniform_value": judge.uniform_value()}
        figures |= play(run.world, settings["env_kwargs"], policy, run.seed).figures()
        result: dict[str, Any] = {"algo": run.algo, "label": algorithm.label, "like": algorithm.like}
        result |= {"env": run.env, "seed": run.seed}
        result |= {"steps": model.num_timesteps, "deployments": evaluations.last["round"], **figures}
        result["seconds"] = round(seconds, 3)
        meta |= {"wall_seconds": round(seconds, 3), "steps_per_second": round(model.num_timesteps / seconds, 1)}
        _close_folder(run, model, policy, meta, result)
    return result


def read_result(run: Run) -> dict[str, Any]:
    """Return the result of a finished run."""
    return read_json(run.folder / RESULT)


def _open_folder(run: Run) -> dict[str, Any]:
    """Make the folder ready for a new run and write down what is going to happen."""
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in (RESULT, *_FILES):  # the result first: from here on the folder is that of an unfinished run
        (run.folder / name).unlink(missing_ok=True)
    for log in run.folder.glob("events.out.tfevents.*"):
        log.unlink()
    remove_leftovers(run.folder)
    meta = {
        "started": provenance.now(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "git": provenance.git_state(),
    }
    write_text(run.folder / "config.yaml", dump_yaml(run.config))
    write_text(run.folder / "command.txt", run.command + "\n")
    write_json(run.folder / "meta.json", meta)
    return meta


def _close_folder(run: Run, model: BaseAlgorithm, policy: Policy, meta: dict[str, Any], result: dict[str, Any]) -> None:
    write_with(run.folder / "policy.npy", lambda path: np.save(path, policy))
    write_with(run.folder / "model.zip", model.save)
    write_json(run.folder / "meta.json", meta)
    write_json(run.folder / RESULT, result)


def _round_steps(settings: Settings) -> int | None:
    """Return the environment steps of a round, of all agents together; ``None`` where a rollout is a round."""
    return None if settings["round_length"] is None else settings["round_length"] * settings["n_envs"]


def _log_interval(model: BaseAlgorithm, settings: Settings) -> int:
    """Return the number of rollouts between two lines of ``progress.csv``."""
    rollout = settings["n_envs"] * int(getattr(model, "n_steps", 1))
    return max(1, int(settings["n_timesteps"] // rollout // _LOG_LINES))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: the networks are small, and sums come out in the same order on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
