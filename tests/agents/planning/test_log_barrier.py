"""Ascent on the log barrier: what it climbs, and when it says that it has converged."""

import numpy as np
import pytest
import torch

from agents.planning import log_barrier
from perf_envs import exact
from tests.perf_envs.worlds import make_world, random_policy


def pemdp(seed, **settings):
    return make_world("SoftmaxPeMDP-v0", **{"n_states": 5, "n_actions": 3, "instance_seed": seed, **settings}).problem


def barrier_gradient(problem, pi, barrier, deployed_weight):
    """Return the gradient of the barrier objective with respect to the logits, by automatic differentiation."""
    theta = torch.log(pi).requires_grad_()
    table = torch.softmax(theta, -1)
    value = exact.decoupled_value(problem, table, pi + deployed_weight * (table - pi))
    objective = value + barrier / pi.numel() * torch.log(table).sum()
    return torch.autograd.grad(objective, theta)[0]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("barrier", [0.1, 0.01])
@pytest.mark.parametrize("seed", range(3))
def test_it_has_converged_where_the_gradient_of_the_barrier_objective_is_as_small_as_the_theorem_asks(
    seed, barrier, alpha
):
    problem = pemdp(seed)
    result = log_barrier(problem, barrier=barrier, performative_coef=alpha)
    assert result.converged
    length = float(barrier_gradient(problem, result.policy, barrier, alpha).norm())
    assert length == pytest.approx(result.gap, rel=1e-6)
    assert length <= barrier / (2 * 5 * 3)


@pytest.mark.filterwarnings("ignore:log_barrier stopped before it converged:UserWarning")
def test_a_fixed_step_follows_the_barrier_objective():
    problem = pemdp(0)
    pi = torch.from_numpy(random_policy(problem, 0))
    result = log_barrier(problem, barrier=0.5, step="fixed", learning_rate=0.3, n_iterations=2, initial_policy=pi)
    moved = torch.log(pi) + 0.3 * barrier_gradient(problem, pi, 0.5, 1.0)
    np.testing.assert_allclose(result.policy, torch.softmax(moved, -1), atol=1e-12)


def test_a_stronger_barrier_keeps_every_action_in_play_at_the_price_of_value():
    problem = pemdp(1, kappa=0.0, xi=0.0)
    results = [log_barrier(problem, barrier=barrier, n_iterations=3000) for barrier in (10.0, 0.1, 0.001)]
    smallest = [float(result.policy.min()) for result in results]
    values = [result.value for result in results]
    assert smallest[0] > 0.1 > smallest[1] > smallest[2] > 0
    assert values[0] < values[1] < values[2]


def test_a_tighter_tolerance_comes_closer():
    problem = pemdp(2)
    gaps = [log_barrier(problem, barrier=0.1, tolerance=tolerance).gap for tolerance in (1.0, 0.01)]
    assert gaps[1] <= 0.01 * 0.1 / (2 * 5 * 3) < gaps[0]


@pytest.mark.filterwarnings("ignore:log_barrier stopped before it converged:UserWarning")
def test_the_default_barrier_serves_the_registered_worlds():
    problem = make_world("SoftmaxPeMDP-v0").problem
    result = log_barrier(problem)
    assert result.converged
    assert result.method == "log_barrier"
    assert len(result.history) == result.n_iter
