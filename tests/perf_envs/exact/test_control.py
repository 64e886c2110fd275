"""Optimal control of fixed dynamics, stability and optimality gaps."""

from itertools import product

import numpy as np
import pytest
import torch

from perf_envs import exact
from perf_envs.exact import optima
from perf_envs.registration import split_variant
from tests.perf_envs.worlds import IDS, dense, make_world, random_policy


def tiny_worlds():
    for seed in range(8):
        yield make_world("SoftmaxPeMDP-v0", n_states=3, n_actions=3, instance_seed=seed, gamma=0.8).problem
    yield make_world("PerformativeGridWorld-v0", grid=["..", ".G"], n_followers=2).problem
    yield make_world("PerformativePricing-v0", horizon=2, inventory=2, n_prices=3).problem


def best_deterministic_value(problem, dynamics):
    """Return the best start value over all deterministic policies, one by one."""
    P, r = dense(dynamics)
    n_states, n_actions = r.shape
    states, best = np.arange(n_states), -np.inf
    for actions in product(range(n_actions), repeat=n_states):
        chain, rewards = P[states, actions], r[states, actions]
        values = np.linalg.solve(np.eye(n_states) - problem.gamma * chain, rewards)
        best = max(best, float(problem.rho.numpy() @ values))
    return best


@pytest.mark.parametrize("problem", list(tiny_worlds()))
@pytest.mark.parametrize("concentration", [0.05, 1.0])
def test_the_stability_gap_is_that_of_brute_force(problem, concentration):
    pi = random_policy(problem, 0, concentration)
    dynamics = problem.response(pi)
    value = float(problem.rho @ exact.state_values(dynamics, pi))
    gap = best_deterministic_value(problem, dynamics) - value
    assert exact.stability_gap(problem, pi) == pytest.approx(gap, abs=1e-10)
    assert gap > 0


@pytest.mark.parametrize("problem", list(tiny_worlds()))
def test_the_optimal_policy_is_deterministic_and_attains_the_brute_force_optimum(problem):
    dynamics = problem.unshifted()
    for start in (None, random_policy(problem, 1)):
        policy, values = exact.optimal_policy(dynamics, start)
        assert set(policy.unique().tolist()) <= {0.0, 1.0}
        torch.testing.assert_close(exact.state_values(dynamics, policy), values, rtol=1e-10, atol=1e-10)
        best = best_deterministic_value(problem, dynamics)
        assert float(problem.rho @ values) == pytest.approx(best, abs=1e-10)


@pytest.mark.parametrize("world_id", IDS)
def test_optimal_values_satisfy_the_optimality_equation(world_id):
    problem = make_world(world_id).problem
    dynamics = problem.response(random_policy(problem, 0))
    _, values = exact.optimal_policy(dynamics)
    P, r = dense(dynamics)
    np.testing.assert_allclose((r + problem.gamma * P @ values.numpy()).max(-1), values, atol=1e-9)


def test_a_policy_that_is_best_in_the_world_it_brings_about_has_no_stability_gap():
    problem = make_world("SoftmaxPeMDP-v0", kappa=0.0, xi=0.0).problem
    policy, _ = exact.optimal_policy(problem.unshifted())
    assert exact.stability_gap(problem, policy) == 0.0
    worse = 0.9 * policy + 0.1 / problem.n_actions
    assert exact.stability_gap(problem, worse) > 1e-3


def test_equally_good_actions_do_not_keep_the_iteration_from_ending():
    problem = make_world("PerformativeGridWorld-v0", grid=np.diag([0.0, 0.0, 0.0, 1.0])).problem
    pi = random_policy(problem, 0)
    assert exact.stability_gap(problem, pi) > 0.0
    assert exact.stability_gap(problem, np.full((16, 4), 0.25)) > 0.0


def test_the_optimality_gap_is_measured_from_the_given_value():
    problem = make_world("SoftmaxPeMDP-v0", instance_seed=99).problem
    pi = random_policy(problem, 0)
    value = float(exact.performative_value(problem, pi))
    assert exact.optimality_gap(problem, pi, best_value=value + 0.25) == pytest.approx(0.25, abs=1e-12)
    assert exact.optimality_gap(problem, pi, best_value=value - 0.25) == pytest.approx(-0.25, abs=1e-12)


@pytest.mark.parametrize(
    ("world_id", "settings"),
    [
        ("SoftmaxPeMDP-v0", {"instance_seed": 99}),
        ("SoftmaxPeMDP-v0", {"n_states": 3}),
        ("PerformativeGridWorld-v0", {"beta": 9.9}),
        ("PerformativePricing-v0", {"shift": 2.9}),
    ],
)
def test_an_unknown_world_has_no_optimality_gap_of_its_own(world_id, settings):
    problem = make_world(world_id, **settings).problem
    with pytest.raises(ValueError, match="no best known policy is shipped for this world"):
        exact.optimality_gap(problem, random_policy(problem, 0))


@pytest.mark.parametrize("world_id", sorted(path.stem for path in optima.DATA.glob("*.npz")))
def test_a_shipped_optimum_belongs_to_its_world_and_cannot_be_improved_by_small_steps(world_id):
    env_id, arguments = split_variant(world_id)
    problem = make_world(env_id, **arguments).problem
    best = exact.best_known(problem)
    assert best.value == pytest.approx(float(exact.performative_value(problem, best.policy)), rel=1e-12)
    assert exact.optimality_gap(problem, best.policy) == pytest.approx(0.0, abs=1e-10)
    for seed in range(20):
        other = random_policy(problem, seed)
        assert exact.optimality_gap(problem, other) > 0.0
        for step in (1e-3, 1e-2):
            nearby = (1 - step) * best.policy.numpy() + step * other
            assert exact.optimality_gap(problem, nearby) > -1e-9


@pytest.mark.parametrize(
    "settings", [{}, {"n_products": 3, "shift": [1.0, 2.0, 9.0], "horizon": 4}, {"price_high": 3.0}]
)
def test_the_optimum_of_linear_pricing_is_known_whatever_its_arguments(settings):
    problem = make_world("LinearPricing-v0", **settings).problem
    best = exact.best_known(problem)
    spread = torch.zeros_like(best.policy)
    assert float(problem.performative_value(best.policy, spread)) == pytest.approx(best.value, rel=1e-12)
    # No constant price does better: a dense grid, product by product.
    prices = np.linspace(problem.price_low, problem.price_high, 2001)
    demand = problem.base_demand.numpy()[:, None] - problem.shift.numpy()[:, None] * prices
    seasons = float(sum(problem.gamma**period for period in range(problem.horizon)))
    grid = seasons * float((prices * demand).max(-1).sum())
    assert grid <= best.value + 1e-9
    assert grid == pytest.approx(best.value, rel=1e-5)


@pytest.mark.parametrize("call", [exact.best_known, exact.optimal_policy, exact.stable_policy])
def test_what_is_no_problem_is_refused(call):
    with pytest.raises(ValueError, match=r"^(problem|dynamics) must be .*got PerformativePricing$"):
        call(make_world("PerformativePricing-v0"))


@pytest.mark.usefixtures("empty_shelf")
def test_a_saved_policy_is_known_again_in_the_same_world_only():
    def problem(seed):
        return make_world("SoftmaxPeMDP-v0", instance_seed=seed).problem

    pi = random_policy(problem(7), 0)
    optima.save_best_known("some-world", problem(7), torch.from_numpy(pi), "the command")
    known = exact.best_known(problem(7))
    np.testing.assert_array_equal(known.policy, pi)
    assert known.value == pytest.approx(float(exact.performative_value(problem(7), pi)), rel=1e-12)
    assert known.command == "the command"
    assert exact.optimality_gap(problem(7), pi) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="no best known policy"):
        exact.best_known(problem(8))


@pytest.mark.parametrize("world_id", IDS)
def test_the_iteration_ends_from_any_policy_of_any_answer(world_id):
    problem = make_world(world_id).problem
    for seed in range(60):
        pi = random_policy(problem, seed, concentration=(0.02, 0.3, 5.0)[seed % 3])
        dynamics = problem.response(pi).detach()
        policy, values = (each.numpy() for each in exact.optimal_policy(dynamics, start=torch.as_tensor(pi)))
        P, r = dense(dynamics)
        backed_up = (r + problem.gamma * P @ values).max(-1)
        np.testing.assert_allclose(values, backed_up, atol=1e-10 * max(1.0, np.abs(values).max()))
        assert set(np.unique(policy)) == {0.0, 1.0}
