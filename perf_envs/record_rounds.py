"""Writing down what happens in a world, whoever steps it: the environment logs, as in bsuite."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper

from perf_envs.problem import Problem
from perf_envs.registration import canonical_name, module_of, split_variant
from perf_envs.validation import check_count

_COLUMNS = ("timesteps", "round", "performative_value", "performative_value_se", "stability_gap", "wall_time")
_PACKAGES = ("gymnasium", "numpy", "performative-rl", "scipy", "torch")


class RecordRounds(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Writes the run folder of any program that steps a world, so that ``python -m train plot`` shows it.

    At the start of every ``every``-th round, and when it is closed, the policy in force (deployed, or in observed mode
    estimated from the actions) is valued exactly and written to ``evaluations.csv``. Closing writes ``result.json``,
    which makes the run one that counts; what a killed program leaves is complete up to its last round.

    Args:
        env: a world with a known problem.
        folder: the results folder; the run is ``folder/NAME/ENV/seed_K``.
        name: what the agent is called, in folders and tables.
        seed: ``K``, the number of the run.
        label: what the agent is called in tables, its name by default.
        uses_response_map: whether the agent knows how the world responds.
        every: rounds between two evaluations.

    Raises:
        ValueError: the world has no problem that knows what policies are worth, or the folder holds a finished run.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        folder: str | Path,
        name: str,
        seed: int = 0,
        label: str | None = None,
        uses_response_map: bool = False,
        every: int = 1,
    ) -> None:
        RecordConstructorArgs.__init__(
            self,
            folder=str(folder),
            name=name,
            seed=seed,
            label=label,
            uses_response_map=uses_response_map,
            every=every,
        )
        gym.Wrapper.__init__(self, env)
        self._record = _Record(env.unwrapped, env.spec, folder, name, seed, label, uses_response_map, every)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Make a step."""
        outcome = self.env.step(action)
        self._record.stepped(1)
        return outcome

    def close(self) -> None:
        """Close the world and finish the run."""
        self._record.finish()
        super().close()


class RecordRoundsVector(VectorWrapper[Any, Any, Any, Any, Any]):
    """:class:`RecordRounds` for native vector environments; arguments are the same."""

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        folder: str | Path,
        name: str,
        seed: int = 0,
        label: str | None = None,
        uses_response_map: bool = False,
        every: int = 1,
    ) -> None:
        super().__init__(env)
        world = getattr(env.unwrapped, "single", None)
        self._record = _Record(world, env.unwrapped.spec, folder, name, seed, label, uses_response_map, every)

    def __getattr__(self, name: str) -> Any:
        """Fall back to the wrapped environment for the performative interface: ``deploy``, ``round``..."""
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Make a step in every sub-environment."""
        outcome = self.env.step(actions)
        self._record.stepped(self.num_envs)
        return outcome

    def close(self, **kwargs: Any) -> None:
        """Close the worlds and finish the run."""
        self._record.finish()
        super().close(**kwargs)


class _Record:
    """The folder of a run, and what has been written to it."""

    def __init__(
        self,
        world: Any,
        spec: Any,
        folder: str | Path,
        name: str,
        seed: int,
        label: str | None,
        uses_response_map: bool,
        every: int,
    ) -> None:
        rounds: Any = getattr(world, "rounds", None)
        problem = getattr(rounds, "problem", None)
        if not isinstance(problem, Problem) or spec is None:
            raise ValueError(f"env must be a registered world whose problem is known, got {world}")
        self._rounds, self._problem, self._every = rounds, problem, check_count("every", every)
        base, variant = split_variant(canonical_name(spec.id))
        self._env = canonical_name(spec.id)
        self._identity = {"algo": name, "env": self._env, "seed": check_count("seed", seed, at_least=0)}
        self._label, self._uses_response_map = name if label is None else label, bool(uses_response_map)
        self._folder = Path(folder) / name / self._env.replace("/", "__") / f"seed_{seed}"
        if (self._folder / "result.json").exists():
            raise ValueError(f"folder holds a finished run of this name and seed already: {self._folder}")
        self._begin({**variant, **_arguments(spec, variant)}, module_of(base))
        self._n_steps, self._round = 0, rounds.round
        self._rows: list[dict[str, Any]] = []
        self._start = time.perf_counter()
        self._evaluate()

    def _begin(self, env_kwargs: dict[str, Any], module: str | None) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        of_others = {} if module is None else {"env_module": module}
        # JSON is YAML.
        config = {**self._identity, **of_others, "env_kwargs": env_kwargs, "n_timesteps": 0}
        self._write("config.yaml", json.dumps(config, indent=2, default=str) + "\n")
        machine = {"platform": platform.platform(), "cores": os.cpu_count()}
        meta = {"run": self._identity, "started": datetime.now(UTC).isoformat(timespec="seconds")}
        self._write("meta.json", json.dumps({**meta, "versions": _versions(), "machine": machine, "git": None}) + "\n")

    def stepped(self, n_steps: int) -> None:
        """Take note of steps; evaluate where a round has begun."""
        self._n_steps += n_steps
        now = self._rounds.round
        if now == self._round:
            return
        self._round = now
        if now % self._every == 0:
            self._evaluate()

    def finish(self) -> None:
        """Evaluate what is in force now, and write the result."""
        if not self._n_steps or (self._folder / "result.json").exists():
            return
        if self._rows[-1]["timesteps"] != self._n_steps:
            self._evaluate()
        table = io.BytesIO()
        np.save(table, self._rounds.policy.array)
        (self._folder / "policy.npy").write_bytes(table.getvalue())
        last = {key: self._rows[-1][key] for key in ("performative_value", "performative_value_se", "stability_gap")}
        result = {
            **self._identity,
            **{"label": self._label, "variant_of": None, "uses_response_map": self._uses_response_map},
            **{"steps": self._n_steps, "deployments": self._rounds.round, "evaluation": "exact"},
            **{"gamma": self._problem.gamma, **last},
            "uniform_value": self._problem.value(self._problem.policies.uniform()),
            "seconds": round(time.perf_counter() - self._start, 3),
        }
        self._write("result.json", json.dumps(result, indent=2) + "\n")

    def _evaluate(self) -> None:
        policy = self._rounds.policy
        figures = {
            "performative_value": self._problem.value(policy),
            "performative_value_se": None,
            "stability_gap": self._problem.stability_gap(policy),
        }
        seconds = round(time.perf_counter() - self._start, 3)
        self._rows.append({"timesteps": self._n_steps, "round": self._rounds.round, **figures, "wall_time": seconds})
        self._write("evaluations.csv", evaluations_text(self._rows))

    def _write(self, name: str, text: str) -> None:
        """Write a file in one piece: who reads it finds the old one or the new one."""
        path = self._folder / name
        partial = path.with_name(f".{name}.{os.getpid()}.part")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def evaluations_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the evaluations of a run as CSV; each has a value by name of the column, see the first line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _arguments(spec: Any, variant: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a world was made with, without those that say how it is deployed to and drawn."""
    ours = {"deployment", "round_length", "render_mode", "num_envs", "vectorization_mode", "autoreset_mode"}
    return {key: value for key, value in spec.kwargs.items() if key not in ours and key not in variant}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found
