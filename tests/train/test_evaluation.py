"""What is played: returns of the right length, and errors that have every chance in them."""

import statistics
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy import stats

from perf_envs import Dynamics, LinearPricingProblem, PerformativeMDP, exact
from perf_envs.policies import GaussianPolicies, TablePolicies
from tests.worlds import ALL_WORLDS, TABULAR_WORLDS
from train import evaluation
from train.commands import describe
from train.evaluation import rollout_returns, standard_error
from train.evaluators import World, find_evaluator

GRID, PRICING, SOFTMAX = "PerformativeGridWorld-v0", "PerformativePricing-v0", "SoftmaxPeMDP-v0"

RANGE = {"price_low": 0.5, "price_high": 6.0, "gamma": 0.9}


def problem_of(env: str, **env_kwargs: Any) -> PerformativeMDP:
    problem = gym.make(env, **env_kwargs).unwrapped.problem  # type: ignore[attr-defined]
    assert isinstance(problem, PerformativeMDP)
    return problem


def some_table(problem: PerformativeMDP, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(problem.n_actions), size=problem.n_states)


def value_of(problem: PerformativeMDP, table: np.ndarray) -> float:
    with torch.no_grad():
        return float(exact.performative_value(problem, table))


def expected_in_steps(problem: PerformativeMDP, table: np.ndarray, n_steps: int) -> float:
    """Return what the first steps earn without discount, in the world that has answered: forward in time."""
    with torch.no_grad():
        dynamics = problem.response(table)
    P, r = (part.numpy() for part in dynamics.dense())
    states, total = problem.rho.numpy(), 0.0
    for _ in range(n_steps):
        pairs = states[:, None] * table
        total += float((pairs * r).sum())
        states = np.einsum("sa,sat->t", pairs, P)
    return total


# -- how long -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", TABULAR_WORLDS)
@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99])
def test_discounted_returns_agree_with_the_exact_value(env: str, gamma: float) -> None:
    problem = problem_of(env, gamma=gamma)
    table = some_table(problem)
    figures = rollout_returns(env, {"gamma": gamma}, table, seed=0, n_episodes=4000).figures()
    error, rest = figures["discounted_return_se"], figures["discounted_return_rest"]
    assert figures["discounted_return_mean"] == pytest.approx(value_of(problem, table), abs=4 * error + rest)
    assert rest <= 0.1 * error
    assert figures["n_episodes"] == 4000
    assert figures["max_episode_steps"] == ALL_WORLDS[env]


@pytest.mark.parametrize(("env", "limit"), [(SOFTMAX, 100), (SOFTMAX, 7), (GRID, 100), (GRID, 9)])
def test_plain_returns_are_those_of_episodes_with_their_limit(env: str, limit: int) -> None:
    problem = problem_of(env)
    table = some_table(problem)
    arguments = {} if limit == ALL_WORLDS[env] else {"max_episode_steps": limit}
    figures = rollout_returns(env, arguments, table, seed=0, n_episodes=4000).figures()
    expected = expected_in_steps(problem, table, limit)
    assert figures["rollout_return_mean"] == pytest.approx(expected, abs=4 * figures["rollout_return_se"])
    assert figures["max_episode_steps"] == limit


def test_the_step_limit_does_not_touch_discounted_returns() -> None:
    table = some_table(problem_of(SOFTMAX))
    short, long = (
        rollout_returns(SOFTMAX, {"max_episode_steps": limit}, table, seed=0).discounted for limit in (3, 60)
    )
    np.testing.assert_array_equal(short, long)


def test_who_is_through_earns_no_more() -> None:
    problem = problem_of(GRID, gamma=0.99)
    table, _ = exact.optimal_policy(problem.unshifted())  # walks to the goal: most episodes are over soon
    returns = rollout_returns(GRID, {"gamma": 0.99}, table.numpy(), seed=0, n_episodes=4000)
    error = returns.figures()["discounted_return_se"]
    assert returns.discounted.mean() == pytest.approx(value_of(problem, table.numpy()), abs=4 * error)
    assert error < 0.02
    # The goal pays once, and nothing else pays more than 0: two goals would be seen in the best of the episodes.
    assert returns.plain.max() <= float(problem.unshifted().rewards.max()) + 1e-12


def test_what_is_cut_before_the_discount_ends_is_bounded_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_STEPS", 40)
    problem = problem_of(SOFTMAX, gamma=0.99)
    table = some_table(problem)
    figures = rollout_returns(SOFTMAX, {"gamma": 0.99, "max_episode_steps": 5}, table, seed=0).figures()
    missing = value_of(problem, table) - figures["discounted_return_mean"]
    largest = float(problem.response(table).rewards.abs().max())
    assert figures["discounted_return_rest"] == pytest.approx(0.99**40 * largest / 0.01)
    assert 0.1 * figures["discounted_return_rest"] < missing < figures["discounted_return_rest"]
    assert f"cut: up to {figures['discounted_return_rest']:.2g} is missing" in describe(in_full(figures), None)


def test_an_episode_that_never_ends_has_no_plain_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_STEPS", 200)
    figures = rollout_returns(SOFTMAX, {"max_episode_steps": None}, some_table(problem_of(SOFTMAX)), seed=0).figures()
    assert figures["rollout_return_mean"] is figures["rollout_return_se"] is None
    assert figures["discounted_return_mean"] > 0.0
    assert "return of an episode  unknown" in describe(in_full(figures), None)


def test_a_run_says_what_its_returns_are_of() -> None:
    table = some_table(problem_of(SOFTMAX))
    said = describe(in_full(rollout_returns(SOFTMAX, {}, table, seed=0, n_episodes=30).figures()), None)
    assert "(played, 30 episodes, standard error)" in said
    assert "(undiscounted, at most 100 steps)" in said
    noisy = {"response_wrapper": "noisy", "horizon": 2, "inventory": 1}
    random = rollout_returns(PRICING, noisy, some_table(problem_of(PRICING, **noisy)), seed=0)
    said = describe(in_full(random.figures()), None)
    assert "(played, 1000 episodes over 50 deployments, standard error)" in said
    assert "(undiscounted, to its end)" in said


def in_full(figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures of play as a whole result."""
    rest = dict.fromkeys(("performative_value", "uniform_value", "stability_gap", "seconds"), 1.0)
    return {
        "label": "A",
        "env": "B",
        "seed": 0,
        "steps": 1,
        "deployments": 1,
        "performative_value_se": None,
        **rest,
        **figures,
    }


# -- how sure -------------------------------------------------------------------------------------------------------


def test_the_standard_error_is_that_of_independent_episodes_or_of_deployments() -> None:
    one = [1.0, 2.0, 4.0, 8.0]
    assert standard_error(np.array([one])) == pytest.approx(statistics.stdev(one) / 4**0.5)
    several = [[1.0, 3.0], [5.0, 5.0], [6.0, 10.0]]
    means = [statistics.fmean(episodes) for episodes in several]
    assert standard_error(np.array(several)) == pytest.approx(statistics.stdev(means) / 3**0.5)


@pytest.mark.parametrize(
    ("env", "env_kwargs"),
    [
        (PRICING, {"horizon": 4, "inventory": 2, "response_wrapper": {"name": "noisy", "noise": 1.5}}),
        (SOFTMAX, {"gamma": 0.5, "n_states": 3}),
        (GRID, {"gamma": 0.5, "n_followers": 1}),
    ],
    ids=["random answers", "no random answers", "episodes that end"],
)
def test_reported_errors_are_the_spread_of_the_whole_experiment(
    env: str, env_kwargs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "N_DEPLOYMENTS", 5)
    table = some_table(problem_of(env, **env_kwargs))
    experiments = [rollout_returns(env, env_kwargs, table, seed, n_episodes=40).figures() for seed in range(150)]
    n_independent = experiments[0]["played_deployments"] if "response_wrapper" in env_kwargs else 40
    for name in ("discounted_return", "rollout_return"):
        means = np.array([figures[f"{name}_mean"] for figures in experiments])
        errors = np.array([figures[f"{name}_se"] for figures in experiments])
        ratio = means.var(ddof=1) / np.mean(errors**2)
        degrees = (len(means) - 1, len(means) * (n_independent - 1))
        assert stats.f.ppf(1e-5, *degrees) < ratio < stats.f.isf(1e-5, *degrees)


def test_a_world_that_answers_at_random_is_asked_anew_for_every_deployment() -> None:
    kwargs = {"response_wrapper": {"name": "noisy", "noise": 5.0}, "horizon": 3, "inventory": 3}
    table = some_table(problem_of(PRICING, **kwargs))
    returns = rollout_returns(PRICING, kwargs, table, seed=0, n_episodes=4001)
    assert returns.plain.shape == returns.discounted.shape == (50, 81)
    within, between = returns.plain.var(axis=1, ddof=1).mean() / 81, returns.plain.mean(axis=1).var(ddof=1)
    assert between > 3 * within
    assert rollout_returns(PRICING, {}, np.full((81, 8), 1 / 8), seed=0, n_episodes=30).plain.shape == (1, 30)


def test_episodes_are_played_in_the_world_that_has_answered_in_full() -> None:
    table = np.eye(8)[np.zeros(81, dtype=int)]  # always the lowest price: demand soars
    gradual = rollout_returns(PRICING, {"adaptation_rate": 0.01}, table, seed=0)
    at_once = rollout_returns(PRICING, {}, table, seed=0)
    np.testing.assert_array_equal(gradual.plain, at_once.plain)


def test_playing_repeats_under_a_seed() -> None:
    table = np.full((81, 8), 1 / 8)
    for kwargs in ({}, {"response_wrapper": "noisy"}):
        first, again, other = (rollout_returns(PRICING, kwargs, table, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first.discounted, again.discounted)
        assert (first.discounted != other.discounted).any()


def test_another_seed_plays_other_actions() -> None:
    certain = {"demand_std": 0.0, "horizon": 3}  # nothing but the actions is left to chance
    policy = np.stack([np.zeros((3, 1)), np.full((3, 1), 0.5)])
    first, other = (rollout_returns("LinearPricing-v0", certain, policy, seed, n_episodes=5).plain for seed in (0, 1))
    assert (first != other).all()


# -- evaluators -----------------------------------------------------------------------------------------------------


def test_no_best_value_is_made_up_where_no_optimum_is_known() -> None:
    evaluator = find_evaluator(World(SOFTMAX, {"n_states": 3, "instance_seed": 17}))
    assert evaluator.how == "exact"
    assert evaluator.best_known_value() is None
    figures = evaluator.figures(np.full((3, 4), 0.25))
    assert figures["performative_value"] == evaluator.uniform_value()
    assert figures["performative_value_se"] is None


def test_tables_are_played_with_their_probabilities() -> None:
    table = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    policies = TablePolicies(2, 3)
    n = 60_000
    for state in (0, 1):
        actions = policies.sample(policies.read(table), np.full(n, state), np.random.default_rng(0))
        shares = np.bincount(actions, minlength=3) / n
        np.testing.assert_allclose(shares, table[state], atol=5 * 0.5 / n**0.5)


def test_gaussian_policies_are_played_with_their_means_and_deviations() -> None:
    mean = np.array([[0.0, 3.0], [-2.0, 0.5]])
    std = np.array([[0.1, 0.0], [2.0, 0.5]])
    policies = GaussianPolicies(np.zeros((2, 1)), 2)
    n = 40_000
    for period in (0, 1):
        actions = policies.sample(policies.read((mean, std)), np.full(n, period), np.random.default_rng(0))
        assert actions.shape == (n, 2)
        np.testing.assert_array_less(np.abs(actions.mean(0) - mean[period]), 5 * std[period] / n**0.5 + 1e-12)
        np.testing.assert_allclose(actions.std(0), std[period], rtol=5 / (2 * n) ** 0.5)
        if std[period].all():
            assert abs(np.corrcoef(actions.T)[0, 1]) < 5 / n**0.5


def test_no_step_earns_more_than_the_largest_reward_on_average() -> None:
    costly = Dynamics.from_dense(torch.ones(1, 2, 1, dtype=torch.float64), torch.tensor([[-3.0, 1.0]]).double())
    assert PerformativeMDP(lambda pi: costly, [1.0], 0.5, n_actions=2).reward_range(costly) == (-3.0, 1.0)
    market = LinearPricingProblem([4.0, 1.0], [1.0, 3.0], n_products=2, horizon=2, **RANGE)
    for level in (-1.0, 0.0, 1.0):
        answer = market.response(np.full((2, 2), level), np.zeros((2, 2)))
        corners = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)], dtype=torch.float64)
        rewards = market.expected_rewards(answer, corners)
        assert market.reward_range(answer) == pytest.approx((float(rewards.min()), float(rewards.max())))
