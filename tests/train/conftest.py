"""Synthetic results, so that tables, plots and report can be tested without training."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from perf_envs.pricing import PerformativePricing
from train.files import write_json, write_text
from train.plans import Plan
from train.yaml_files import dump_yaml

PRICING = "PerformativePricing-v0"
LABELS = {"pepg": "PePG", "ppo": "PPO", "a2c": "A2C"}

SaveBench = Callable[..., Path]


@pytest.fixture
def save_bench(tmp_path: Path) -> SaveBench:
    """Write a benchmark folder in which the algorithms have the given performative values, one per seed."""

    def save(values: dict[str, Sequence[float]], best_value: float | None = 12.0, failures: str = "") -> Path:
        seeds = range(max(len(of_seeds) for of_seeds in values.values()))
        plan = Plan.product(list(values), [PRICING], seeds, command="python -m train bench --synthetic")
        write_text(tmp_path / "bench.yaml", plan.dump())
        for algo, of_seeds in values.items():
            for seed, value in enumerate(of_seeds):
                _save_run(tmp_path / algo / PRICING / f"seed_{seed}", algo, seed, value, best_value)
        if failures:
            write_text(tmp_path / "failures.csv", failures)
        return tmp_path

    return save


def _save_run(folder: Path, algo: str, seed: int, value: float, best_value: float | None) -> None:
    folder.mkdir(parents=True)
    env = PerformativePricing()
    np.save(folder / "policy.npy", np.full((env.n_states, env.n_actions), 1.0 / env.n_actions))
    write_text(folder / "config.yaml", dump_yaml({"algo": algo, "env": PRICING, "seed": seed, "env_kwargs": {}}))
    write_json(folder / "meta.json", {"started": "2025-01-01T00:00:00+00:00", "git": None})
    rows = "".join(f"{steps},{steps},{value * steps / 100},1.0,1.0,0.1\n" for steps in (0, 50, 100))
    header = "timesteps,round,performative_value,stability_gap,optimality_gap,wall_time\n"
    write_text(folder / "evaluations.csv", header + rows)
    result = {
        "algo": algo,
        "label": LABELS[algo],
        "env": PRICING,
        "seed": seed,
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
        "seconds": 1.0,
    }
    write_json(folder / "result.json", result)
