import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
from stable_baselines3 import SAC

from agents import make_vec_env
from perf_envs import PerformativeMDP, exact, gaussian_policy
from perf_envs.policies import AskedPolicy
from perf_envs.registration import WORLDS, RegisteredWorld, split_variant
from tests.train import strangers  # noqa: F401 registers the worlds
from tests.train.short_runs import tiny_settings
from tests.worlds import ALL_WORLDS
from train.evaluators import DEFAULT_GAMMA, Evaluator, World, find_evaluator
from train.run import execute, plan_run

PRICING, LINEAR, SOFTMAX = "PerformativePricing-v0", "LinearPricing-v0", "SoftmaxPeMDP-v0"
#: A small market, so that few episodes are enough.
SMALL = {"horizon": 3, "inventory": 2}


def problem_of(world: str, **kwargs: Any) -> Any:
    return gym.make(world, **kwargs).unwrapped.problem  # type: ignore[attr-defined]


def some_policy(problem: Any) -> Any:
    """Return a policy that does something else in every state."""
    rng, array = np.random.default_rng(0), problem.policies.uniform().array
    if isinstance(problem, PerformativeMDP):
        return problem.policies.read(rng.dirichlet(np.ones(array.shape[1]), len(array)))
    return problem.policies.read(tuple(rng.uniform(0.0, 0.5, array.shape)))


def evaluator_of(world: str, **kwargs: Any) -> Evaluator:
    return find_evaluator(World(world, kwargs))


def asked(policy: Any, world: str, **kwargs: Any) -> AskedPolicy:
    """Return a policy as a world of which nothing is known is handed it."""
    env = gym.make(world, **kwargs)
    return AskedPolicy(policy, env.observation_space, env.action_space)


# -- exactly ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [*ALL_WORLDS, f"{PRICING}@noisy", f"{SOFTMAX}@quantised", f"{LINEAR}@strong"])
def test_shipped_worlds_are_evaluated_exactly(env: str) -> None:
    world, kwargs = split_variant(env)
    problem = problem_of(world, **kwargs)
    policy, evaluator = some_policy(problem), evaluator_of(world, **kwargs)
    if isinstance(problem, PerformativeMDP):
        with torch.no_grad():
            value = float(exact.performative_value(problem, policy.array))
        gap = exact.stability_gap(problem, policy.array)
    else:
        value, gap = float(problem.performative_value(*policy.array)), problem.stability_gap(*policy.array)
    figures = evaluator.figures(policy)
    assert figures == {"performative_value": value, "performative_value_se": None, "stability_gap": gap}
    assert (evaluator.how, evaluator.gamma) == ("exact", problem.gamma)
    assert evaluator.uniform_value() == problem.value(problem.policies.uniform())
    np.testing.assert_array_equal(evaluator.array(policy), policy.array)


@pytest.mark.parametrize("env", ALL_WORLDS)
def test_the_best_value_is_that_of_the_best_policy_known(env: str) -> None:
    best = problem_of(env).best_known()
    assert evaluator_of(env).best_known_value() == best.value > evaluator_of(env).uniform_value()


# -- by play ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_an_environment_that_hides_what_it_knows_is_played_and_the_error_covers_the_truth(seed: int) -> None:
    problem, evaluator = problem_of(PRICING, **SMALL), evaluator_of("HiddenPricing-v0", **SMALL)
    assert (evaluator.how, evaluator.gamma) == ("played", problem.gamma)
    table = some_policy(problem)
    policy = asked(table.array, "HiddenPricing-v0", **SMALL)
    truth = problem.value(table)
    figures = evaluator.returns(policy, seed).figures()
    assert figures["n_episodes"] == 1000
    error = figures["discounted_return_se"]
    assert abs(figures["discounted_return_mean"] - truth) < 4.5 * error < 0.2 * truth
    assert evaluator.array(policy) is None


def test_along_a_training_fewer_episodes_are_played_always_the_same() -> None:
    problem, evaluator = problem_of(PRICING, **SMALL), evaluator_of("HiddenPricing-v0", **SMALL)
    table = some_policy(problem)
    policy = asked(table.array, "HiddenPricing-v0", **SMALL)
    figures = evaluator.figures(policy)
    assert figures == evaluator.figures(policy)
    assert figures["stability_gap"] is None
    value, error = figures["performative_value"], figures["performative_value_se"]
    assert value is not None
    assert error is not None
    assert abs(value - problem.value(table)) < 4.5 * error
    assert error > 2.0 * evaluator.returns(policy, 0).figures()["discounted_return_se"], "a tenth of the episodes"


def test_uniform_actions_are_played_where_their_value_is_not_known() -> None:
    problem, evaluator = problem_of(PRICING, **SMALL), evaluator_of("HiddenPricing-v0", **SMALL)
    uniform = asked(problem.policies.uniform().array, "HiddenPricing-v0", **SMALL)
    value, error = evaluator.uniform_value(), evaluator.figures(uniform)["performative_value_se"]
    assert value is not None
    assert error is not None
    assert abs(value - problem.value(problem.policies.uniform())) < 4.5 * error


def test_uniform_actions_fill_their_box() -> None:
    evaluator = evaluator_of("Boxed-v0")
    assert evaluator.gamma == DEFAULT_GAMMA
    # The mean of 100 actions that are uniform between 1 and 3.
    assert evaluator.uniform_value() == pytest.approx(2.0, abs=4.5 * np.sqrt(4.0 / 12.0 / 100))
    assert evaluator_of("Boxed-v0", high=np.inf).uniform_value() is None


def test_gaussian_policies_are_played_inside_of_the_box() -> None:
    evaluator = evaluator_of("Boxed-v0")
    policy = asked(lambda observation: (np.array([2.5]), np.array([0.1])), "Boxed-v0")
    figures = evaluator.returns(policy, 0).figures()
    assert abs(figures["discounted_return_mean"] - 2.5) < 4.5 * figures["discounted_return_se"] < 0.05
    beyond = asked(lambda observation: np.array([7.0]), "Boxed-v0")
    assert evaluator.figures(beyond)["performative_value"] == 3.0


def test_squashed_policies_are_played_in_the_range_of_the_actions() -> None:
    model = SAC("MlpPolicy", make_vec_env("Boxed-v0", 1), seed=0, device="cpu", buffer_size=10)
    evaluator = evaluator_of("Boxed-v0")
    expected, _ = gaussian_policy(model, np.zeros((1, 2), np.float32), 1)
    assert evaluator.figures(evaluator.read(model))["performative_value"] == pytest.approx(float(expected[0, 0]))
    assert 1.5 < float(expected[0, 0]) < 2.5


# -- the best value that was registered ------------------------------------------------------------------------------


def test_what_is_registered_as_best_counts_for_default_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    world = "HiddenPricing-v0"
    assert evaluator_of(world).best_known_value() is None
    monkeypatch.setitem(WORLDS, world, RegisteredWorld(world, optimum=12.5))
    assert evaluator_of(world).best_known_value() == 12.5
    assert evaluator_of(world, **SMALL).best_known_value() is None
    monkeypatch.setitem(WORLDS, SOFTMAX, RegisteredWorld(SOFTMAX, optimum=12.5))
    assert evaluator_of(SOFTMAX, n_states=3, instance_seed=17).best_known_value() is None


# -- worlds ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_deployed_to_is_refused() -> None:
    with pytest.raises(ValueError, match=r"env must be a performative world, which has deploy\(policy\), got"):
        evaluator_of("CartPole-v1")


def test_arguments_that_a_world_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match=r"env_kwargs must be arguments of Fair-v0, got \{'size': 3\}"):
        evaluator_of("Fair-v0", size=3)


# -- whole runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algo", "env"), [("ppo", "HiddenPricing-v0"), ("dqn", "Fair-v0"), ("sac", "Boxed-v0")])
def test_a_run_in_a_world_of_which_nothing_is_known_is_evaluated_by_play(algo: str, env: str, tmp_path: Path) -> None:
    run = plan_run(algo, env, 0, overrides=tiny_settings(algo), out=tmp_path, n_evals=2)
    result = execute(run)
    assert (result["evaluation"], result["stability_gap"]) == ("played", None)
    assert result["performative_value_se"] >= 0.0
    assert (result["steps"], result["deployments"], result["uses_response_map"]) == (64, 2, False)
    assert json.loads((run.folder / "result.json").read_text()) == result
    assert not (run.folder / "policy.npy").exists()
    rows = pd.read_csv(run.folder / "evaluations.csv", float_precision="round_trip")
    assert rows["timesteps"].tolist() == [0, 64]
    assert rows["stability_gap"].isna().all()
    for name in ("performative_value", "performative_value_se"):
        assert rows[name].iloc[-1] == result[name]
