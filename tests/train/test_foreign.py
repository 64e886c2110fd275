"""Policies that were trained elsewhere."""

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from sb3_contrib import QRDQN, TQC
from stable_baselines3 import DQN, PPO, SAC, TD3

import train
from agents import NPG, PePG, make_vec_env
from agents.common.reading import read_policy
from tests.train import strangers
from train.bench import plan_runs, run_bench
from train.cli import main
from train.foreign import Evaluation, ForeignPolicy, read_foreign
from train.plans import Plan
from train.yaml_files import read_mapping

PRICING, LINEAR, SOFTMAX = "PerformativePricing-v0", "LinearPricing-v0", "SoftmaxPeMDP-v0"
HERE = strangers.__name__


def problem_of(world: str, **kwargs: Any) -> Any:
    return gym.make(world, **kwargs).unwrapped.problem  # type: ignore[attr-defined]


def saved_table(folder: Path) -> tuple[Path, np.ndarray]:
    problem = problem_of(PRICING)
    table = np.random.default_rng(0).dirichlet(np.ones(problem.n_actions), problem.n_states)
    np.save(folder / "table.npy", table)
    return folder / "table.npy", table


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "policy", "world", "settings"),
    [
        (PPO, "MlpPolicy", PRICING, {"policy_kwargs": {"net_arch": [8]}}),
        (PPO, "MlpPolicy", LINEAR, {}),
        (PPO, "MlpPolicy", LINEAR, {"use_sde": True}),
        (PePG, "MlpPolicy", PRICING, {}),
        (PePG, "SoftmaxPolicy", PRICING, {}),
        (NPG, "MlpPolicy", SOFTMAX, {}),
        (DQN, "MlpPolicy", PRICING, {}),
        (QRDQN, "MlpPolicy", PRICING, {"policy_kwargs": {"n_quantiles": 7}}),
        (SAC, "MlpPolicy", LINEAR, {}),
        (SAC, "MlpPolicy", LINEAR, {"use_sde": True}),
        (TQC, "MlpPolicy", LINEAR, {}),
        (TD3, "MlpPolicy", LINEAR, {}),
    ],
)
def test_a_saved_model_is_worth_what_its_policy_is(
    build: Any, policy: str, world: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    venv = make_vec_env(world, 2)
    model = build(policy, venv, seed=3, device="cpu", **settings)
    model.save(tmp_path / "mine.zip")
    problem, expected = problem_of(world), read_policy(model, venv)
    found = train.evaluate(str(tmp_path / "mine.zip"), world)
    assert found["performative_value"] == pytest.approx(problem.value(expected), rel=1e-6)
    assert found["stability_gap"] == pytest.approx(problem.stability_gap(expected), rel=1e-4)
    assert found["optimality_gap"] == problem.best_known().value - found["performative_value"]
    assert found["label"] == "mine"
    assert found == train.evaluate(tmp_path / "mine.zip", world)


def test_a_table_is_worth_what_it_is_in_every_form(tmp_path: Path) -> None:
    path, table = saved_table(tmp_path)
    problem = problem_of(PRICING)
    for policy in (path, str(path), table, lambda observation: table[observation], problem.policies.read(table)):
        found = train.evaluate(policy, PRICING)
        assert found["performative_value"] == problem.value(table)
        uniform, best = problem.value(problem.policies.uniform()), problem.best_known().value
        assert found["normalised_score"] == (found["performative_value"] - uniform) / (best - uniform)
        assert abs(found["discounted_return_mean"] - found["performative_value"]) < 5 * found["discounted_return_se"]


def test_a_function_is_found_by_its_module() -> None:
    problem = problem_of(PRICING)
    first = np.tile(np.eye(8)[0], (problem.n_states, 1))
    found = train.evaluate(f"{HERE}:always_first", PRICING)
    assert (found["label"], found["performative_value"]) == ("always_first", problem.value(first))
    assert train.evaluate(strangers.always_first, PRICING) == found


def test_variants_are_other_worlds(tmp_path: Path) -> None:
    path, table = saved_table(tmp_path)
    for env in (f"{PRICING}@strong", "PerformativePricing-strong-v0", f"perf_envs:{PRICING}@strong"):
        found = train.evaluate(path, env)
        assert found["env"] == f"{PRICING}@strong"
        assert found["performative_value"] == problem_of("PerformativePricing-strong-v0").value(table)


@pytest.mark.parametrize("form", ["table", "function", "model"])
def test_in_a_world_of_which_nothing_is_known_a_policy_is_played(form: str, tmp_path: Path) -> None:
    path, table = saved_table(tmp_path)
    policy: Any = {"table": path, "function": lambda observation: table[observation]}.get(form)
    if form == "model":
        model = PPO("MlpPolicy", make_vec_env(PRICING, 2), seed=0, device="cpu")
        model.save(tmp_path / "model.zip")
        policy, table = tmp_path / "model.zip", read_policy(model, make_vec_env(PRICING, 2)).array
    found = train.evaluate(policy, f"{HERE}:HiddenPricing-v0")
    assert (found["evaluation"], found["stability_gap"], found["optimality_gap"]) == ("played", None, None)
    truth = problem_of(PRICING).value(table)
    assert abs(found["performative_value"] - truth) < 4.5 * found["performative_value_se"]


def broken(folder: Path, name: str) -> str:
    (folder / name).write_bytes(b"nothing of the kind")
    return str(folder / name)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.full((3, 8), 0.125))
    np.save(tmp_path / "negative.npy", np.full((problem_of(PRICING).n_states, 8), -0.125))
    PPO("MlpPolicy", make_vec_env(LINEAR, 2), device="cpu").save(tmp_path / "other.zip")
    shutil.make_archive(str(tmp_path / "empty"), "zip", tmp_path, "wrong.npy")
    for policy, said in (
        ("policy", r"policy must be a file\.zip, a file\.npy or module:function, got 'policy'"),
        (str(tmp_path / "nowhere.zip"), "nowhere.zip is no model of Stable-Baselines3 that can be read: "),
        (str(tmp_path / "nowhere.npy"), "cannot read .*nowhere.npy"),
        (broken(tmp_path, "broken.zip"), "broken.zip is no model of Stable-Baselines3 that can be read: "),
        (broken(tmp_path, "broken.npy"), "cannot read .*broken.npy"),
        (str(tmp_path / "empty.zip"), "empty.zip is no model of Stable-Baselines3"),
        (str(tmp_path / "wrong.npy"), "policy must have shape"),
        (str(tmp_path / "negative.npy"), "policy"),
        (str(tmp_path / "other.zip"), "policy must be an array"),
        ("no_such:policy", "policy must name a module that can be imported, got 'no_such:policy'"),
        (f"{HERE}:always_frist", f"{HERE} has no 'always_frist'.*did you mean 'always_first'"),
        (3, "policy"),
    ):
        with pytest.raises(ValueError, match=said):
            train.evaluate(policy, PRICING)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("PerformativePrising-v0", "did you mean 'PerformativePricing-v0'"),
        (f"{PRICING}@stronk", "did you mean 'strong'"),
        ("CartPole-v1", "env must be a performative world"),
        ("no_such:World-v0", "env must name a module that can be imported"),
    ],
)
def test_worlds_that_do_not_exist_are_said(env: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"{HERE}:always_first", "--env", env]) == 2
    assert said in capsys.readouterr().err


def test_a_policy_with_a_memory_is_refused(tmp_path: Path) -> None:
    from sb3_contrib import RecurrentPPO

    model = RecurrentPPO("MlpLstmPolicy", make_vec_env(PRICING, 2), device="cpu")
    model.save(tmp_path / "recurrent.zip")
    for policy in (model, tmp_path / "recurrent.zip"):
        for env in (PRICING, "HiddenPricing-v0"):
            with pytest.raises(ValueError, match="policy must depend on the observation alone"):
                train.evaluate(policy, env)


# -- beside the runs of a results folder -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    plan = Plan.product(["ppo"], [PRICING], (0,), n_timesteps=64, n_evals=2)
    run_bench(plan_runs(plan, out), plan, out, jobs=1)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A results folder with one run."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_an_evaluation_is_put_beside_the_runs_and_shown(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = saved_table(tmp_path)
    command = ["evaluate", str(path), "--env", PRICING, "--into", str(out), "--name", "My agent!"]
    assert main([*command, "--knows-response"]) == 0
    shown = capsys.readouterr().out
    folder = out / "My_agent" / PRICING / "seed_0"
    value = problem_of(PRICING).value(table)
    assert f"performative value J  {value:.4f}" in shown
    assert f"saved in {folder}" in shown
    result = json.loads((folder / "result.json").read_text())
    assert (result["algo"], result["label"], result["variant_of"]) == ("My_agent", "My agent!", None)
    assert (result["uses_response_map"], result["evaluation"], result["performative_value"]) == (True, "exact", value)
    assert not {"optimality_gap", "best_value"} & set(result)
    np.testing.assert_array_equal(np.load(folder / "policy.npy"), table)
    assert read_mapping(folder / "config.yaml")["env"] == PRICING
    assert len(pd.read_csv(folder / "evaluations.csv")) == 1
    results = pd.read_csv(out / "results.csv")
    assert results["algo"].tolist() == ["ppo", "My_agent"]
    assert "My agent!" in (out / "summary.md").read_text()


def test_a_second_one_of_the_same_name_is_refused(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = saved_table(tmp_path)
    command = ["evaluate", str(path), "--env", PRICING, "--into", str(out)]
    assert main(command) == 0
    result = out / "table" / PRICING / "seed_0" / "result.json"
    before = result.read_bytes()
    assert main(["evaluate", f"{HERE}:always_first", *command[2:], "--name", "table"]) == 2
    assert "holds a run of this name already: choose another --name, or another --seed" in capsys.readouterr().err
    assert result.read_bytes() == before
    assert main(["evaluate", f"{HERE}:always_first", *command[2:], "--name", "table", "--seed", "1"]) == 0
    assert (out / "table" / PRICING / "seed_1" / "result.json").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [("ppo", "name must be another than that of an algorithm here, got 'ppo'"), ("!", "name must have letters")],
)
def test_names_that_would_mix_runs_are_refused(
    name: str, said: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", f"{HERE}:always_first", "--env", PRICING, "--into", str(out), "--name", name, "--seed", "7"]
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert not list(out.rglob("seed_7"))


def test_what_was_played_is_saved_without_a_policy(tmp_path: Path) -> None:
    path, table = saved_table(tmp_path)
    found = Evaluation.of(ForeignPolicy("mine", table), f"{HERE}:HiddenPricing-v0")
    folder = found.save(tmp_path / "out", "python -m train evaluate")
    result = json.loads((folder / "result.json").read_text())
    assert (result["evaluation"], result["uses_response_map"]) == ("played", False)
    assert not (folder / "policy.npy").exists()
    assert read_mapping(folder / "config.yaml")["env_module"] == HERE
    assert read_foreign(path).name == "table"
