"""What strangers do with the installed package alone: every command runs in another process, in another folder.

``.ci/run`` has these tests run against the wheel (``INSTALLED`` names the folder it is installed in).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

HERE = Path(__file__).parent
INSTALLED = os.environ.get("INSTALLED", str(HERE.parents[1]))
SHORT = ["--seeds", "1", "-n", "512", "--n-evals", "2", "--jobs", "2"]


def run(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([INSTALLED, str(HERE)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def results(folder):
    return pd.read_csv(folder / "results.csv").set_index(["env", "algo"])


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Own algorithms, own world, own grid and own environment in one benchmark, beside shipped ones."""
    folder = tmp_path_factory.mktemp("stranger")
    worlds = ["own_world:Crowd-v0", "own_world:Crowd-v0@bold", "own_grid:Corner-v0", "own_environment:Crossing-v0"]
    algos = ["pepg", "ppo", "own_algorithm:Honest", "own_algorithm:Peeking"]
    run("-m", "train", "bench", "--algos", *algos[:3], "--envs", *worlds, *SHORT, "--out", "out", cwd=folder)
    run("-m", "train", "bench", "--algos", algos[3], "--envs", worlds[0], *SHORT, "--out", "peek", cwd=folder)
    return folder


def test_it_is_the_installed_package_that_runs(tmp_path):
    where = run("-c", "import perf_envs, agents, train; print(perf_envs.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(INSTALLED)


def test_own_algorithms_are_compared_in_own_worlds_with_exact_figures(compared):
    table = results(compared / "out")
    exact = table[table["evaluation"] == "exact"]
    assert {"Crowd-v0", "Crowd-v0@bold", "Corner-v0"} == set(exact.index.get_level_values("env"))
    assert {"pepg", "ppo", "Honest"} == set(exact.index.get_level_values("algo"))
    assert exact["stability_gap"].ge(0.0).all()
    assert exact["performative_value_se"].isna().all()
    # The response of the bold crowd is weaker: everything pays more.
    assert (
        table.loc[("Crowd-v0@bold", "ppo"), "performative_value"] > table.loc[("Crowd-v0", "ppo"), "performative_value"]
    )


def test_an_environment_that_only_has_deploy_is_judged_by_played_episodes(compared):
    played = results(compared / "out").loc["Crossing-v0"]
    assert (played["evaluation"] == "played").all()
    assert played["performative_value_se"].gt(0.0).all()
    assert played["stability_gap"].isna().all()
    assert played["deployments"].ge(1).all()
    assert "mean discounted return of played episodes" in (compared / "out" / "report.html").read_text()


def test_who_asks_for_the_response_map_is_reported_as_using_it_whatever_the_class_says(compared):
    assert bool(results(compared / "peek")["uses_response_map"].all())
    table = results(compared / "out")
    assert not table.loc[("Crowd-v0", "Honest"), "uses_response_map"]
    assert not table.loc[("Crowd-v0", "ppo"), "uses_response_map"]
    assert table.loc[("Crowd-v0", "pepg"), "uses_response_map"]


def test_a_suite_names_modules_and_a_folder_of_settings_and_is_plotted_by_a_process_that_knows_neither(tmp_path):
    (tmp_path / "suites" / "settings").mkdir(parents=True)
    (tmp_path / "suites" / "settings" / "Honest.yaml").write_text("n_steps: 4\n")
    block = "{algos: ['own_algorithm:Honest', pepg], envs: ['own_world:Crowd-v0@bold'], seeds: 1}"
    (tmp_path / "suites" / "mine.yaml").write_text(f"configs: settings\nblocks: [{block}]\n")
    short = ["-n", "512", "--n-evals", "2", "--jobs", "1", "--out", "out"]
    run("-m", "train", "bench", "--suite", "suites/mine.yaml", *short, cwd=tmp_path)
    config = (tmp_path / "out" / "Honest" / "Crowd-v0@bold" / "seed_0" / "config.yaml").read_text()
    assert "n_steps: 4" in config
    report = tmp_path / "out" / "report.html"
    report.unlink()
    run("-m", "train", "plot", "out", cwd=tmp_path)
    assert "Crowd-v0@bold" in report.read_text()


def test_worlds_in_a_namespace_and_worlds_without_native_vector_form_are_compared_as_all_others(tmp_path):
    worlds = ["own_names:mine/Crowd-v1@bold", "own_names:Features-v0"]
    run("-m", "train", "bench", "--algos", "ppo", "pepg", "--envs", *worlds, *SHORT, "--out", "out", cwd=tmp_path)
    table = results(tmp_path / "out")
    assert set(table.index.get_level_values("env")) == {"mine/Crowd-v1@bold", "Features-v0"}
    assert (table["evaluation"] == "exact").all()
    # What is played agrees with what is exact.
    missing = (table["discounted_return_mean"] - table["performative_value"]).abs()
    assert (missing <= 5.0 * table["discounted_return_se"] + table["discounted_return_rest"].fillna(0.0)).all()
    assert table["uses_response_map"].groupby("algo").all().to_dict() == {"pepg": True, "ppo": False}
    assert "mine/Crowd-v1@bold" in (tmp_path / "out" / "report.html").read_text()
    again = run(
        "-m", "train", "bench", "--algos", "ppo", "pepg", "--envs", *worlds, *SHORT, "--out", "out", cwd=tmp_path
    )
    assert "0 runs made, 4 were finished already" in again


def test_a_run_is_repeated_by_its_command(compared):
    folder = compared / "out" / "Honest" / "Crowd-v0" / "seed_0"
    command = (folder / "command.txt").read_text().split()
    assert "own_algorithm:Honest" in command
    assert "own_world:Crowd-v0" in command
    command[command.index("--out") + 1] = "again"
    run(*command[1:], cwd=compared)
    first, again = (
        json.loads((compared / out / "Honest" / "Crowd-v0" / "seed_0" / "result.json").read_text())
        for out in ("out", "again")
    )
    assert {**first, "seconds": 0} == {**again, "seconds": 0}


def test_a_policy_from_elsewhere_is_evaluated_and_put_beside_the_others(compared, tmp_path):
    shutil.copytree(compared / "out", tmp_path / "out")  # which other tests read
    model = tmp_path / "out" / "ppo" / "Crowd-v0" / "seed_0" / "model.zip"
    said = run(
        "-m",
        "train",
        "evaluate",
        model,
        "--env",
        "own_world:Crowd-v0",
        "--into",
        "out",
        "--name",
        "My agent",
        cwd=tmp_path,
    )
    value = json.loads((model.parent / "result.json").read_text())["performative_value"]
    assert f"performative value J  {value:.4f}" in said
    assert "My agent" in (tmp_path / "out" / "summary.md").read_text()
    assert results(tmp_path / "out").loc[("Crowd-v0", "My_agent"), "performative_value"] == value


def test_a_loop_of_ones_own_leaves_a_run_that_the_report_shows(tmp_path):
    assert INSTALLED in run(HERE / "own_loop.py", tmp_path / "out", cwd=tmp_path)
    run("-m", "train", "plot", tmp_path / "out", cwd=tmp_path)
    assert "By hand" in (tmp_path / "out" / "summary.md").read_text()
    rows = pd.read_csv(next((tmp_path / "out").glob("*/*/*/evaluations.csv")))
    # Sub-environments that are reset stand idle for a step, so six times 40 steps are not quite six rounds.
    assert rows["round"].tolist() == [0, 1, 2, 3, 4, 5, 5]
    assert rows["timesteps"].is_monotonic_increasing
