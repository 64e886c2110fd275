"""Synthetic results, so that tables, plots and report can be tested without training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perf_envs.worlds.pricing.env import PerformativePricing
from train import verification
from train.files import write_json, write_text
from train.plans import Plan
from train.saved_runs import SavedRun
from train.yaml_files import dump_yaml

PRICING = "PerformativePricing-v0"
LABELS = {"pepg": "PePG", "ppo": "PPO", "a2c": "A2C", "rr": "RR", "pepg-blind": "PePG without response"}
LIKE = {"pepg-blind": "pepg"}

#: Lies in the folder of a synthetic run.
SYNTHETIC = ".synthetic"

Values = Mapping[str, Sequence[float]]
SaveBench = Callable[..., Path]


@pytest.fixture(autouse=True)
def worth_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the policies of synthetic runs, which stand for any, be worth what their results say; no others."""
    figures = verification.figures

    def said(run: SavedRun, problem: verification.Problem) -> verification.Figures:
        if not (run.folder / SYNTHETIC).exists():
            return figures(run, problem)
        return {"performative_value": run.result["performative_value"]}

    monkeypatch.setattr(verification, "figures", said)


@pytest.fixture
def save_bench(tmp_path: Path) -> SaveBench:
    """Write a benchmark folder in which the algorithms have the given performative values, one per seed."""

    def save(values: Values, best_value: float | None = 12.0, failures: str = "") -> Path:
        return write_bench(tmp_path, {PRICING: values}, {PRICING: best_value}, failures)

    return save


@pytest.fixture
def save_worlds(tmp_path: Path) -> SaveBench:
    """Write a benchmark folder with several worlds: performative values by world and algorithm, best known by world."""

    def save(values: Mapping[str, Values], best_values: Mapping[str, float | None] | None = None) -> Path:
        return write_bench(tmp_path, values, best_values or {})

    return save


def write_bench(
    folder: Path, values: Mapping[str, Values], best_values: Mapping[str, float | None], failures: str = ""
) -> Path:
    algos = list(dict.fromkeys(algo for of_world in values.values() for algo in of_world))
    seeds = range(max(len(of_seeds) for of_world in values.values() for of_seeds in of_world.values()))
    plan = Plan.product(algos, list(values), seeds, command="python -m train bench --synthetic")
    write_text(folder / "bench.yaml", plan.dump())
    for env, of_world in values.items():
        for algo, of_seeds in of_world.items():
            for seed, value in enumerate(of_seeds):
                key = {"algo": algo, "env": env, "seed": seed}
                save_run(folder / algo / env / f"seed_{seed}", key, value, best_values.get(env, 12.0))
    if failures:
        write_text(folder / "failures.csv", failures)
    return folder


def save_run(
    folder: Path, key: dict[str, Any], value: float, best_value: float | None, policy: np.ndarray | None = None
) -> None:
    folder.mkdir(parents=True)
    (folder / SYNTHETIC).touch()
    algo, seed = key["algo"], key["seed"]
    np.save(folder / "policy.npy", pricing_policy() if policy is None else policy)
    write_text(folder / "config.yaml", dump_yaml({**key, "env_kwargs": {}}))
    write_json(folder / "meta.json", {"started": "2025-01-01T00:00:00+00:00", "git": None})
    rows = "".join(f"{steps},{steps // 10},{value * (steps / 100)!r},{1.0 + seed},1.0,0.1\n" for steps in (0, 50, 100))
    header = "timesteps,round,performative_value,stability_gap,optimality_gap,wall_time\n"
    write_text(folder / "evaluations.csv", header + rows)
    rows = "".join(f"{k},{0.5 / k},{0.1 / k},{k}\n" for k in (1, 5, 10))
    write_text(folder / "progress.csv", "perf/round,perf/shift,perf/reward_shift,loss\n" + rows)
    result = {
        **key,
        "label": LABELS.get(algo, algo),
        "like": LIKE.get(algo),
        "steps": 100,
        "deployments": 10,
        "performative_value": value,
        "stability_gap": 1.0 + seed,
        "optimality_gap": None if best_value is None else best_value - value,
        "best_value": best_value,
        "uniform_value": 6.0,
        "n_episodes": 1000,
        "rollout_return_mean": value,
        "rollout_return_se": 0.1,
        "discounted_return_mean": value,
        "discounted_return_se": 0.1,
        "discounted_return_rest": 0.0,
        "played_deployments": 1,
        "max_episode_steps": None,
        "seconds": 1.0,
    }
    write_json(folder / "result.json", result)


def pricing_policy() -> np.ndarray:
    env = PerformativePricing()
    return np.full((env.n_states, env.n_actions), 1.0 / env.n_actions)
