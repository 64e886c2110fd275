"""LinearPricing-v0 on the command line: run, bench, plot and merge where actions are continuous."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from gymnasium.vector import AutoresetMode

from agents import PePG, make_vec_env
from perf_envs import LinearPricingProblem, gaussian_policy
from perf_envs.worlds.linear_pricing.env import LinearPricing
from tests.train.short_runs import TINY, tiny_settings
from tests.worlds import ALL_WORLDS, CONTINUOUS_WORLDS
from train.bench import BenchReport, longest_first, plan_runs, run_bench
from train.cli import main
from train.evaluation import rollout_returns
from train.fitting import applies
from train.merge import merge
from train.plans import Plan
from train.registry import ALGORITHMS, SPACES
from train.report.budget import left_out
from train.report.data import read_bench
from train.report.linear_pricing_figure import draw_prices
from train.report.styles import new_figure
from train.results import read_plan
from train.run import execute, plan_run
from train.settings import hyperparameters, resolve_settings
from train.tuning.spaces import read_space

ID, SOFTMAX = "LinearPricing-v0", "SoftmaxPeMDP-v0"
#: A market in which nothing is symmetric.
TWO = {"n_products": 2, "base_demand": [4.0, 3.0], "shift": [1.0, 0.4], "price_low": 0.5, "horizon": 7, "gamma": 0.9}
ALGOS, ENVS = ("pepg", "rr"), (ID, SOFTMAX)


def problem_of(**env_kwargs: Any) -> LinearPricingProblem:
    problem = gym.make(ID, **env_kwargs).unwrapped.problem  # type: ignore[attr-defined]
    assert isinstance(problem, LinearPricingProblem)
    return problem


def some_policy(seed: int = 0) -> np.ndarray:
    """Return a policy of which much is clipped."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-1.2, 0.8, (7, 2)), rng.uniform(0.0, 2.0, (7, 2))])


# -- what policies are worth -----------------------------------------------------------------------------------------


def test_played_returns_agree_with_the_closed_form() -> None:
    policy = some_policy()
    figures = rollout_returns(ID, TWO, policy, seed=0, n_episodes=20_000).figures()
    value = float(problem_of(**TWO).performative_value(*policy))
    assert abs(figures["discounted_return_mean"] - value) < 4 * figures["discounted_return_se"] < 0.02 * value


def test_episodes_are_played_in_the_market_that_has_answered_in_full() -> None:
    at_once = rollout_returns(ID, TWO, some_policy(), seed=0)
    gradual = rollout_returns(ID, {**TWO, "adaptation_rate": 0.01}, some_policy(), seed=0)
    np.testing.assert_array_equal(gradual.plain, at_once.plain)
    assert (rollout_returns(ID, TWO, some_policy(), seed=1).plain != at_once.plain).any()


def test_the_uniform_value_is_what_uniform_actions_earn_once_the_market_has_seen_them() -> None:
    n, horizon, rng = 40_000, TWO["horizon"], np.random.default_rng(0)
    venv = gym.make_vec(
        ID, n, "vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP, round_length=horizon, **TWO
    )
    venv.reset(seed=0)
    seasons = []
    for _ in range(2):  # the market watches the first season and answers it in the second
        returns = np.zeros(n)
        for period in range(horizon):
            returns += 0.9**period * venv.step(rng.uniform(-1.0, 1.0, (n, 2)))[1]
        seasons.append(returns)
    first, second = (returns.mean() for returns in seasons)
    error = seasons[1].std() / np.sqrt(n)
    problem = problem_of(**TWO)
    value = problem.value(problem.policies.uniform())
    # The market's estimate of the mean prices has an error of about 0.005.
    assert abs(second - value) < 4 * error + 0.1 < 0.01 * value
    assert abs(first - value) > 1.0


def test_the_optimal_price_has_no_gap_and_the_stable_price_no_stability_gap() -> None:
    problem = problem_of(**TWO, price_high=8.0)
    for price, has_no in ((problem.optimal_price, "optimality gap"), (problem.stable_price, "stability gap")):
        mean = np.tile(problem.actions(price.numpy()), (7, 1))
        policy = problem.policies.from_array(np.stack([mean, np.zeros_like(mean)]))
        gaps = {
            "optimality gap": problem.best_known().value - problem.value(policy),
            "stability gap": problem.stability_gap(policy),
        }
        assert gaps.pop(has_no) == pytest.approx(0.0, abs=1e-9)
        assert all(other > 1.0 for other in gaps.values())


# -- one run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", [name for name in ALGORITHMS if applies(name, ID)])
def test_every_algorithm_that_applies_trains_with_its_settings(tmp_path: Path, algo: str) -> None:
    run = plan_run(algo, ID, 0, overrides={**tiny_settings(algo), "env_kwargs": TWO}, out=tmp_path, n_evals=2)
    result = execute(run)
    assert result["steps"] == 64
    assert result["deployments"] == 2
    policy = np.load(run.folder / "policy.npy")
    assert policy.shape == (2, 7, 2)
    assert (policy[1] >= 0.0).all()
    problem = problem_of(**TWO)
    assert result["performative_value"] == float(problem.performative_value(*policy))
    assert result["stability_gap"] == problem.stability_gap(*policy)
    assert run.evaluator().best_known_value() == problem.optimal_value
    rows = pd.read_csv(run.folder / "evaluations.csv", float_precision="round_trip")
    assert rows["performative_value"].iloc[-1] == result["performative_value"]
    assert rows["timesteps"].tolist() == [0, 64]


def test_the_saved_policy_is_that_of_the_saved_model(tmp_path: Path) -> None:
    run = plan_run("pepg", ID, 0, overrides=TINY, out=tmp_path, n_evals=2)
    execute(run)
    mean, std = gaussian_policy(PePG.load(run.folder / "model.zip"), problem_of().query_observations, 1)
    np.testing.assert_allclose(np.load(run.folder / "policy.npy"), [mean, std], rtol=1e-5)


def test_the_command_in_the_folder_repeats_the_run(tmp_path: Path) -> None:
    run = plan_run("a2c", ID, 3, overrides={**TINY, "env_kwargs": TWO}, out=tmp_path / "first", n_evals=2)
    first = execute(run)
    command = shlex.split((run.folder / "command.txt").read_text())
    command[command.index("--out") + 1] = str(tmp_path / "again")
    assert main(command[3:]) == 0
    again = json.loads((tmp_path / "again" / "a2c" / ID / "seed_3" / "result.json").read_text())
    assert {**again, "seconds": 0} == {**first, "seconds": 0}


@pytest.mark.slow
def test_pepg_comes_near_the_optimum_with_its_settings(tmp_path: Path) -> None:
    result = execute(plan_run("pepg", ID, 100, out=tmp_path, n_evals=2))
    assert result["performative_value"] > 0.95 * problem_of().optimal_value


# -- which algorithms apply ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda algorithm: algorithm.name)
def test_algorithms_that_do_not_apply_are_those_that_refuse_continuous_actions(algorithm: Any) -> None:
    able = applies(algorithm.name, ID)
    settings = resolve_settings(algorithm.name, ID if able else SOFTMAX)
    venv = make_vec_env(ID, 8)
    arguments = {"gamma": 0.9, **hyperparameters(algorithm, settings)}
    if not able:
        with pytest.raises(ValueError, match="does not accept"):
            algorithm.make(venv, 0, settings["policy"], **arguments)
    else:
        algorithm.make(venv, 0, settings["policy"], **arguments)


@pytest.mark.parametrize("env", CONTINUOUS_WORLDS)
def test_shipped_files_are_valid_and_give_every_algorithm_as_many_steps(env: str) -> None:
    able = [name for name in ALGORITHMS if applies(name, env)]
    assert len({resolve_settings(algo, env)["n_timesteps"] for algo in able}) == 1


@pytest.mark.parametrize("env", [*CONTINUOUS_WORLDS, f"{ID}@strong"])
def test_every_algorithm_that_applies_can_be_tuned(env: str) -> None:
    for algo in (path.stem for path in SPACES.glob("*.yaml")):
        if applies(algo, env):
            assert read_space(algo, env)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--algo", "rr", "--env", ID], f"algo must be one of pepg, .*ppo, .* in {ID}, .* got rr$"),
        (["run", "--algo", "rr", "--env", f"{ID}@strong"], f"pepg, .* in {ID}@strong, .* got rr$"),
        (["run", "--algo", "ppo", "--env", f"{ID}@strung"], "did you mean 'strong'"),
        (["bench", "--algos", "rr", "zofw", "--envs", SOFTMAX, ID], f"pepg, .* in {ID}, .* got rr, zofw$"),
        (["run", "--algo", "ppo", "--env", "LinearPrising-v0"], f"did you mean '{ID}'"),
        (["bench", "--algos", "rr", "ppo", "--envs", "LinearPrising-v0"], f"did you mean '{ID}'"),
        (["bench", "--algos", "rrr", "ppo", "--envs", ID], "did you mean 'rr'"),
        (["run", "--algo", "ppo", "--env", ID, "--set", "env_kwargs.n_product=2"], "did you mean 'n_products'"),
        (["run", "--algo", "ppo", "--env", ID, "--set", "env_kwargs.shift=-1"], "shift must be >= 0"),
    ],
)
def test_mistakes_end_with_code_2_and_a_hint(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_files_have_sections_for_continuous_worlds(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"{ID}: {{n_steps: 7}}\n")
    assert resolve_settings("ppo", ID, mine)["n_steps"] == 7
    assert resolve_settings("ppo", SOFTMAX, mine)["n_steps"] == 32
    mine.write_text("default: {}\nLinearPrising-v0: {}\n")
    with pytest.raises(ValueError, match=f"did you mean '{ID}'"):
        resolve_settings("ppo", ID, mine)


def test_all_worlds_are_known_by_one_name() -> None:
    assert {ID, SOFTMAX} < set(ALL_WORLDS)
    assert [run.env for run in plan_runs(Plan.product(["ppo"], list(ALL_WORLDS), (0,)), Path("x"))] == list(ALL_WORLDS)


# -- benchmarks ------------------------------------------------------------------------------------------------------


def make_missing(out: Path) -> BenchReport:
    plan = Plan.product(ALGOS, ENVS, (0,), n_timesteps=64, n_evals=2)
    return run_bench(plan_runs(plan, out), plan, out, jobs=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark in two worlds, in one of which one of the algorithms does not apply."""
    out = tmp_path_factory.mktemp("finished")
    assert make_missing(out).made == 3
    return out


@pytest.fixture
def made(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to work on."""
    return Path(shutil.copytree(finished, tmp_path / "made"))


def report_of(out: Path) -> str:
    """Return what the report of a folder says about who does not apply."""
    return left_out(read_bench(out))


def test_a_benchmark_leaves_out_what_does_not_apply_and_is_complete(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "--algos", *ALGOS, "--envs", *ENVS, "--seeds", "1", "-n", "64", "--n-evals", "2"]
    assert main([*command, "--jobs", "1", "--out", str(made)]) == 0
    assert "0 runs made, 3 were finished already, 0 failed" in capsys.readouterr().out
    results = pd.read_csv(made / "results.csv")
    assert list(zip(results["env"], results["algo"], strict=True)) == [(ID, "pepg"), (SOFTMAX, "pepg"), (SOFTMAX, "rr")]
    plan = read_plan(made)
    assert plan is not None
    assert (plan.algos, plan.envs) == (ALGOS, ENVS)
    assert not (made / "failures.csv").exists()
    html = (made / "report.html").read_text()
    assert f"RR does not apply in {ID}: it cannot take actions of that kind." in html
    assert "failed and" not in html
    assert "Mean posted price in every period" in html
    assert (made / "plots" / f"{ID}_policies.png").is_file()


def test_a_benchmark_makes_the_one_run_that_is_missing(made: Path) -> None:
    (made / "pepg" / ID / "seed_0" / "result.json").unlink()
    before = (made / "results.csv").read_bytes()
    report = make_missing(made)
    assert (report.made, report.kept, report.failures) == (1, 2, ())
    assert (made / "results.csv").read_bytes() == before


def test_merged_folders_lack_nothing(made: Path, tmp_path: Path) -> None:
    for part, runs in (("m1", [f"pepg/{ID}"]), ("m2", [f"pepg/{SOFTMAX}", f"rr/{SOFTMAX}"])):
        for run in runs:
            shutil.copytree(made / run, tmp_path / part / run)
    plan = merge(tmp_path / "all", [tmp_path / "m1", tmp_path / "m2"])
    assert (plan.algos, plan.envs) == (ALGOS, ENVS)
    assert (tmp_path / "all" / "results.csv").read_bytes() == (made / "results.csv").read_bytes()
    assert not (tmp_path / "all" / "failures.csv").exists()
    assert "not apply" not in report_of(tmp_path / "all"), "nobody asked for more than there is"


def test_those_without_any_run_are_not_said_not_to_apply_and_none_where_all_do(made: Path) -> None:
    (made / "bench.yaml").write_text(Plan.product(("rga", "pepg", "rr"), ENVS, (0,)).dump())
    assert f"RR does not apply in {ID}: it cannot take actions of that kind." in report_of(made)
    (made / "bench.yaml").write_text(Plan.product(ALGOS, (SOFTMAX,), (0,)).dump())
    assert "not apply" not in report_of(made)


def test_the_longest_runs_come_first(tmp_path: Path) -> None:
    short, long = (
        plan_runs(Plan.product(["ppo"], [ID], (0,), n_timesteps=steps), tmp_path)[0] for steps in (1_000, 1_000_000)
    )
    assert longest_first([short, long, short]) == [long, short, short]


def test_the_picture_shows_prices_between_optimum_and_stability() -> None:
    env = gym.make(ID, **TWO).unwrapped
    assert isinstance(env, LinearPricing)
    prices = np.random.default_rng(0).uniform(0.5, 6.0, (7, 2))
    policy = np.stack([env.problem.actions(prices), np.zeros((7, 2))])
    _, (axes,) = new_figure(3.0, 3.0)
    draw_prices(env, axes, policy, env.problem.response(*policy))
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    np.testing.assert_allclose(drawn[0], prices[:, 0])
    np.testing.assert_allclose(drawn[3], prices[:, 1])
    # base_demand / (2 shift) and base_demand / shift, which is beyond the range for the second product.
    assert [line[0] for line in drawn[1:3] + drawn[4:]] == [2.0, 4.0, 3.75, 6.0]
    weights = 0.9 ** np.arange(7)
    demand = np.array([4.0, 3.0]) - np.array([1.0, 0.4]) * (weights @ prices / weights.sum())
    assert axes.texts[0].get_text() == f"D = {demand[0]:.2f}, {demand[1]:.2f}".replace("-", "−")


def test_the_band_is_one_standard_deviation_cut_to_the_range() -> None:
    env = LinearPricing(horizon=2)
    policy = np.array([[[0.0], [0.9]], [[0.5], [0.5]]])
    _, (axes,) = new_figure(3.0, 3.0)
    draw_prices(env, axes, policy, env.problem.response(*policy))
    corners = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(np.unique(np.asarray(corners)[:, 1]), [1.5, 4.2, 4.5, 6.0])
