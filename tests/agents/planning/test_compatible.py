"""Natural steps on log-linear policies against tables, least squares and the true Fisher information."""

import numpy as np
import pytest
import torch

from agents.planning import natural_policy_gradient
from agents.planning.compatible import LogLinear
from perf_envs import exact
from tests.perf_envs.worlds import make_world, random_policy

pytestmark = pytest.mark.filterwarnings("ignore:natural_policy_gradient stopped before it converged:UserWarning")


def pemdp(seed, **settings):
    return make_world("SoftmaxPeMDP-v0", **{"n_states": 5, "n_actions": 3, "instance_seed": seed, **settings}).problem


def some_features(problem, size, seed=0):
    return np.random.default_rng(seed).standard_normal((problem.n_states, problem.n_actions, size))


def scores(features, pi):
    return features - np.einsum("sa,sak->sk", pi, features)[:, None]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_with_one_feature_per_state_and_action_it_is_the_tabular_method(alpha):
    problem = pemdp(0, kappa=2.0)
    settings = {"performative_coef": alpha, "n_iterations": 20, "initial_policy": random_policy(problem, 1)}
    one_hot = np.eye(15).reshape(5, 3, 15)
    tables = natural_policy_gradient(problem, **settings)
    features = natural_policy_gradient(problem, features=one_hot, **settings)
    np.testing.assert_allclose(features.policy, tables.policy, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_direction_is_the_least_squares_fit_of_the_advantages(alpha):
    problem = pemdp(1, kappa=2.0)
    pi, phi = random_policy(problem, 2), some_features(problem, 4)
    terms = exact.gradient_terms(problem, pi)
    gradient = terms.policy + alpha * terms.response
    found = LogLinear(torch.from_numpy(phi)).natural_direction(gradient, terms).numpy()
    occupancy = terms.occupancy.numpy()[:, None]
    root = np.sqrt(occupancy * pi)
    wanted, *_ = np.linalg.lstsq(
        (root[..., None] * scores(phi, pi)).reshape(-1, 4), (root * gradient.numpy() / occupancy).ravel(), rcond=None
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_the_step_follows_the_gradient_of_the_value_in_the_parameters():
    problem, start = pemdp(2), random_policy(pemdp(2), 3)
    phi = torch.from_numpy(some_features(problem, 4))
    theta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    pi = torch.softmax(torch.log(torch.from_numpy(start)) + phi @ theta, -1)
    (wanted,) = torch.autograd.grad(exact.performative_value(problem, pi), theta)
    terms = exact.gradient_terms(problem, start)
    gradient = LogLinear(phi).gradient(terms.policy + terms.response, torch.from_numpy(start))
    np.testing.assert_allclose(gradient, wanted, atol=1e-12)
    weights = terms.occupancy.numpy()[:, None] * start
    psi = scores(phi.numpy(), start)
    fisher = np.einsum("sa,sak,sal->kl", weights, psi, psi)
    moved = natural_policy_gradient(
        problem, features=phi, learning_rate=0.01, n_iterations=2, initial_policy=start
    ).policy
    theta_1 = 0.01 * np.linalg.solve(fisher, wanted.numpy())
    expected = torch.softmax(torch.log(torch.from_numpy(start)) + phi @ torch.from_numpy(theta_1), -1)
    np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_features_that_repeat_each_other_do_no_harm():
    problem = pemdp(3)
    phi = some_features(problem, 3)
    once = natural_policy_gradient(problem, features=phi, n_iterations=10).policy
    twice = natural_policy_gradient(problem, features=np.concatenate([phi, phi], -1), n_iterations=10).policy
    np.testing.assert_allclose(twice, once, atol=1e-8)


def test_it_converges_where_the_class_has_nothing_better():
    problem = pemdp(4, xi=-1.0)
    phi = torch.from_numpy(some_features(problem, 2))
    result = natural_policy_gradient(problem, features=phi, learning_rate=0.02, n_iterations=3000)
    assert result.converged
    # No policy of the class nearby is better.
    rng = np.random.default_rng(0)
    for _ in range(50):
        nearby = torch.softmax(torch.log(result.policy) + phi @ torch.from_numpy(1e-3 * rng.standard_normal(2)), -1)
        assert float(exact.performative_value(problem, nearby)) <= result.value + 1e-9
    assert natural_policy_gradient(problem, n_iterations=3000).value > result.value + 1e-3  # tables can do more


@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 4), (4, 3, 4), (5, 3, 0)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"features must have shape \(5, 3, K\), got"):
        natural_policy_gradient(pemdp(0), features=np.zeros(shape))


def test_features_have_to_be_finite():
    with pytest.raises(ValueError, match="features must be finite"):
        natural_policy_gradient(pemdp(0), features=np.full((5, 3, 2), np.nan))
