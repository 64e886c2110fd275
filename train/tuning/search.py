"""One search: an algorithm in a world, its trials one after the other, proposed by Optuna's TPE.

A search that was killed is continued by asking again for all of its trials: the sampler has a fixed seed and makes the
same proposals for the same answers, and those that are on file are not trained again.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.files import remove_leftovers, write_text
from train.folders import world_folder
from train.locks import at_work_in
from train.run import Run, execute, origin
from train.settings import Settings
from train.tuning.spaces import Choices, Range, Space
from train.tuning.trials import TRIALS, Trial, read_search, write_trials
from train.yaml_files import dump_yaml, read_mapping

if TYPE_CHECKING:
    import optuna

Train = Callable[[Run], Mapping[str, Any]]

SAMPLER_SEED = 0
#: Trials before TPE has anything to say, those that are given among them; the others are drawn at random. A constant:
#: a search with more trials begins like one with fewer, and continues it.
STARTUP_TRIALS = 4
_PLAN = "search.yaml"


@dataclass(frozen=True)
class Search:
    """What to search, in full.

    Attributes:
        algo: name of the algorithm.
        env: id of the world.
        settings: the shipped setting, see :mod:`train.settings`.
        space: what is varied.
        firsts: what is tried first, the shipped setting before all.
        seeds: of the runs of every trial.
        n_trials: how many settings are tried.
        out: folder of all searches.
    """

    algo: str
    env: str
    settings: Settings
    space: Space
    firsts: tuple[Settings, ...]
    seeds: tuple[int, ...]
    n_trials: int
    out: Path

    @property
    def folder(self) -> Path:
        """Where the search keeps its files."""
        return self.out / self.algo / world_folder(self.env)

    @property
    def plan(self) -> dict[str, Any]:
        """Everything the outcome of a trial depends on."""
        space = {key: asdict(entry) for key, entry in self.space.items()}
        plan = {"algo": self.algo, "env": self.env, "seeds": self.seeds, "settings": self.settings, "space": space}
        plan["firsts"] = self.firsts
        as_json: dict[str, Any] = json.loads(json.dumps(plan))  # tuples to lists
        return as_json

    def run(self, seed: int, params: Mapping[str, Any]) -> Run:
        """Return the run of a trial with one of the seeds; its folder is temporary."""
        settings = {**self.settings, **params}
        whence = origin(self.algo, self.env)
        return Run(self.algo, self.env, seed, settings, out=self.folder / "runs", n_evals=2, origin=whence)

    def check_continuable(self) -> None:
        """Raise ``ValueError`` if the folder holds another search, or more trials than were asked for."""
        saved = read_search(self.folder)
        if not saved:
            return
        path = self.folder / _PLAN
        before = read_mapping(path) if path.is_file() else {}
        differ = [key for key, value in self.plan.items() if before.get(key) != value]
        if differ:
            raise ValueError(f"{self.folder} holds a search with other {', '.join(differ)}: --out writes elsewhere")
        if len(saved) > self.n_trials:
            raise ValueError(
                f"trials must be >= {len(saved)}, which {self.folder} holds already, or --out another folder, "
                f"got {self.n_trials}"
            )


def search(planned: Search, train: Train = execute) -> list[Trial]:
    """Make the trials of a search that are not on file, and return all of them.

    Args:
        planned: what to search.
        train: what makes a run and returns its result.

    Raises:
        ValueError: the trials on file are not those that the sampler proposes.
    """
    # As in the benchmark: another sweep, or a worker of a killed one, may be at work in the same folder.
    with at_work_in(planned.folder):
        remove_leftovers(planned.folder)
        planned.check_continuable()  # again: it may have been another search's
        saved = read_search(planned.folder)
        write_text(planned.folder / _PLAN, dump_yaml(planned.plan))
        proposals, trials = _Proposals(planned), list[Trial]()
        for number in range(planned.n_trials):
            params = proposals.ask()
            if number < len(saved):
                trial = saved[number]
                if trial.params != params:
                    raise ValueError(
                        f"trial {number} in {planned.folder} is not the one that this version of Optuna proposes: "
                        "--out writes elsewhere"
                    )
            else:
                trial = _repeated(number, params, trials) or _try(planned, number, params, train)
                write_trials(planned.folder / TRIALS, [*trials, trial])
            proposals.tell(trial.mean)
            trials.append(trial)
    return trials


class _Proposals:
    """Optuna, asked for one setting after the other; the first ones are given."""

    def __init__(self, planned: Search) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=SAMPLER_SEED)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space = planned.space
        self._distributions = {key: _distribution(entry) for key, entry in planned.space.items()}
        for first in planned.firsts:
            self._study.enqueue_trial(
                {key: _label(v) if isinstance(planned.space[key], Choices) else v for key, v in first.items()}
            )

    def ask(self) -> dict[str, Any]:
        """Return the next setting."""
        self._asked = self._study.ask(self._distributions)
        drawn = self._asked.params
        return {
            key: next(v for v in entry.values if _label(v) == drawn[key]) if isinstance(entry, Choices) else drawn[key]
            for key, entry in self._space.items()
        }

    def tell(self, value: float) -> None:
        """Say what the last setting was worth."""
        self._study.tell(self._asked, value)


def _distribution(entry: Range | Choices) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(entry, Choices):
        return CategoricalDistribution([_label(value) for value in entry.values])
    if isinstance(entry.low, int) and isinstance(entry.high, int):
        return IntDistribution(entry.low, entry.high, log=entry.log)
    return FloatDistribution(entry.low, entry.high, log=entry.log)


def _label(value: Any) -> str:
    """Return the name of a choice: Optuna's are plain values, ours may be schedules."""
    return json.dumps(value)


def _repeated(number: int, params: dict[str, Any], trials: list[Trial]) -> Trial | None:
    """Return an earlier trial of the same setting under a new number: its runs would end the same."""
    same = next((trial for trial in trials if trial.params == params and not trial.error), None)
    return None if same is None else replace(same, trial=number, seconds=0.0)


def _try(planned: Search, number: int, params: dict[str, Any], train: Train) -> Trial:
    """Train a setting with every seed; whatever goes wrong is part of the outcome."""
    values: dict[int, float | None] = {}
    start, error = time.perf_counter(), ""
    for seed in planned.seeds:
        run = planned.run(seed, params)
        try:
            value = float(train(run)["performative_value"])
            if not math.isfinite(value):
                raise ValueError(f"the performative value is {value}")
            values[seed] = value
        except Exception as failure:
            values[seed], error = None, " ".join(f"{type(failure).__name__}: {failure}".split())
        finally:
            shutil.rmtree(run.out, ignore_errors=True)
    seconds = round(time.perf_counter() - start, 3)
    steps = planned.settings["n_timesteps"]
    return Trial(planned.algo, planned.env, number, steps, params, values, seconds, error)
