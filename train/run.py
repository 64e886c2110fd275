"""One training run and its folder ``<out>/<algo>/<env>/seed_<k>/``.

A run is finished when ``result.json`` is there; it is written last. Until then the folder holds what has been saved so
far, and starting the run again replaces it. A finished run stays until its successor, which is made beside it, is
finished too.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents import DeployCallback, make_vec_env
from agents.common.deploying import rollout_steps
from perf_envs.registration import module_of, split_variant
from perf_envs.validation import check_count, check_number
from train import provenance, saved_runs
from train.evaluators import Evaluator, World, find_evaluator
from train.files import naming, read_text, remove_leftovers, write_bytes, write_json, write_text
from train.folders import RESULT, clear, run_folder, settle, workplace
from train.locks import claimed
from train.naming import world_name
from train.recording import EVALUATIONS, EvaluationCallback, LogCallback
from train.registry import SHIPPED, find_algorithm
from train.settings import MAPPING_KEYS, Settings, hyperparameters, resolve_settings
from train.yaml_files import dump_value, dump_yaml, parse_yaml, read_mapping

#: Lines in ``progress.csv``, about.
_LOG_LINES = 100
_MISSING = object()
#: What a result takes from the last evaluation.
_FINAL = ("performative_value", "performative_value_se", "stability_gap")


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
        origin: where algorithm and world come from, if they are not shipped.
    """

    algo: str
    env: str
    seed: int
    settings: Settings
    out: Path = Path("results")
    n_evals: int = 20
    best_value: float | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    tensorboard: bool = field(default=False, compare=False)
    progress: bool = field(default=False, compare=False)

    @property
    def world(self) -> str:
        """The id that the world, of which ``env`` may be a variant, is registered under."""
        return split_variant(self.env)[0]

    def evaluator(self) -> Evaluator:
        """Return what says what policies are worth in the world.

        Raises:
            ValueError: the world does not take its arguments, or cannot be deployed to.
        """
        return find_evaluator(World(self.world, self.settings["env_kwargs"]))

    @property
    def folder(self) -> Path:
        """Where the run keeps its files."""
        return run_folder(self.out, self.env, self.algo, self.seed)

    @property
    def config(self) -> dict[str, Any]:
        """Everything the outcome depends on."""
        best = {} if self.best_value is None else {"best_value": self.best_value}
        return {
            **{"algo": self.algo, "env": self.env, "seed": self.seed, "n_evals": self.n_evals},
            **best,
            **self.origin,
            **self.settings,
        }

    @property
    def command(self) -> str:
        """The command that repeats this run, whatever the shipped settings are by then."""
        env = f"{self.origin['env_module']}:{self.env}" if "env_module" in self.origin else self.env
        entry = self.origin.get("algo_entry", "")
        algo = entry if entry.endswith(f":{self.algo}") else self.algo  # or it would have another name there
        parts = ["python", "-m", "train", "run", "--algo", algo, "--env", env, "--seed", str(self.seed)]
        parts += ["-n", str(self.settings["n_timesteps"]), "--n-envs", str(self.settings["n_envs"])]
        parts += ["--n-evals", str(self.n_evals), "--out", str(self.out)]
        parts += [] if self.best_value is None else ["--best-value", repr(self.best_value)]
        rest = {key: value for key, value in self.settings.items() if key not in ("n_timesteps", "n_envs")}
        assignments = [f"{key}={dump_value(value)}" for key, value in rest.items() if value or key not in MAPPING_KEYS]
        return shlex.join([*parts, *(["--set", *assignments] if assignments else [])])

    def is_finished(self) -> bool:
        """Whether the folder holds the result of exactly this run; the order of the settings does not matter."""
        return self.has_result() and not self.differing()

    def has_result(self) -> bool:
        """Whether the folder holds the result of a run, of this one or of another."""
        return (self.folder / RESULT).is_file() and (self.folder / "config.yaml").is_file()

    def result_time(self) -> float | None:
        """Return when the result in the folder was written, in seconds since the epoch; ``None`` without one."""
        return (self.folder / RESULT).stat().st_mtime if self.has_result() else None

    def differing(self) -> list[str]:
        """Return the settings in which the run in the folder differs from this one, by name.

        Raises:
            ValueError: the folder's ``config.yaml`` cannot be read.
        """
        path, now = self.folder / "config.yaml", dump_yaml(self.config)
        if read_text(path) == now:
            return []
        before, mine = read_mapping(path), parse_yaml(now, "the settings")
        return [key for key in {**before, **mine} if before.get(key, _MISSING) != mine.get(key, _MISSING)]

    def check_replaceable(self) -> None:
        """Raise ``ValueError`` if the folder holds the result of a run with other settings."""
        if not (self.folder / RESULT).is_file():
            return
        differ = self.differing() if self.has_result() else ["config.yaml is missing"]
        if differ:
            raise ValueError(
                f"{self.folder} holds a finished run with other settings ({', '.join(differ)}): --overwrite replaces "
                "it, --out writes elsewhere"
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

    Args:
        algo: name of the algorithm, or ``module:Class``.
        env: id of the world or of one of its variants, or ``module:ID``.
        seed: seed of everything random in the run.
        config: a settings file on top of the shipped ones.
        overrides: settings on top of all files.
        options: further attributes of the run.

    Raises:
        ValueError: something in the arguments or in a settings file is not valid.
    """
    check_number("seed", check_count("seed", seed, at_least=0), at_most=2**32 - 1)  # numpy's generators take no more
    check_count("n_evals", options.get("n_evals", 20), at_least=2)
    if options.get("best_value") is not None:
        check_number("best_value", options["best_value"])
    algo, env = find_algorithm(algo).name, world_name(env)
    settings = resolve_settings(algo, env, config, overrides)
    return Run(algo, env, seed, settings, origin=origin(algo, env), **options)


def origin(algo: str, env: str) -> dict[str, str]:
    """Return where an algorithm and a world come from, as a run writes it down, if they are not shipped."""
    module, entry = module_of(split_variant(env)[0]), find_algorithm(algo).entry
    found = {} if module is None else {"env_module": module}
    return found if algo in SHIPPED or not isinstance(entry, str) else {**found, "algo_entry": entry}


def execute(run: Run, overwrite: bool = True) -> dict[str, Any]:
    """Train, evaluate, save, and return the result.

    Args:
        run: what to train.
        overwrite: whether to replace a finished run that had other settings.

    Raises:
        ValueError: the algorithm or the world rejects its settings, another process is at work in the folder of the
            run, or that holds a finished run that is not to be replaced.
    """
    with _one_thread(), contextlib.ExitStack() as stack:
        algorithm, settings = find_algorithm(run.algo), run.settings
        evaluator = run.evaluator()
        venv = make_vec_env(run.world, settings["n_envs"], run.seed, settings["env_kwargs"])
        stack.callback(venv.close)
        discount = {"gamma": evaluator.gamma} if "gamma" in algorithm.hyperparameters else {}
        arguments = discount | hyperparameters(algorithm, settings)
        model = algorithm.make(venv, run.seed, settings["policy"], **arguments)
        # Not before all settings have proved good: it removes what an unfinished run left.
        folder, meta = stack.enter_context(_open_folder(run, overwrite))
        model.set_logger(configure(str(folder), ["csv", *(["tensorboard"] if run.tensorboard else [])]))
        closing = stack.enter_context(contextlib.ExitStack())
        closing.callback(model.logger.close)
        deployments = DeployCallback(every_steps=_round_steps(settings))
        evaluations = EvaluationCallback(
            folder / EVALUATIONS, evaluator, settings["n_timesteps"], run.n_evals, deployments
        )
        log_interval, callbacks = _logging(model, settings)
        start = time.perf_counter()
        model.learn(
            settings["n_timesteps"],
            callback=[deployments, evaluations, *callbacks],
            log_interval=log_interval,
            progress_bar=run.progress,
        )
        seconds = time.perf_counter() - start
        policy = evaluator.read(model)
        result = {
            **_identity(run),
            "steps": model.num_timesteps,
            "deployments": evaluations.last["round"],
            **{key: evaluations.last[key] for key in _FINAL},
            **_played(evaluator, policy, run.seed),
            "uses_response_map": algorithm.uses_response_map or _has_asked(venv),
            "seconds": round(seconds, 3),
        }
        meta |= {"wall_seconds": round(seconds, 3), "steps_per_second": round(model.num_timesteps / seconds, 1)}
        closing.close()
        _save(folder, model, evaluator.array(policy), meta, result)
        settle(run.folder)
    return result


def _identity(run: Run) -> dict[str, Any]:
    algorithm = find_algorithm(run.algo)
    named = {"algo": run.algo, "label": algorithm.label, "variant_of": algorithm.variant_of}
    return {**named, "env": run.env, "seed": run.seed}


def _played(evaluator: Evaluator, policy: Any, seed: int) -> dict[str, Any]:
    """Return what a final policy earns when it is played, and what it is compared with."""
    compared = {"evaluation": evaluator.how, "gamma": evaluator.gamma, "uniform_value": evaluator.uniform_value()}
    return {**compared, **evaluator.returns(policy, seed).figures()}


def _has_asked(venv: VecEnv) -> bool:
    """Whether somebody has asked the worlds in training for their response map, or for what is in force.

    It counts as knowledge whatever a class says of itself.
    """
    return venv.has_attr("response_asked") and any(venv.get_attr("response_asked"))


def read_result(run: Run) -> dict[str, Any]:
    """Return the result of a finished run."""
    return saved_runs.read_result(run.folder / RESULT)


@contextlib.contextmanager
def _open_folder(run: Run, overwrite: bool) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Have the run's folder for oneself, and yield where the run is made and what is written down about it."""
    with claimed(run.folder):
        settle(run.folder)
        if not overwrite:
            run.check_replaceable()
        folder = workplace(run.folder)
        with naming(folder), _thrown_away(folder, unless=run.folder):
            folder.mkdir(parents=True, exist_ok=True)
            clear(folder)
            remove_leftovers(folder)
            meta = {
                "run": {"algo": run.algo, "env": run.env, "seed": run.seed},
                **provenance.gathered(),
            }
            write_text(folder / "config.yaml", dump_yaml(run.config))
            write_text(folder / "command.txt", run.command + "\n")
            write_json(folder / "meta.json", meta)
            yield folder, meta


@contextlib.contextmanager
def _thrown_away(folder: Path, unless: Path) -> Iterator[None]:
    """Leave nothing of a run that did not finish beside a finished one."""
    try:
        yield
    except BaseException:
        if folder != unless:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _save(
    folder: Path,
    model: BaseAlgorithm,
    policy: NDArray[np.float64] | None,
    meta: dict[str, Any],
    result: dict[str, Any],
) -> None:
    if policy is not None:
        table = io.BytesIO()
        np.save(table, policy)
        write_bytes(folder / "policy.npy", table.getvalue())
    parameters = io.BytesIO()
    model.save(parameters)
    write_bytes(folder / "model.zip", parameters.getvalue())
    write_json(folder / "meta.json", meta)
    write_json(folder / RESULT, result)


def _round_steps(settings: Settings) -> int | None:
    """Return the environment steps of a round, of all agents together; ``None`` where a rollout is a round."""
    return None if settings["round_length"] is None else settings["round_length"] * settings["n_envs"]


def _logging(model: BaseAlgorithm, settings: Settings) -> tuple[int, list[BaseCallback]]:
    """Return what makes a model write about ``_LOG_LINES`` lines: the argument of ``learn``, and callbacks."""
    every = max(1, int(settings["n_timesteps"] // rollout_steps(model) // _LOG_LINES))
    if isinstance(model, OffPolicyAlgorithm):  # for these the argument is a number of episodes
        return sys.maxsize, [LogCallback(every)]
    return every, []


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: the networks are small, and sums come out in the same order on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
