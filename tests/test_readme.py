"""The README is run: its Python as one script, its commands against the command line's own options."""

import re
import shlex
from pathlib import Path

import pytest

from train.bench import plan_runs
from train.cli import main
from train.plans import Plan, read_suite

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_of_the_readme_runs_from_top_to_bottom(capsys):
    script = "\n".join(blocks("python")).replace("200_000", "4_096")
    names: dict = {}
    exec(compile(script, "README.md", "exec"), names)  # noqa: S102
    # What the text promises: rounds are announced, and the greedy policy is worth less than the best known one.
    assert "round 1: P moved by" in capsys.readouterr().out
    assert names["result"].value > 11.5
    assert names["world"].dynamics.latents["willingness"] < 3.0


def test_the_commands_of_the_readme_are_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("python -m train")]
    run, bench, variants, suite, plot, study, tune, evaluate, listing = (shlex.split(line)[3:] for line in commands)
    run[run.index("200000")] = "2048"
    assert main(run) == 0
    assert "performative value J" in capsys.readouterr().out
    small = ["-n", "2048", "--jobs", "1", "--n-evals", "2"]
    bench[bench.index("--seeds") + 1] = "1"
    assert main([*bench, *small]) == 0
    assert main([*variants, "--algos", "pepg", "--seeds", "1", *small]) == 0
    assert len(plan_runs(Plan(read_suite(suite[suite.index("--suite") + 1]).blocks), tmp_path)) > 1000
    assert main(plot) == 0
    assert (tmp_path / "results/x/report.html").exists()
    assert main([*study, "--seeds", "2", "-n", "20", "--jobs", "1"]) == 0
    assert (tmp_path / "results/studies/convergence").is_dir()
    capsys.readouterr()
    assert main(evaluate) == 0
    assert "performative value J" in capsys.readouterr().out
    assert main(listing) == 0
    assert "uses the response map" in capsys.readouterr().out
    tune[tune.index("--trials") + 1] = tune[tune.index("--seeds") + 1] = "1"
    assert main([*tune, "-n", "64", "--jobs", "1"]) == 0
    assert (tmp_path / "results/tuning/pepg.yaml").exists()


@pytest.mark.parametrize("path", re.findall(r"`((?:perf_envs|agents|train|benchmarks|docs)/[\w/.]*)`", README))
def test_every_place_the_readme_names_exists(path):
    assert (Path(__file__).parent.parent / path).exists()
