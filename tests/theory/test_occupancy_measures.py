"""Statement 4: policies and occupancy measures are the same thing, and values are linear in the latter."""

import numpy as np
import pytest
from hypothesis import given
from scipy.optimize import linprog

from perf_envs import exact
from tests.theory.instances import examples, random_mdp, random_table, seeds


def measure(mdp, pi):
    """Return the occupancy measure ``mu(s, a) = d(s) pi(a|s)``, from the code under test."""
    return exact.occupancy(mdp.problem(), pi).numpy()[:, None] * pi


def two_policies(seed):
    mdp = random_mdp(seed)
    return mdp, random_table(mdp.r.shape, seed), random_table(mdp.r.shape, seed + 1, concentration=0.3)


def flow(mdp, mu):
    """Return what flows out of each state minus what flows in; zero for occupancy measures."""
    return mu.sum(-1) - (1 - mdp.gamma) * mdp.rho - mdp.gamma * np.einsum("sa,sat->t", mu, mdp.P)


@examples
@given(seeds)
def test_occupancy_measures_satisfy_the_flow_equations_and_give_the_policy_back(seed):
    mdp, pi, _ = two_policies(seed)
    mu = measure(mdp, pi)
    np.testing.assert_allclose(flow(mdp, mu), 0.0, atol=1e-12)
    np.testing.assert_allclose(mu / mu.sum(-1, keepdims=True), pi, rtol=1e-12)


@examples
@given(seeds)
def test_whatever_satisfies_the_flow_equations_is_the_occupancy_measure_of_its_policy(seed):
    mdp, pi, other = two_policies(seed)
    mixed = 0.3 * measure(mdp, pi) + 0.7 * measure(mdp, other)
    np.testing.assert_allclose(flow(mdp, mixed), 0.0, atol=1e-12)
    np.testing.assert_allclose(measure(mdp, mixed / mixed.sum(-1, keepdims=True)), mixed, atol=1e-12)


@examples
@given(seeds)
def test_the_value_is_linear_in_the_occupancy_measure_but_not_in_the_policy(seed):
    mdp, pi, other = two_policies(seed)
    mu, nu = measure(mdp, pi), measure(mdp, other)
    assert (mu * mdp.r).sum() / (1 - mdp.gamma) == pytest.approx(mdp.J(pi), rel=1e-11)
    mixed = 0.5 * (mu + nu)
    average = 0.5 * (mdp.J(pi) + mdp.J(other))
    assert mdp.J(mixed / mixed.sum(-1, keepdims=True)) == pytest.approx(average, rel=1e-11)
    assert mdp.J(0.5 * (pi + other)) != pytest.approx(average, rel=1e-9)


@examples
@given(seeds)
def test_the_largest_value_over_the_flow_polytope_is_that_of_the_optimal_policy(seed):
    mdp, _, _ = two_policies(seed)
    n_states, n_actions = mdp.r.shape
    outflow = np.kron(np.eye(n_states), np.ones(n_actions))
    constraints = outflow - mdp.gamma * mdp.P.reshape(n_states * n_actions, n_states).T
    program = linprog(-mdp.r.ravel(), A_eq=constraints, b_eq=(1 - mdp.gamma) * mdp.rho)
    _, values = exact.optimal_policy(mdp.problem().unshifted())
    assert -program.fun / (1 - mdp.gamma) == pytest.approx(float(mdp.rho @ values.numpy()), rel=1e-8)
