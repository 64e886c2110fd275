import csv
import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import ALL_WORLDS, TABULAR_WORLDS
from train.cli import main
from train.fitting import applies
from train.registry import ALGORITHMS, SHIPPED, SPACES, find_algorithm
from train.run import Run, plan_run
from train.settings import hyperparameters, resolve_settings
from train.tuning import command
from train.tuning.command import make_searches, plan_searches
from train.tuning.search import STARTUP_TRIALS, Search, search
from train.tuning.spaces import Choices, Range, read_space, shipped_setting, shipped_values
from train.tuning.trials import Trial, best_trial, read_trials
from train.tuning.winners import save_winners, settings_text, write_winners
from train.yaml_files import parse_yaml

PRICING, GRID = "PerformativePricing-v0", "PerformativeGridWorld-v0"
TUNE = ["tune", "--algos", "pepg", "a2c", "--envs", PRICING, "--trials", "2", "--seeds", "1", "-n", "64"]


#: Ablations have the settings of what they are ablations of.
TUNED_ALGOS = sorted(name for name, algorithm in SHIPPED.items() if algorithm.variant_of is None)


def planned(out: Path, algo: str = "ppo", trials: int = 8, seeds: int = 2) -> Search:
    return plan_searches([algo], [PRICING], trials, seeds, out, 200)[0]


def look_for_spaces_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every algorithm have its search space in a folder."""
    for name, algorithm in SHIPPED.items():
        space = None if algorithm.variant_of else folder / f"{name}.yaml"
        monkeypatch.setitem(ALGORITHMS, name, dataclasses.replace(algorithm, search_space=space))


def keep_tuned_settings_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tuned settings be written to, and read from, a folder."""
    monkeypatch.setattr(command, "TUNED", folder)
    for name, algorithm in SHIPPED.items():
        tuned = folder / f"{algorithm.variant_of or name}.yaml"
        monkeypatch.setitem(ALGORITHMS, name, dataclasses.replace(algorithm, tuned=tuned))


class Parabola:
    """Instead of training: PPO is worth most at a learning rate of 0.01 with rollouts of 64 steps."""

    def __init__(self, die_at: int | None = None) -> None:
        self.runs: list[Run] = []
        self.die_at = die_at

    def __call__(self, run: Run) -> dict[str, float]:
        if len(self.runs) == self.die_at:
            raise KeyboardInterrupt
        self.runs.append(run)
        rate, steps = run.settings["learning_rate"], run.settings["n_steps"]
        return {"performative_value": -((math.log10(rate) + 2.0) ** 2) - abs(steps - 64) / 64 + run.seed / 1000}


def without_seconds(trials: list[Trial]) -> list[Trial]:
    return [dataclasses.replace(trial, seconds=0.0) for trial in trials]


# Search spaces


def test_every_algorithm_has_a_space() -> None:
    assert sorted(path.stem for path in SPACES.glob("*.yaml")) == TUNED_ALGOS


@pytest.mark.parametrize("algo", TUNED_ALGOS)
def test_spaces_hold_real_hyperparameters_and_the_shipped_setting(algo: str) -> None:
    for env in (*ALL_WORLDS, f"{PRICING}@strong"):
        if not applies(algo, env):
            continue
        space, shipped = read_space(algo, env), shipped_setting(algo, env)
        assert 2 <= len(space) <= 4
        assert set(space) <= set(find_algorithm(algo).hyperparameters) - {"gamma", "device", "policy_kwargs"}
        for key, value in shipped_values(algo, shipped, space).items():
            entry = space[key]
            assert value in entry.values if isinstance(entry, Choices) else entry.low <= value <= entry.high
            if key in shipped:
                assert value == shipped[key]


@pytest.mark.parametrize("algo", ["pepg", "performative_ppo", "performative_npg"])
def test_rollouts_of_performative_agents_are_not_tuned(algo: str) -> None:
    assert "n_steps" not in read_space(algo, PRICING)


def test_where_no_file_sets_it_the_default_of_the_class_is_shipped() -> None:
    values = shipped_values(
        "performative_ppo", shipped_setting("performative_ppo", PRICING), ["ent_coef", "clip_range"]
    )
    assert values == {"ent_coef": {"points": [[0.0, 0.01], [0.5, 0.01], [0.8, 0.0]]}, "clip_range": 0.2}
    algorithm = find_algorithm("performative_ppo")
    made = hyperparameters(algorithm, {"ent_coef": values["ent_coef"]})["ent_coef"]
    assert [made(1.0 - done) for done in (0.0, 0.5, 0.65, 0.9)] == pytest.approx([0.01, 0.01, 0.005, 0.0])


def test_sections_of_worlds_override_the_default_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_for_spaces_in(tmp_path, monkeypatch)
    text = f"default: {{n_steps: {{low: 4, high: 64, log: true}}}}\n{PRICING}: {{n_steps: {{choices: [8, 16]}}}}\n"
    (tmp_path / "ppo.yaml").write_text(text)
    assert read_space("ppo", GRID) == {"n_steps": Range(4, 64, log=True)}
    assert read_space("ppo", PRICING) == {"n_steps": Choices((8, 16, 32))}, "32 is the shipped setting"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{lerning_rate: {low: 1e-4, high: 1e-2}}", "did you mean 'learning_rate'"),
        ("{round_length: {choices: [1, 2]}}", "the same for every algorithm"),
        ("{n_envs: {choices: [1, 2]}}", "the same for every algorithm"),
        ("{gamma: {choices: [0.9]}}", "the same for every algorithm"),
        ("{n_steps: 16}", "must be {low: , high: } or {choices: "),
        ("{n_steps: {choices: []}}", "list of different values"),
        ("{n_steps: {choices: [16, 16]}}", "list of different values"),
        ("{n_steps: {choices: [16, 2.5]}}", "n_steps must be a whole number"),
        ("{n_steps: {low: 2.5, high: 64}}", "n_steps must be a whole number"),
        ("{n_steps: {low: 64, high: 16}}", "high of 'n_steps'"),
        ("{n_steps: {low: 16}}", "high of 'n_steps'"),
        ("{n_steps: {low: 16, high: 64, logs: true}}", "did you mean 'log'"),
        ("{n_steps: {low: 16, high: 64, log: 1}}", "must be true or false"),
        ("{ent_coef: {low: 0.0, high: 0.1, log: true}}", "with log"),
        ("{learning_rate: {low: 0.1, high: 0.2}}", "must contain the shipped setting 0.001"),
        ("{}", "at least one entry"),
    ],
)
def test_bad_spaces_are_refused_in_words(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_for_spaces_in(tmp_path, monkeypatch)
    (tmp_path / "ppo.yaml").write_text(f"default: {text}\n")
    with pytest.raises(ValueError, match=said.replace("{", r"\{")) as caught:
        read_space("ppo", PRICING)
    assert "ppo.yaml" in str(caught.value)


# A search


def test_the_first_trial_is_the_shipped_setting_and_the_best_is_at_least_as_good(tmp_path: Path) -> None:
    train = Parabola()
    trials = search(planned(tmp_path), train)
    assert trials[0].params == {"learning_rate": 1e-3, "n_steps": 32, "batch_size": 512, "ent_coef": 0.0}
    best = best_trial(trials)
    assert best is not None
    assert best.mean == max(trial.mean for trial in trials) > trials[0].mean
    assert {run.seed for run in train.runs} == {100, 101}
    assert trials[0].values == {100: pytest.approx(-1.5 + 0.1), 101: pytest.approx(-1.5 + 0.101)}
    assert trials[0].mean == pytest.approx(-1.5 + 0.1005)


@pytest.mark.parametrize("algo", ["ppo", "a2c", "trpo"])
@pytest.mark.parametrize("env", TABULAR_WORLDS)
def test_the_defaults_of_the_library_are_tried_next(algo: str, env: str, tmp_path: Path) -> None:
    (one,) = plan_searches([algo], [env], 2, 1, tmp_path, 200)
    trials = search(one, lambda run: {"performative_value": 0.0})
    assert trials[0].params != trials[1].params
    whole = {**one.settings, **trials[1].params}
    version = resolve_settings(f"{algo}_defaults", env, overrides={"n_timesteps": 200}, tuned=False)
    assert {**whole, **version} == whole


def test_defaults_outside_of_the_space_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_for_spaces_in(tmp_path, monkeypatch)
    for text, said in (
        (
            "{learning_rate: {low: 1e-4, high: 1e-2}, ent_coef: {choices: [0.0]}}",
            "of ppo_defaults, got no such 'batch_size'",
        ),
        ("{learning_rate: {low: 1e-3, high: 1e-2}, batch_size: {choices: [64]}}", "got no such 'learning_rate'"),
    ):
        (tmp_path / "ppo.yaml").write_text(f"default: {text}")
        with pytest.raises(ValueError, match=said):
            planned(tmp_path / "out")


def test_proposals_learn_from_what_they_are_told(tmp_path: Path) -> None:
    trials = search(planned(tmp_path, trials=40), Parabola())
    mean = [sum(t.mean for t in part) / len(part) for part in (trials[1 : STARTUP_TRIALS + 1], trials[-10:])]
    assert mean[1] > mean[0] + 0.3


def test_trials_are_on_file_and_runs_are_thrown_away(tmp_path: Path) -> None:
    one = planned(tmp_path, "a2c", trials=2)
    trials = search(one)
    assert read_trials(one.folder / "trials.csv") == trials
    assert all(trial.seconds > 0.0 and not trial.error for trial in trials)
    assert sorted(path.name for path in one.folder.iterdir() if path.name != ".lock") == ["search.yaml", "trials.csv"]


@pytest.mark.slow
def test_a_search_is_the_same_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    def pair(out: Path) -> list[Search]:
        return plan_searches(["pepg", "a2c"], [PRICING], 2, 1, tmp_path / out, 64)

    alone, together = make_searches(pair(Path("a")), 1), make_searches(pair(Path("b")), 2)
    assert [without_seconds(trials) for trials in alone] == [without_seconds(trials) for trials in together]
    assert [trials[0].algo for trials in together] == ["pepg", "a2c"]


@pytest.mark.parametrize("die_at", [0, 1, 5, 9])
def test_a_search_that_was_stopped_ends_like_one_that_was_not(die_at: int, tmp_path: Path) -> None:
    undisturbed = search(planned(tmp_path / "undisturbed"), Parabola())
    one = planned(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        search(one, Parabola(die_at))
    kept = read_trials(one.folder / "trials.csv")
    assert len(kept) == die_at // 2
    train = Parabola()
    assert without_seconds(search(one, train)) == without_seconds(undisturbed)
    assert {run.seed for run in train.runs} == {100, 101}
    assert len(train.runs) <= 2 * (one.n_trials - len(kept)), "what was on file is not trained again"
    assert settings_text(search(one, Parabola(0))) == settings_text(undisturbed)


def test_more_trials_continue_a_search_with_fewer(tmp_path: Path) -> None:
    search(planned(tmp_path / "a", trials=5), Parabola())
    assert without_seconds(search(planned(tmp_path / "a", trials=8), Parabola())) == without_seconds(
        search(planned(tmp_path / "b", trials=8), Parabola())
    )


def test_folders_of_other_searches_are_not_continued(tmp_path: Path) -> None:
    search(planned(tmp_path), Parabola())
    with pytest.raises(ValueError, match="other seeds"):
        planned(tmp_path, seeds=3)
    with pytest.raises(ValueError, match="other settings"):
        plan_searches(["ppo"], [PRICING], 8, 2, tmp_path, 300)
    with pytest.raises(ValueError, match="trials must be >= 8"):
        planned(tmp_path, trials=7)
    path = tmp_path / "ppo" / PRICING / "trials.csv"
    path.write_text(path.read_text().replace('""n_steps"": 32', '""n_steps"": 16', 1))
    with pytest.raises(ValueError, match=r"trial 0 .* Optuna"):
        search(planned(tmp_path), Parabola())
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a table of trials"):
        planned(tmp_path)


def test_a_copy_of_a_search_in_another_place_is_not_taken_for_one(tmp_path: Path) -> None:
    one = planned(tmp_path, trials=2)
    search(one, Parabola())
    shutil.copytree(one.folder, one.folder.with_name("old"))
    with pytest.raises(ValueError, match=rf"must hold the trials of ppo in old from 0, got 0 of ppo in {PRICING}"):
        write_winners(tmp_path, "ppo", 2)
    shutil.rmtree(one.folder.with_name("old"))
    write_winners(tmp_path, "ppo", 2)
    assert (tmp_path / "ppo.yaml").is_file()


def failing(fails: Callable[[Run], bool], value: float | None = None) -> Callable[[Run], dict[str, Any]]:
    train = Parabola()

    def run_or_fail(run: Run) -> dict[str, Any]:
        if not fails(run):
            return train(run)
        if value is None:
            raise RuntimeError("diverged\nbadly")
        return {"performative_value": value}

    return run_or_fail


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_failing_trial_counts_least_and_the_search_goes_on(value: float | None, tmp_path: Path) -> None:
    one = planned(tmp_path, trials=12)
    trials = search(one, failing(lambda run: run.settings["n_steps"] == 32 and run.seed == 101, value))
    failed = [trial for trial in trials if trial.params["n_steps"] == 32]
    assert len(trials) == 12
    assert trials[0] in failed
    assert all(trial.mean == -math.inf and trial.values[101] is None and trial.error for trial in failed)
    assert all(trial.values[100] is not None for trial in failed)
    best = best_trial(trials)
    assert best is not None
    assert best.params["n_steps"] != 32
    assert read_trials(one.folder / "trials.csv") == trials
    again = search(one, Parabola(0))
    assert again == trials, "also with failures on file nothing is trained again"


def test_without_any_success_there_is_no_winner(tmp_path: Path) -> None:
    trials = search(planned(tmp_path), failing(lambda run: True))
    assert best_trial(trials) is None
    save_winners(tmp_path / "tuned", trials)
    assert [path.name for path in (tmp_path / "tuned").iterdir()] == ["trials.csv"]
    assert read_trials(tmp_path / "tuned" / "trials.csv") == []


# Winners


def trial(algo: str, env: str, number: int, rate: float, value: float, steps: int = 64) -> Trial:
    return Trial(algo, env, number, steps, {"learning_rate": rate}, {100: value})


def test_of_equal_trials_the_first_wins() -> None:
    best = best_trial([trial("ppo", GRID, 0, 0.1, 1.0), trial("ppo", GRID, 1, 0.2, 1.0)])
    assert best is not None
    assert best.trial == 0


def test_saving_merges_with_what_was_saved_before(tmp_path: Path) -> None:
    save_winners(tmp_path, [trial("ppo", GRID, 0, 0.1, 1.0), trial("ppo", GRID, 1, 0.2, 2.0)])
    save_winners(tmp_path, [trial("ppo", PRICING, 0, 0.3, 5.0), trial("a2c", GRID, 0, 0.4, 0.0)])
    save_winners(tmp_path, [trial("ppo", GRID, 0, 0.5, 1.0, steps=128)])
    found = [(t.algo, t.env, t.trial, t.params["learning_rate"]) for t in read_trials(tmp_path / "trials.csv")]
    assert found == [("a2c", GRID, 0, 0.4), ("ppo", GRID, 0, 0.5), ("ppo", PRICING, 0, 0.3)]
    text = (tmp_path / "ppo.yaml").read_text()
    assert parse_yaml(text, "") == {GRID: {"learning_rate": 0.5}, PRICING: {"learning_rate": 0.3}}
    assert "`python -m train tune`" in text
    assert "1 trials, seeds 100, 128 steps" in text
    page = (tmp_path / "README.md").read_text()
    assert "| PPO | 1.0000 | 1.0000 | trial 0 of 1 | 128, 1 | `learning_rate` 0.5 |" in page
    assert [line for line in page.splitlines() if line.startswith("## ")] == [f"## {GRID}", f"## {PRICING}"]
    with (tmp_path / "trials.csv").open() as file:
        assert next(csv.reader(file)) == ["algo", "env", "trial", "n_timesteps", "params", "values", "mean"]


def test_ablations_follow_the_tuning_of_what_they_are_ablations_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_tuned_settings_in(tmp_path, monkeypatch)
    before = resolve_settings("pepg_no_entropy", PRICING)
    params = {"learning_rate": 0.25, "ent_coef": 0.5}
    save_winners(tmp_path, [Trial("pepg", PRICING, 0, 64, params, {100: 1.0})])
    assert resolve_settings("pepg_no_entropy", PRICING) == {**before, "learning_rate": 0.25}
    assert resolve_settings("pepg", PRICING)["ent_coef"] == 0.5
    assert resolve_settings("pepg", f"{PRICING}@strong")["ent_coef"] == 0.5, "a variant has the settings of its world"
    assert "ent_coef" in before


def test_what_tuning_found_is_used_under_the_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_tuned_settings_in(tmp_path, monkeypatch)
    before = resolve_settings("ppo", PRICING)
    save_winners(tmp_path, [trial("ppo", PRICING, 0, 0.25, 5.0)])
    assert plan_run("ppo", PRICING, 0).settings == {**before, "learning_rate": 0.25}
    assert resolve_settings("ppo", GRID)["learning_rate"] == 1e-3
    assert shipped_setting("ppo", PRICING) == before, "tuning starts from what was shipped without it"
    (tmp_path / "mine.yaml").write_text("learning_rate: 0.125")
    assert resolve_settings("ppo", PRICING, tmp_path / "mine.yaml")["learning_rate"] == 0.125
    assert resolve_settings("ppo", PRICING, overrides={"learning_rate": 0.5})["learning_rate"] == 0.5


# The command


def test_the_command_writes_winners_that_run_reads_and_repeats_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_tuned_settings_in(tmp_path / "tuned", monkeypatch)
    for out in ("a", "b"):
        assert main([*TUNE, "--jobs", "1", "--out", str(tmp_path / out)]) == 0
    assert not (tmp_path / "tuned").exists()
    shown = capsys.readouterr().out
    assert "PePG" in shown
    assert "shipped" in shown
    for name in ("pepg.yaml", "a2c.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    run = ["run", "--algo", "a2c", "--env", PRICING, "-n", "64", "--config", str(tmp_path / "a" / "a2c.yaml")]
    assert main([*run, "--out", str(tmp_path / "runs")]) == 0

    assert main([*TUNE, "--jobs", "1", "--out", str(tmp_path / "a"), "--save"]) == 0
    names = ["README.md", "a2c.yaml", "pepg.yaml", "trials.csv"]
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == names
    for name in names[1:3]:
        assert (tmp_path / "tuned" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    # The winner's value is that of a run of the benchmark's with the same seed.
    assert main(["run", "--algo", "a2c", "--env", PRICING, "--seed", "100", "-n", "64", "--out", str(tmp_path)]) == 0
    value = json.loads((tmp_path / "a2c" / PRICING / "seed_100" / "result.json").read_text())["performative_value"]
    assert best_trial(read_trials(tmp_path / "a" / "a2c" / PRICING / "trials.csv")).mean == value  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--algos", "pegp"], "did you mean 'pepg'"),
        (["--algos", "ppo", "ppo"], "different values"),
        (["--algos", "pepg_no_ramp"], "settings follow 'pepg'"),
        (["--envs", "PerformativePrcing-v0"], f"did you mean '{PRICING}'"),
        (["--trails", "3"], "did you mean '--trials'"),
        (["--trials", "0"], "trials must be >= 1"),
        (["--seeds", "0"], "seeds must be >= 1"),
        (["--jobs", "0"], "jobs must be >= 1"),
        (["-n", "0"], "n must be >= 1"),
    ],
)
def test_mistakes_end_with_code_2_and_a_hint(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(TUNE) == 2
    assert "pip install 'performative-rl[tune]'" in capsys.readouterr().err


def test_an_algorithm_that_always_fails_is_reported_and_the_others_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_tuned_settings_in(tmp_path / "tuned", monkeypatch)
    monkeypatch.setattr("stable_baselines3.A2C.learn", lambda *args, **kwargs: 1 / 0)
    assert main([*TUNE, "--jobs", "1", "--out", str(tmp_path / "out"), "--save"]) == 1
    shown = capsys.readouterr()
    assert f"all trials failed: a2c in {PRICING}: ZeroDivisionError" in shown.err
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == ["README.md", "pepg.yaml", "trials.csv"]
    assert not (tmp_path / "out" / "a2c.yaml").exists()
