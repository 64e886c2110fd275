"""Conservative policy iteration (its lower bound is tested in tests/theory)."""

import numpy as np
import pytest

from agents.planning import conservative_policy_iteration
from perf_envs import exact
from tests.perf_envs.worlds import make_world, random_policy


def pemdp(seed, **settings):
    return make_world("SoftmaxPeMDP-v0", **{"n_states": 5, "n_actions": 3, "instance_seed": seed, **settings}).problem


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore:conservative_policy_iteration stopped before it converged:UserWarning")
def test_the_first_iterate_is_a_mixture_of_the_start_and_one_deterministic_policy(alpha):
    problem = pemdp(0, kappa=2.0, xi=-1.0)
    start = random_policy(problem, 0)
    result = conservative_policy_iteration(problem, performative_coef=alpha, n_iterations=1, initial_policy=start)
    moved = result.policy.numpy() - start
    terms = exact.gradient_terms(problem, start)
    greedy = np.eye(3)[(terms.policy + alpha * terms.response).argmax(-1)]
    share = float((moved * (greedy - start)).sum() / ((greedy - start) ** 2).sum())
    assert 0 < share <= 1
    np.testing.assert_allclose(moved, share * (greedy - start), atol=1e-12)


def test_it_starts_from_the_initial_policy_even_a_deterministic_one():
    problem = pemdp(1, kappa=0.0, xi=0.0)
    start = np.eye(3)[[0, 1, 2, 0, 1]]
    result = conservative_policy_iteration(problem, initial_policy=start)
    assert float(result.history[0]) == pytest.approx(float(exact.performative_value(problem, start)), rel=1e-12)
    assert result.converged
    assert result.value > float(result.history[0])


@pytest.mark.parametrize("seed", range(3))
def test_the_myopic_method_ends_at_a_stable_policy_where_habits_pay(seed):
    problem = pemdp(seed, xi=0.5)
    result = conservative_policy_iteration(problem, performative_coef=0.0)
    assert result.converged
    assert exact.stability_gap(problem, result.policy) < 1e-5


def test_the_result_is_consistent():
    problem = pemdp(3)
    result = conservative_policy_iteration(problem)
    assert result.method == "conservative_policy_iteration"
    assert result.n_iter == len(result.history)
    assert result.value == pytest.approx(float(exact.performative_value(problem, result.policy)), rel=1e-12)
    assert float(result.history[-1]) == pytest.approx(result.value, rel=1e-12)
