import gymnasium as gym
import numpy as np
import pytest
import torch

from perf_envs import WORLDS, exact
from train.evaluation import play
from train.judges import TabularJudge


@pytest.mark.parametrize("env", WORLDS)
def test_played_returns_agree_with_the_exact_value(env: str) -> None:
    problem = gym.make(env).unwrapped.problem
    table = np.random.default_rng(0).dirichlet(np.ones(problem.n_actions), size=problem.n_states)
    figures = play(env, {}, table, seed=0, n_episodes=4000).figures()
    with torch.no_grad():
        value = float(exact.performative_value(problem, table))
    # SoftmaxPeMDP and the grid are cut at 100 steps: 0.9^100 of the value is missing.
    assert figures["discounted_return_mean"] == pytest.approx(value, abs=4 * figures["discounted_return_se"] + 1e-4)
    assert figures["n_episodes"] == 4000


def test_episodes_are_played_in_the_world_that_has_answered_in_full() -> None:
    table = np.eye(8)[np.zeros(81, dtype=int)]  # always the lowest price: demand soars
    gradual = play("PerformativePricing-v0", {"adaptation_rate": 0.01}, table, seed=0)
    at_once = play("PerformativePricing-v0", {}, table, seed=0)
    np.testing.assert_array_equal(gradual.plain, at_once.plain)


def test_playing_repeats_under_a_seed() -> None:
    table = np.full((81, 8), 1 / 8)
    first, again, other = (play("PerformativePricing-v0", {}, table, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.discounted, again.discounted)
    assert (first.discounted != other.discounted).any()


def test_optimality_gap_is_missing_where_no_optimum_is_known() -> None:
    problem = gym.make("SoftmaxPeMDP-v0", n_states=3, instance_seed=17).unwrapped.problem
    judge, table = TabularJudge(problem), np.full((3, 4), 0.25)
    assert judge.best_known_value() is None
    assert judge.figures(table, None)["optimality_gap"] is None
    figures = judge.figures(table, 100.0)
    assert figures["performative_value"] == judge.uniform_value()
    assert figures["optimality_gap"] == pytest.approx(100.0 - judge.uniform_value())
