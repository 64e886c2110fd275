"""The entropy of a policy along its way, which ends where an episode does."""

import numpy as np
import pytest
import torch

from perf_envs import exact
from tests.perf_envs.worlds import IDS, dense, make_world, random_policy


def entropy_along_the_way(problem, pi):
    """Add up ``gamma^t Pr(s_t = s) H(pi(.|s))`` over states in which there is still something to decide."""
    dynamics = problem.response(pi)
    P, _ = dense(dynamics)
    chain = np.einsum("sa,sat->st", pi, P)
    nats = np.array([-sum(p * np.log(p) for p in row) for row in pi])
    nats[dynamics.absorbing.numpy()] = 0.0
    share, total, weight = problem.rho.numpy(), 0.0, 1.0
    while weight > 1e-12:
        total += weight * share @ nats
        share, weight = share @ chain, weight * problem.gamma
    return total


@pytest.mark.parametrize("world_id", IDS)
def test_the_discounted_entropy_is_the_sum_along_the_way(world_id):
    problem = make_world(world_id).problem
    pi = random_policy(problem, 0)
    for entropy_coef in (0.0, 0.3):
        evaluation = exact.evaluate(problem.response(pi), torch.from_numpy(pi), entropy_coef)
        expected = entropy_along_the_way(problem, pi)
        assert evaluation.discounted_entropy(problem.rho) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("world_id", IDS)
def test_the_regularised_value_is_the_value_plus_the_weighted_entropy(world_id):
    problem = make_world(world_id).problem
    pi = random_policy(problem, 1)
    plain, soft = (exact.performative_value(problem, pi, weight).item() for weight in (0.0, 0.7))
    assert soft - plain == pytest.approx(0.7 * entropy_along_the_way(problem, pi), rel=1e-8)


@pytest.mark.parametrize("world_id", ["PerformativeGridWorld-v0", "PerformativePricing-v0"])
def test_an_end_has_neither_value_nor_advantage_whatever_is_done_there(world_id):
    problem = make_world(world_id).problem
    pi = random_policy(problem, 2)
    absorbing = problem.unshifted().absorbing
    assert bool(absorbing.any())
    np.testing.assert_allclose(exact.state_values(problem, pi, 0.7)[absorbing], 0.0, atol=1e-12)
    np.testing.assert_allclose(exact.advantages(problem, pi, 0.7)[absorbing], 0.0, atol=1e-12)
    other = pi.copy()
    other[absorbing.numpy()] = np.eye(problem.n_actions)[0]
    still = problem.unshifted()
    torch.testing.assert_close(exact.state_values(still, pi, 0.7), exact.state_values(still, other, 0.7))
