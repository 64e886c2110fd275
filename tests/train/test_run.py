import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from stable_baselines3 import A2C, PPO

from agents import PePG
from perf_envs import exact
from perf_envs.worlds.pricing.env import PerformativePricing
from tests.precision import SINGLE
from tests.train.short_runs import TINY, tiny_settings
from train.cli import main
from train.commands import describe
from train.fitting import applies
from train.folders import beside, settle
from train.registry import ALGORITHMS
from train.run import Run, execute, plan_run
from train.yaml_files import read_mapping

PRICING = "PerformativePricing-v0"
FILES = ["command.txt", "config.yaml", "evaluations.csv", "meta.json", "model.zip", "policy.npy", "progress.csv"]


def tiny(out: Path, algo: str = "pepg", seed: int = 0, **overrides: Any) -> Run:
    settings = {**tiny_settings(algo), **overrides}
    return plan_run(algo, PRICING, seed, overrides=settings, out=out, n_evals=3)


def without_time(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).drop(columns="wall_time")


@pytest.mark.parametrize("algo", [name for name in ALGORITHMS if applies(name, PRICING)])
def test_a_run_leaves_everything_in_its_folder(tmp_path: Path, algo: str) -> None:
    run = tiny(tmp_path, algo)
    assert not run.is_finished()
    result = execute(run)
    assert run.is_finished()
    folder = tmp_path / algo / PRICING / "seed_0"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "result.json"])
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["steps"] == 64
    assert result["deployments"] == 2
    assert result["n_episodes"] >= 1000
    meta = json.loads((folder / "meta.json").read_text())
    assert {"python", "numpy", "torch", "gymnasium", "stable-baselines3", "performative-rl"} <= set(meta["versions"])
    assert meta["steps_per_second"] > 0
    assert {"started", "wall_seconds", "machine", "git"} <= set(meta)
    assert read_mapping(folder / "config.yaml") == run.config


@pytest.mark.parametrize(("algo", "build"), [("pepg", PePG), ("ppo", PPO), ("a2c", A2C)])
def test_figures_are_those_of_the_saved_policy_and_of_the_saved_model(tmp_path: Path, algo: str, build: Any) -> None:
    run = tiny(tmp_path, algo)
    result = execute(run)
    table = np.load(run.folder / "policy.npy")
    problem = PerformativePricing().problem
    with torch.no_grad():
        assert float(exact.performative_value(problem, table)) == result["performative_value"]
    assert exact.stability_gap(problem, table) == result["stability_gap"]
    model = build.load(run.folder / "model.zip")
    observations, _ = model.policy.obs_to_tensor(np.arange(problem.n_states))
    with torch.no_grad():
        np.testing.assert_allclose(model.policy.get_distribution(observations).distribution.probs, table, atol=SINGLE)
    assert model.gamma == problem.gamma


def test_evaluations_begin_before_and_end_after_training(tmp_path: Path) -> None:
    run = plan_run("ppo", PRICING, 0, overrides={**TINY, "n_timesteps": 320}, out=tmp_path, n_evals=5)
    result = execute(run)
    rows = pd.read_csv(run.folder / "evaluations.csv", float_precision="round_trip")
    assert rows["timesteps"].tolist() == [0, 96, 160, 256, 320]  # rollouts end at multiples of 32
    assert rows["round"].tolist() == [1, 4, 6, 9, 10]
    assert rows["performative_value"].iloc[-1] == result["performative_value"]
    assert rows["performative_value"].iloc[0] == pytest.approx(result["uniform_value"], abs=0.1)


@pytest.mark.parametrize("algo", [name for name in ALGORITHMS if applies(name, PRICING)])
def test_the_same_seed_gives_the_same_numbers(tmp_path: Path, algo: str) -> None:
    first, again, other = tiny(tmp_path / "1", algo), tiny(tmp_path / "2", algo), tiny(tmp_path / "3", algo, seed=1)
    results = [{**execute(run), "seconds": 0, "seed": 0} for run in (first, again, other)]
    assert results[0] == results[1] != results[2]
    evaluations = [without_time(run.folder / "evaluations.csv") for run in (first, again, other)]
    pd.testing.assert_frame_equal(evaluations[0], evaluations[1], check_exact=True)
    assert not evaluations[0].equals(evaluations[2])


def test_the_command_in_the_folder_repeats_the_run(tmp_path: Path) -> None:
    run = tiny(
        tmp_path / "first",
        env_kwargs={
            "shift": 1.5,
            "response_wrapper": {"name": "quantised", "levels": 8, "surrogate": "straight-through"},
        },
        policy_kwargs={"net_arch": [8]},
        learning_rate={"points": [[0.0, 1e-2], [1.0, 0.0]]},
    )
    execute(run)
    command = shlex.split((run.folder / "command.txt").read_text())
    assert command[:4] == ["python", "-m", "train", "run"]
    command[command.index("--out") + 1] = str(tmp_path / "again")
    assert main(command[3:]) == 0
    again = tmp_path / "again" / run.folder.relative_to(tmp_path / "first")
    assert (again / "config.yaml").read_bytes() == (run.folder / "config.yaml").read_bytes()
    pd.testing.assert_frame_equal(
        without_time(again / "evaluations.csv"), without_time(run.folder / "evaluations.csv"), check_exact=True
    )


def test_settings_in_another_order_are_the_same_run(tmp_path: Path) -> None:
    execute(tiny(tmp_path, env_kwargs={"shift": 1.5, "horizon": 4}))
    again = tiny(tmp_path, env_kwargs={"horizon": 4, "shift": 1.5})
    again.check_replaceable()
    assert again.is_finished()
    assert not tiny(tmp_path, env_kwargs={"horizon": 5, "shift": 1.5}).is_finished()


def test_a_run_with_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    execute(tiny(tmp_path))
    assert tiny(tmp_path).is_finished()
    assert not tiny(tmp_path, learning_rate=0.5).is_finished()


def interrupt(self: Any) -> None:
    raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_run_has_no_result_and_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(PePG, "train", interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(run)
    assert not run.is_finished()
    assert not (run.folder / "result.json").exists()
    assert len(pd.read_csv(run.folder / "evaluations.csv")) == 1
    execute(run)
    assert run.is_finished()


@pytest.mark.parametrize("rate", [6e-3, 0.5])
def test_a_finished_run_is_kept_until_what_replaces_it_is_finished(
    rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = tiny(tmp_path), tiny(tmp_path, learning_rate=rate)
    execute(run)
    (run.folder / "notes.txt").write_text("mine")
    before = contents(run.folder)
    with monkeypatch.context() as patched:
        patched.setattr(PePG, "train", interrupt)
        with pytest.raises(KeyboardInterrupt):
            execute(other)
    assert contents(run.folder) == before
    assert not beside(run.folder).exists()
    result = execute(other)
    assert json.loads((run.folder / "result.json").read_text()) == result
    assert read_mapping(run.folder / "config.yaml") == other.config
    assert sorted(contents(run.folder)) == sorted([*FILES, "result.json", "notes.txt"])


@pytest.mark.parametrize("n_moved", range(len(FILES) + 1))
def test_who_is_killed_while_replacing_a_run_loses_neither(
    n_moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = tiny(tmp_path / "a"), tiny(tmp_path / "b", learning_rate=0.5)
    execute(run)
    execute(other)
    expected = contents(other.folder)
    shutil.copytree(other.folder, beside(run.folder))
    moved, replace = [], os.replace

    def die(old: Path, new: Path) -> None:
        if len(moved) == n_moved:
            raise KeyboardInterrupt
        moved.append(new)
        replace(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            settle(run.folder)
    assert not (run.folder / "result.json").exists(), "what is half replaced is not finished"
    settle(run.folder)
    assert contents(run.folder) == expected
    assert not beside(run.folder).exists()


def test_who_works_in_a_folder_is_named_to_the_next_and_blocks_nobody_when_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "--algo", "pepg", "--env", PRICING, "--out", str(tmp_path)]
    holder = subprocess.Popen([sys.executable, "-m", "train", *run, "-n", "100000000"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("evaluations.csv")) and time.monotonic() < deadline:
            time.sleep(0.1)
        config = tmp_path / "pepg" / PRICING / "seed_0" / "config.yaml"
        before = config.read_bytes()
        assert main([*run, "-n", "64", "--set", "learning_rate=0.5", "--overwrite"]) == 2
        shown = capsys.readouterr().err
        assert f"in use by process {holder.pid} on" in shown
        assert "-m train run --algo pepg" in shown
        assert "--out" in shown
        assert config.read_bytes() == before
    finally:
        holder.kill()
        holder.wait()
    assert main([*run, "-n", "64", "--n-envs", "4"]) == 0
    assert read_mapping(config)["n_timesteps"] == 64


def test_optimality_gap_is_measured_from_the_value_given(tmp_path: Path) -> None:
    run = plan_run("pepg", PRICING, 0, overrides=TINY, out=tmp_path, best_value=20.0)
    said = describe(execute(run), run.best_value)
    value = json.loads((run.folder / "result.json").read_text())["performative_value"]
    assert f"optimality gap        {20.0 - value:.4f}" in said
    assert "--best-value 20.0" in run.command
    assert read_mapping(run.folder / "config.yaml")["best_value"] == 20.0


def test_tensorboard_log_lies_in_the_folder(tmp_path: Path) -> None:
    run = plan_run("pepg", PRICING, 0, overrides=TINY, out=tmp_path, tensorboard=True)
    execute(run)
    execute(run)
    assert len(list(run.folder.glob("events.out.tfevents.*"))) == 1


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_the_log_has_about_a_hundred_lines_whatever_is_counted(tmp_path: Path, algo: str) -> None:
    idle = {"learning_starts": 10**6} if algo == "dqn" else {"n_epochs": 1}
    run = tiny(tmp_path, algo, n_timesteps=32 * 300, **idle)
    execute(run)
    log = pd.read_csv(run.folder / "progress.csv")
    assert len(log) == 100
    assert log["perf/round"].is_monotonic_increasing
    assert log["perf/round"].notna().all()


def test_what_the_algorithm_rejects_is_a_value_error(tmp_path: Path) -> None:
    execute(tiny(tmp_path, "ppo"))
    with pytest.raises(ValueError, match="ppo does not accept"):
        execute(tiny(tmp_path, "ppo", batch_size=1))
    with pytest.raises(ValueError, match="shift must be"):
        execute(tiny(tmp_path, "ppo", env_kwargs={"shift": -1.0}))
    assert tiny(tmp_path, "ppo").is_finished(), "a rejected run must leave the earlier one alone"
