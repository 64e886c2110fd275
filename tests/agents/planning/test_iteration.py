"""Dynamic programming at fixed dynamics against linear programming, and redeployed in worlds that answer."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from agents.planning import policy_iteration, value_iteration
from perf_envs import Dynamics, PerformativeMDP, exact
from tests.perf_envs.worlds import IDS, dense, make_world, random_policy

methods = pytest.mark.parametrize("method", [policy_iteration, value_iteration], ids=lambda method: method.__name__)
unfinished = pytest.mark.filterwarnings(r"ignore:\w+ stopped before it converged:UserWarning")


def optimal_value(dynamics):
    """Return the optimal value by the linear program over values: min rho V with V >= r + gamma P V."""
    P, r = dense(dynamics)
    n_states, n_actions = r.shape
    A = np.repeat(np.eye(n_states), n_actions, axis=0) - dynamics.gamma * P.reshape(-1, n_states)
    solution = linprog(dynamics.rho.numpy(), A_ub=-A, b_ub=-r.ravel(), bounds=(None, None))
    return solution.fun


@methods
@pytest.mark.parametrize("world_id", IDS)
def test_in_a_world_that_stands_still_it_ends_at_the_optimum(method, world_id):
    still = make_world(world_id).problem.unshifted()
    result = method(PerformativeMDP.fixed(still))
    assert result.converged
    assert result.value == pytest.approx(optimal_value(still), rel=1e-6)
    assert result.method == method.__name__
    assert float(result.history[-1]) == result.value


@methods
def test_states_off_the_path_of_the_first_policy_are_improved_too(method):
    # From state 0 action 0 stays and pays 1; action 1 leads to state 1, where the start policy forgoes a fortune.
    P = np.zeros((2, 2, 2))
    P[0, 0, 0] = P[0, 1, 1] = P[1, :, 1] = 1.0
    rewards = [[1.0, 0.0], [0.0, 100.0]]
    dynamics = Dynamics.from_dense(P, rewards, gamma=0.9, rho=torch.tensor([1.0, 0.0], dtype=torch.float64))
    result = method(PerformativeMDP.fixed(dynamics), initial_policy=[[1.0, 0.0], [1.0, 0.0]])
    assert result.converged
    assert result.value == pytest.approx(900.0)


@methods
def test_the_myopic_method_ends_at_a_stable_policy(method):
    problem = make_world("PerformativeGridWorld-v0").problem
    result = method(problem, performative_coef=0.0)
    assert result.converged
    assert exact.stability_gap(problem, result.policy) <= 1e-6
    assert result.value == pytest.approx(
        float(exact.performative_value(problem, exact.stable_policy(problem).policy)), rel=1e-9
    )


@methods
def test_where_best_responses_go_round_it_says_so_and_returns_the_best_policy_met(method):
    problem = make_world("PerformativePricing-v0").problem
    with pytest.warns(UserWarning, match=f"{method.__name__} stopped before it converged"):
        result = method(problem, performative_coef=0.0, n_iterations=50)
    assert not result.converged
    assert result.value == float(result.history.max())
    assert result.value == pytest.approx(float(exact.performative_value(problem, result.policy)), rel=1e-12)


def test_policy_iteration_stops_when_a_policy_comes_back():
    problem = make_world("PerformativePricing-v0").problem
    with pytest.warns(UserWarning, match="policy_iteration"):
        result = policy_iteration(problem, performative_coef=0.0)
    assert result.n_iter < 20


@methods
@unfinished
def test_the_first_improvement_is_greedy_for_the_natural_performative_gradient(method):
    problem = make_world("SoftmaxPeMDP-v0", n_states=5, n_actions=3, kappa=2.0, xi=-3.0).problem
    start = random_policy(problem, 2)
    terms = exact.gradient_terms(problem, start)
    natural = (terms.policy + terms.response) / terms.occupancy[:, None]
    result = method(problem, initial_policy=start, n_iterations=2)
    moved = np.eye(3)[natural.argmax(-1)]
    assert (natural.argmax(-1) != terms.policy.argmax(-1)).any()  # or it might as well be the myopic method
    J = float(exact.performative_value(problem, moved))
    assert float(result.history[1]) == pytest.approx(J, rel=1e-12)


def test_fixed_dynamics_need_discount_and_start():
    still = make_world("SoftmaxPeMDP-v0").problem.unshifted()
    bare = Dynamics(still.successors, still.probs, still.rewards)
    with pytest.raises(ValueError, match="dynamics must carry gamma and rho"):
        PerformativeMDP.fixed(bare)
    fixed = PerformativeMDP.fixed(still)
    pi = random_policy(fixed, 0)
    assert fixed.response(pi).rewards == pytest.approx(still.rewards)
    gradient = exact.performative_gradient(fixed, np.log(pi))
    assert gradient == pytest.approx(exact.performative_gradient(fixed, np.log(pi), 0.0))
