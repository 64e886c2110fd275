"""Results folders that were copied, edited, cut off or filled from two runs: said in words, or not reported."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from perf_envs import exact
from perf_envs.worlds.pricing.env import PerformativePricing
from train.bench import plan_runs, run_bench
from train.cli import main
from train.plans import Plan
from train.report.data import read_bench
from train.run import execute, plan_run

PRICING = "PerformativePricing-v0"
PLACE = Path("pepg") / PRICING
FILES = ("result.json", "config.yaml", "meta.json", "evaluations.csv", "progress.csv", "policy.npy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small benchmark: PePG with two seeds in one world, and what is written about it."""
    out = tmp_path_factory.mktemp("finished")
    plan = Plan.product(["pepg"], [PRICING], [0, 1], n_timesteps=2048, n_evals=3)
    assert run_bench(plan_runs(plan, out), plan, out, 1).made == 2
    (out / "failures.csv").write_text(f"algo,env,seed,error\nppo,{PRICING},0,no\n")
    study = out / "studies" / "entropy" / "entropy.csv"
    study.parent.mkdir(parents=True)
    rows = [f",λ = {level},{seed},9.5,12.0,6.0,64" for level in ("0", "2") for seed in range(3)]
    rows += [f",schedule,{seed},9.4,12.0,6.0,64" for seed in range(3)]
    head = "group,setting,seed,performative_value,best_value,uniform_value,steps"
    study.write_text("\n".join([head, *rows, ""]))
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def seed(out: Path, number: int = 0) -> Path:
    return out / PLACE / f"seed_{number}"


def edit(path: Path, **changes: object) -> None:
    read, write = (json.loads, json.dumps) if path.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    path.write_text(write({**read(path.read_text()), **changes}))


def result(out: Path, number: int = 0) -> dict[str, float]:
    found: dict[str, float] = json.loads((seed(out, number) / "result.json").read_text())
    return found


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert shown.startswith("error: ")
    return shown


def test_the_folder_as_it_was_left_is_reported(out: Path) -> None:
    assert main(["plot", str(out)]) == 0
    assert "λ = 0" in (out / "summary.md").read_text()


# Copies


@pytest.mark.parametrize("place", ["seed_0_old", "seed_00", "backup", "seed_7"])
def test_a_copy_elsewhere_is_named_and_not_reported(place: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result(out)["performative_value"]
    shutil.copytree(seed(out), seed(out).with_name(place))
    run = plan_run("pepg", PRICING, 0, overrides={"n_timesteps": 2048, "learning_rate": 0.5}, out=out, n_evals=3)
    after = execute(run)["performative_value"]
    assert after != before
    (out / "bench.yaml").unlink()
    for name in ("0", "1"):  # as if both had been made with these settings
        edit(seed(out, int(name)) / "config.yaml", learning_rate=0.5)
    assert main(["plot", str(out)]) == 0
    shown = capsys.readouterr().err
    assert f"{seed(out).with_name(place)} is left out: it holds pepg in {PRICING}, seed 0" in shown
    values = read_bench(out).worlds[0].algorithms[0].values
    assert values.tolist() == [after, result(out, 1)["performative_value"]]
    assert place in (out / "summary.md").read_text()


def test_a_folder_of_copies_alone_has_no_results(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "pepg").rename(out / "pepg_old")
    shown = refused(["plot", str(out)], capsys)
    assert "holds no finished run" in shown
    assert "pepg_old" in shown


def test_what_was_to_be_replaced_and_failed_is_left_out(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan.product(["pepg"], [PRICING], [0, 1], n_timesteps=4096, n_evals=3)

    def fails(run: object) -> None:
        raise OSError("no")

    before = (seed(out) / "result.json").read_bytes()
    assert len(run_bench(plan_runs(plan, out), plan, out, 1, fails).failures) == 2
    assert (seed(out) / "result.json").read_bytes() == before, "what was finished is kept"
    shown = refused(["plot", str(out)], capsys)
    assert "it was to be made anew, and that failed" in shown


# Figures and identities


@pytest.mark.parametrize(
    ("name", "change"),
    [("performative_value", 9.9), ("stability_gap", 0.0), ("uniform_value", 3.0)],
)
@pytest.mark.parametrize("command", ["plot", "merge", "bench"])
def test_figures_that_the_policy_contradicts_are_refused(
    command: str, name: str, change: float, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = seed(out) / "result.json"
    edit(path, **{name: change})
    bench = ["bench", "--algos", "pepg", "--envs", PRICING, "--seeds", "2", "-n", "2048", "--n-evals", "3"]
    commands = {"plot": ["plot", str(out)], "merge": ["merge", str(tmp_path / "all"), str(out)]}
    shown = refused(commands.get(command, [*bench, "--jobs", "1", "--out", str(out)]), capsys)
    assert f"{path} says that {name} is {change:g}" in shown
    assert not (tmp_path / "all").exists()


def test_the_figure_that_is_named_is_that_of_the_policy(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = PerformativePricing().problem
    policy = np.full((problem.n_states, problem.n_actions), 1.0 / problem.n_actions)
    np.save(seed(out) / "policy.npy", policy)
    with torch.no_grad():
        value = float(exact.performative_value(problem, policy))
    (said,) = re.findall(r"that of policy\.npy is ([\d.]+)", refused(["plot", str(out)], capsys))
    assert float(said) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("file", ["result.json", "config.yaml", "meta.json", "evaluations.csv", "policy.npy"])
def test_files_of_another_run_are_refused(file: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(seed(out, 1) / file, seed(out) / file)
    if file == "result.json":  # the copy says itself that it belongs elsewhere
        (out / "bench.yaml").unlink()
        assert main(["plot", str(out)]) == 0
        assert f"{seed(out)} is left out: it holds pepg in {PRICING}, seed 1" in capsys.readouterr().err
        return
    shown = refused(["plot", str(out)], capsys)
    assert str(seed(out)) in shown
    assert file in shown


def test_evaluations_that_are_cut_off_are_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = seed(out) / "evaluations.csv"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    last = lines[-1].index(",", 8)
    for text in (whole[:-1], "".join(lines[:-1]), "".join([*lines[:-1], lines[-1][: last + 6]]), lines[0]):
        path.write_text(text)
        assert str(path) in refused(["plot", str(out)], capsys)


# One algorithm, one setting


@pytest.mark.parametrize("command", ["plot", "merge"])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"learning_rate": 1e-9}, "learning_rate is 0.006 in"),
        ({"ent_coef": 0.5}, "ent_coef is {'points'"),
        ({"policy_kwargs": {"net_arch": [8]}}, "policy_kwargs is {} in"),
        ({"vf_coef": 0.1}, "vf_coef is None in"),
    ],
)
def test_runs_with_other_settings_are_no_seeds_of_one_algorithm(
    command: str,
    overrides: dict[str, object],
    said: str,
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other" if command == "merge" else out
    shutil.rmtree(seed(out, 1))
    settings = {"n_timesteps": 2048, **overrides}
    execute(plan_run("pepg", PRICING, 1, overrides=settings, out=other, n_evals=3))
    arguments = ["merge", str(tmp_path / "all"), str(out), str(other)] if command == "merge" else ["plot", str(out)]
    shown = refused(arguments, capsys)
    assert f"runs of pepg in {PRICING} are not of one algorithm: {said}" in shown
    assert str(seed(out)) in shown
    assert str(seed(other, 1)) in shown
    assert not (tmp_path / "all").exists()


def test_how_often_and_from_where_a_run_is_measured_is_no_setting(out: Path) -> None:
    shutil.rmtree(seed(out, 1))
    run = plan_run("pepg", PRICING, 1, overrides={"n_timesteps": 2048}, out=out, n_evals=2, best_value=20.0)
    value = execute(run)["performative_value"]
    gaps = read_bench(out).worlds[0].algorithms[0].figures("optimality_gap")
    expected = [20.0 - result(out)["performative_value"], 20.0 - value]
    assert gaps == pytest.approx(expected, rel=1e-12), "one yardstick for all runs of a world"


# Broken files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00\xe9" + path.read_bytes())


def another_type(path: Path) -> None:
    path.write_text("[1, 2]\n")


def other_words(path: Path) -> None:
    path.write_text("{}\n" if path.suffix != ".csv" else "a,b\n1,x\n")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILS = (cut, empty, no_text, another_type, other_words, a_folder)
BESIDE = ("bench.yaml", "failures.csv", "studies/entropy/entropy.csv")


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("file", [*FILES, *BESIDE])
def test_a_broken_file_is_named_and_never_a_traceback(
    file: str, spoil: Callable[[Path], None], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = (out if file in BESIDE else seed(out)) / file
    spoil(path)
    capsys.readouterr()
    code = main(["plot", str(out)])
    shown = capsys.readouterr().err
    # What is not there is not missed: a folder in the place of a file that need not be there, a log without figures.
    if (file in BESIDE and spoil is a_folder) or (file == "progress.csv" and spoil not in (cut, no_text)):
        assert code in (0, 2)
        return
    if file == "result.json" and spoil is a_folder:
        assert code in (0, 2)
        return
    assert code == 2
    assert str(path.parent if file in ("config.yaml", "meta.json") else path) in shown
    assert shown.count("\n") == 1


VALUES = ("abc", None, float("nan"), [1], {"a": 1}, True, -3, 10**400)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:8])
@pytest.mark.parametrize(
    "name",
    [
        *("algo", "env", "seed", "steps", "deployments", "performative_value", "stability_gap"),
        *("uniform_value", "seconds", "label", "variant_of", "rollout_return_mean"),
    ],
)
def test_a_figure_of_another_kind_is_never_a_traceback(
    name: str, value: object, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = seed(out) / "result.json"
    edit(path, **{name: value})
    capsys.readouterr()
    code = main(["plot", str(out)])
    shown = capsys.readouterr().err
    harmless = (name in ("variant_of", "label") and value in ("abc", None)) or (name, value) in (
        *((name, None) for name in ("seconds", "rollout_return_mean")),
        ("rollout_return_mean", -3),
        ("seconds", -3),
        ("env", "abc"),  # belongs elsewhere
        ("algo", "abc"),
    )
    assert code in ((0, 2) if harmless else (2,))
    assert str(seed(out)) in shown or code == 0


@pytest.mark.parametrize(
    "name", ["algo", "env", "seed", "steps", "deployments", "performative_value", "stability_gap", "uniform_value"]
)
def test_a_figure_that_is_missing_is_named(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = seed(out) / "result.json"
    data = result(out)
    data.pop(name)
    path.write_text(json.dumps(data))
    assert f"{path} is not the result of a run: it has no {name!r}" in refused(["plot", str(out)], capsys)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.yaml", {"env_kwargs": 5}),
        ("config.yaml", {"env_kwargs": {"shfit": 1}}),
        ("config.yaml", {"env_kwargs": {"shift": "x"}}),
        ("config.yaml", {"n_timesteps": "many"}),
        ("config.yaml", {"best_value": "x"}),
        ("meta.json", {"versions": [1]}),
        ("meta.json", {"machine": {"x": 1}}),
        ("meta.json", {"git": "abc"}),
        ("meta.json", {"started": 5}),
        ("meta.json", {"run": 5}),
    ],
)
def test_entries_of_another_kind_are_named(
    file: str, changes: dict[str, object], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 1):
        edit(seed(out, number) / file, **changes)
    assert file in refused(["plot", str(out)], capsys)


@pytest.mark.parametrize(
    "policy",
    [
        np.full((3, 8), 1 / 8),
        np.full((81, 8), 0.3),
        np.full((81, 8), np.nan),
        np.full((81, 8), "a"),
        np.ones((2, 20, 1)),
        np.float64(3.0),
    ],
)
def test_what_is_no_policy_is_named(policy: np.ndarray, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = seed(out) / "policy.npy"
    np.save(path, policy)
    assert str(path) in refused(["plot", str(out)], capsys)
    np.savez(path.with_suffix(".npz"), policy)
    path.with_suffix(".npz").rename(path)
    assert str(path) in refused(["plot", str(out)], capsys)


def test_a_world_that_nobody_knows_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(out / "pepg" / PRICING, out / "pepg" / "Nowhere-v0")
    (out / "bench.yaml").unlink()
    for number in (0, 1):
        for file in ("result.json", "config.yaml"):
            edit(out / "pepg" / "Nowhere-v0" / f"seed_{number}" / file, env="Nowhere-v0")
        edit(out / "pepg" / "Nowhere-v0" / f"seed_{number}" / "meta.json", run={})
    shown = refused(["plot", str(out)], capsys)
    assert re.search(r"seed_0/config\.yaml: the world 'Nowhere-v0' cannot be made", shown)


@pytest.mark.parametrize(
    "change",
    [
        "algos: 5",
        "algos: [5]",
        "seeds: [a]",
        "seeds: 3",
        "envs: {a: 1}",
        "command: [1]",
        "n_timesteps: x",
        "blocks: 3",
        "more: 1",
    ],
)
def test_a_plan_of_another_kind_is_named(change: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = out / "bench.yaml"
    data = yaml.safe_load(path.read_text())
    ((key, value),) = yaml.safe_load(change).items()
    (data["blocks"][0] if key in data["blocks"][0] else data)[key] = value
    path.write_text(yaml.safe_dump(data))
    assert f"{path} is not the plan of a benchmark" in refused(["plot", str(out)], capsys)


def test_a_study_whose_measurements_are_there_twice_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = out / "studies" / "entropy" / "entropy.csv"
    text = path.read_text()
    path.write_text(text + text.splitlines()[-1] + "\n")
    assert f"{path} does not hold the data of the study entropy" in refused(["plot", str(out)], capsys)
