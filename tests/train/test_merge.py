import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from train.cli import main
from train.merge import merge
from train.results import read_plan

PRICING = "PerformativePricing-v0"
VALUES = {"pepg": [11.0, 11.2, 11.4], "ppo": [9.0, 9.2, 9.4]}


@pytest.fixture
def machines(save_bench, tmp_path: Path) -> list[Path]:
    """A benchmark that was made on two machines: seed 1 of PePG on both, the other runs on one."""
    whole = save_bench(VALUES)
    parts = [tmp_path / "m1", tmp_path / "m2"]
    for part, runs in zip(parts, ({"pepg": [0, 1], "ppo": [1]}, {"pepg": [1, 2], "ppo": [2, 0]}), strict=True):
        for algo, seeds in runs.items():
            for seed in seeds:
                folder = Path(algo) / PRICING / f"seed_{seed}"
                shutil.copytree(whole / folder, part / folder)
    shutil.copy(whole / "bench.yaml", parts[0])
    for algo in VALUES:
        shutil.rmtree(whole / algo)
    (whole / "bench.yaml").unlink()
    return parts


def change(folder: Path, file: str, **values: object) -> None:
    path = folder / "pepg" / PRICING / "seed_1" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_merged_folders_hold_all_runs_in_the_order_of_the_plan(machines: list[Path], tmp_path: Path) -> None:
    assert main(["merge", str(tmp_path / "all"), *map(str, machines)]) == 0
    results = pd.read_csv(tmp_path / "all" / "results.csv")
    assert list(zip(results["algo"], results["seed"], strict=True)) == [(a, s) for a in VALUES for s in range(3)]
    assert results["performative_value"].tolist() == [*VALUES["pepg"], *VALUES["ppo"]]
    plan = read_plan(tmp_path / "all")
    assert plan is not None
    assert plan.command.startswith("python -m train merge")
    for name in ("report.html", "summary.md", "summary.tex", "results.parquet"):
        assert (tmp_path / "all" / name).is_file()


def test_merging_again_changes_nothing(machines: list[Path], tmp_path: Path) -> None:
    merge(tmp_path / "all", machines)
    before = (tmp_path / "all" / "results.csv").read_bytes()
    merge(tmp_path / "all", machines[::-1])
    merge(tmp_path / "all", [tmp_path / "all"])
    assert (tmp_path / "all" / "results.csv").read_bytes() == before


def test_times_may_differ_between_machines(machines: list[Path], tmp_path: Path) -> None:
    change(machines[1], "result.json", seconds=99.0)
    merge(tmp_path / "all", machines)
    assert len(pd.read_csv(tmp_path / "all" / "results.csv")) == 6


def test_another_result_of_the_same_run_is_refused_and_nothing_is_copied(machines: list[Path], tmp_path: Path) -> None:
    change(machines[1], "result.json", performative_value=11.3)
    with pytest.raises(ValueError, match=r"another result in .*m1.*seed_1 than in .*m2.*: performative_value;"):
        merge(tmp_path / "all", machines)
    assert not (tmp_path / "all").exists()


def test_other_settings_of_the_same_run_are_refused(machines: list[Path], tmp_path: Path) -> None:
    config = machines[1] / "pepg" / PRICING / "seed_1" / "config.yaml"
    config.write_text(config.read_text() + "learning_rate: 0.5\n")
    with pytest.raises(ValueError, match=r"other settings in .*: learning_rate"):
        merge(tmp_path / "all", machines)
    assert not (tmp_path / "all").exists()


def test_a_copy_that_cannot_be_finished_leaves_no_run(
    machines: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy2", full)
        with pytest.raises(OSError, match="No space left"):
            merge(tmp_path / "all", machines)
    assert not list((tmp_path / "all").rglob("result.json"))
    assert not list((tmp_path / "all").rglob("*.new"))
    merge(tmp_path / "all", machines)
    assert len(pd.read_csv(tmp_path / "all" / "results.csv")) == 6


def test_a_failure_counts_until_another_machine_has_the_run(machines: list[Path], tmp_path: Path) -> None:
    rows = f"algo,env,seed,error\nppo,{PRICING},2,no\nppo,{PRICING},7,no\n"
    (machines[0] / "failures.csv").write_text(rows)
    merge(tmp_path / "all", machines)
    assert pd.read_csv(tmp_path / "all" / "failures.csv")["seed"].tolist() == [7]


def test_a_folder_without_results_is_named(machines: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="m3 holds no finished run"):
        merge(tmp_path / "all", [*machines, tmp_path / "m3"])


def test_a_result_that_cannot_be_read_is_named(machines: list[Path], tmp_path: Path) -> None:
    path = machines[1] / "pepg" / PRICING / "seed_1" / "result.json"
    for content, said in (("{", "is not valid JSON"), ("[]", "must hold an object")):
        path.write_text(content)
        with pytest.raises(ValueError, match=said) as raised:
            merge(tmp_path / "all", machines)
        assert str(path) in str(raised.value)
