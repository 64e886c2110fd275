import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train.bench import BenchReport
from train.cli import main
from train.options import COMMANDS, option_names
from train.registry import ALGORITHMS, SHIPPED
from train.run import Run

PRICING = "PerformativePricing-v0"
#: Arguments without a name.
POSITIONAL = [
    *[("--out", "plot"), ("--out", "merge"), ("--folders", "merge"), ("--name", "study")],
    *[("--policy", "evaluate"), ("--what", "list")],
]
RUN = ["run", "--algo", "pepg", "--env", PRICING]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_shown(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    for name in option_names(COMMANDS[command[0]]) if command else COMMANDS:
        if (name, *command) not in POSITIONAL:
            assert name in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "did you mean 'run'"),
        (["run", "--alg", "pepg"], "did you mean '--algo'"),
        (["run", "--sede=3"], "did you mean '--seed'"),
        (["bench", "--quik"], "did you mean '--quick'"),
        (["run", "--algo", "peppg", "--env", PRICING], "did you mean 'pepg'"),
        (["run", "--algo", "pepg", "--env", "PerformativePrcing-v0"], f"did you mean '{PRICING}'"),
        ([*RUN, "--set", "lerning_rate=1"], "did you mean 'learning_rate'"),
        ([*RUN, "--set", "env_kwargs.shfit=1"], "did you mean 'shift'"),
        ([*RUN, "--set", "learning_rate"], "KEY=VALUE"),
        ([*RUN, "--config", "nowhere.yaml"], "nowhere.yaml"),
        ([*RUN, "-n", "many"], "many"),
        ([*RUN, "-n", "9" * 400], "n_timesteps must be"),
        ([*RUN, "--seed", "9" * 12], "seed must be <= 4.29497e+09"),
        ([*RUN, "--set", "n_steps=1:30"], "'n_steps' is not valid YAML: '1:30' is text"),
        ([*RUN, "--set", "n_steps=1_000"], "'1_000' is text"),
        ([*RUN, "--set", "normalize_advantage=no"], "'no' is text"),
        ([*RUN, "--set", "env_kwargs=5", "env_kwargs.shift=2"], "'env_kwargs' must be a mapping, got 5"),
        ([*RUN, "--set", "device=foo"], "device must be a device of torch"),
        ([*RUN, "--set", "device=[1]"], "device must be a device of torch"),
        ([*RUN, "--set", "n_timesteps=64", "-n", "128"], "n_timesteps is given twice: 128 with --n-timesteps and 64"),
        ([*RUN, "--set", "n_envs=4", "--n-envs", "4"], "n_envs is given twice"),
        ([*RUN, "--set", "n_steps=8", "--set", "n_envs=4"], "--set must be given once"),
        ([*RUN, "-n", "64", "--n_timesteps=128"], "--n-timesteps must be given once, got -n and --n_timesteps"),
        (["run", "--algo", "ppo", "--env", PRICING, "--set", "policy_kwargs.net_arch=foo"], "ppo does not accept"),
        (
            ["run", "--algo", "ppo", "--env", PRICING, "--set", "policy_kwargs.activation_fn=tanh"],
            "ppo does not accept",
        ),
        (["run", "--algo", "ppo", "--env", PRICING, "--set", "rollout_buffer_class=foo"], "ppo does not accept"),
        ([*RUN, "-n", "0"], "n_timesteps must be >= 1"),
        ([*RUN, "--seed", "-1"], "seed must be >= 0"),
        ([*RUN, "--n-evals", "1"], "n_evals must be >= 2"),
        (["run", "--algo", "pepg"], "--env"),
        (["bench", "--algos", "ppoo"], "did you mean 'ppo'"),
        (["bench", "--envs", "PerformativeGridworld-v0"], "did you mean 'PerformativeGridWorld-v0'"),
        (["bench", "--seeds", "0"], "seeds must be >= 1"),
        (["bench", "--jobs", "0"], "jobs must be >= 1"),
        (["plot", "nowhere"], "nowhere holds no finished run"),
        (["merge", "nowhere"], "nowhere holds no finished run"),
        (["bench", "--suite", "./mine"], "ends in .yaml"),
        ([], "Missing subcommand"),
    ],
)
def test_mistakes_end_with_code_2_and_a_hint(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not any(tmp_path.iterdir())


def test_a_misspelt_key_in_a_file_names_file_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("default: {n_setps: 3}")
    assert main([*RUN, "--config", str(tmp_path / "mine.yaml")]) == 2
    shown = capsys.readouterr().err
    assert "mine.yaml" in shown
    assert "'n_setps'" in shown
    assert "did you mean 'n_steps'" in shown


def test_settings_on_the_command_line_come_over_those_of_a_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ppo", "a2c"):  # put back afterwards
        monkeypatch.setitem(ALGORITHMS, name, SHIPPED[name])
    for folder, text in (("suite", "n_steps: 4\nn_epochs: 2\n"), ("mine", "n_steps: 8\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ppo.yaml").write_text(text)
    suite = tmp_path / "mine.yaml"
    suite.write_text(f"configs: suite\nblocks: [{{algos: [ppo, a2c], envs: [{PRICING}], seeds: 1}}]")
    planned: list[Run] = []
    report = BenchReport(0, 0, ())
    monkeypatch.setattr("train.commands.run_bench", lambda runs, *args, **kwargs: planned.extend(runs) or report)
    monkeypatch.setattr("train.commands.plot", lambda out: None)
    assert main(["bench", "--suite", str(suite), "--configs", str(tmp_path / "mine")]) == 0
    assert (planned[0].settings["n_steps"], planned[0].settings["n_epochs"]) == (8, 2)
    assert "n_epochs" not in planned[1].settings


def test_a_suite_whose_settings_are_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(f"configs: nowhere\nblocks: [{{algos: [ppo], envs: [{PRICING}], seeds: 1}}]")
    assert main(["bench", "--suite", str(suite), "--out", str(tmp_path / "b")]) == 2
    shown = capsys.readouterr().err
    assert f"suite {suite}: configs must be a folder with ppo.yaml" in shown
    assert str(tmp_path / "nowhere") in shown


def test_a_misspelt_algorithm_in_a_suite_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(f"blocks: [{{algos: [ppoo], envs: [{PRICING}], seeds: 1}}]")
    assert main(["bench", "--suite", str(suite), "--out", str(tmp_path / "b")]) == 2
    shown = capsys.readouterr().err
    assert str(suite) in shown
    assert "did you mean 'ppo'" in shown
    assert not (tmp_path / "b").exists()


def test_a_result_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pepg" / PRICING / "seed_0"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    assert main(["plot", str(tmp_path)]) == 2
    assert f"{folder / 'result.json'} is not the result of a run: it has no 'algo'" in capsys.readouterr().err


def test_run_says_what_came_out_and_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        *RUN,
        "-n",
        "64",
        "--n-envs",
        "4",
        "--out",
        str(tmp_path),
        "--set",
        "n_steps=8",
        "round_length=8",
        "learning_rate=1e-3",
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "performative value" in shown
    assert str(tmp_path / "pepg" / PRICING / "seed_0") in shown


def test_a_finished_run_with_other_settings_is_replaced_only_if_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*RUN, "-n", "64", "--n-envs", "4", "--out", str(tmp_path)]
    assert main(arguments) == 0
    result = tmp_path / "pepg" / PRICING / "seed_0" / "result.json"
    before = result.read_bytes()
    assert main([*arguments, "--set", "learning_rate=0.5"]) == 2
    shown = capsys.readouterr().err
    assert "(learning_rate)" in shown
    assert "--overwrite" in shown
    assert result.read_bytes() == before
    assert main(arguments) == 0, "the same run may be made again"
    assert main([*arguments, "--set", "learning_rate=0.5", "--overwrite"]) == 0
    assert result.read_bytes() != before


@pytest.mark.parametrize(
    ("algo", "assignment"),
    [("ppo", "n_epochs=-1"), ("ppo", "n_steps=0"), ("ppo", "batch_size=-3"), ("a2c", "n_steps=-1")],
)
def test_counts_that_nothing_can_be_done_with_are_refused(
    algo: str, assignment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--algo", algo, "--env", PRICING, "--out", str(tmp_path), "--set", assignment]) == 2
    shown = capsys.readouterr().err
    assert f"{assignment.split('=')[0]} must be >= 1" in shown
    assert not any(tmp_path.iterdir())


def test_bench_ends_with_a_report_and_plot_makes_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b"
    arguments = ["bench", "--algos", "pepg", "a2c", "--envs", PRICING, "--seeds", "2", "-n", "100", "--n-evals", "2"]
    assert main([*arguments, "--jobs", "1", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert str(out / "report.html") in shown.replace("\n", "")
    assert "4 runs made" in shown
    assert "--algos pepg a2c" in (out / "bench.yaml").read_text()
    report = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert main(["plot", str(out)]) == 0
    assert (out / "report.html").read_bytes() == report


def test_ctrl_c_ends_a_run_with_one_line_and_no_result(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", *RUN, "-n", "100000000", "--out", str(tmp_path)]
    # Tests that run in the background of a shell ignore the interrupt, and so would their children.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    while not list(tmp_path.rglob("evaluations.csv")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate()
    assert process.returncode == 130
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    assert not list(tmp_path.rglob("result.json"))


def test_an_error_in_training_is_one_line_and_its_traceback_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agents.PePG.train", lambda self: {}["gone"])
    assert main([*RUN, "-n", "64", "--n-envs", "4", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    path = tmp_path / "pepg" / PRICING / "seed_0.error.txt"
    assert shown == f"failed: KeyError: 'gone' (traceback: {path})\n"
    assert "Traceback" in path.read_text()


def test_a_terminal_that_knows_only_ascii_is_no_reason_to_fail(tmp_path: Path) -> None:
    arguments = [*RUN, "-n", "64", "--n-envs", "4", "--n-evals", "2", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    for command, said in ((arguments, b"\\xb1"), (["plot", str(tmp_path)], b"PePG")):
        done = subprocess.run(
            [sys.executable, "-m", "train", *command], capture_output=True, env=environment, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert said in done.stdout


@pytest.mark.parametrize("limit", [600, 2000])
def test_a_file_that_cannot_be_written_is_named_with_the_reason(limit: int, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    arguments = [*RUN, "-n", "64", "--n-envs", "4", "--n-evals", "2", "--out", str(tmp_path)]

    def small_files() -> None:  # stands for a full disk, which nobody has at hand: writing fails in the same way
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "train", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=small_files)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "File too large" in done.stderr
    assert str(tmp_path) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("result.json"))
    assert not list(tmp_path.rglob(".[0-9]*"))


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "train", "bench", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 141
    assert not done.stderr
