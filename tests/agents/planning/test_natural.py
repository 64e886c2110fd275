"""Natural policy gradient: steps, trust region, and what they are good for."""

import numpy as np
import pytest
import torch

from agents.planning import gradient_ascent, natural_policy_gradient
from perf_envs import exact
from perf_envs.worlds.theory import nonconcavity_witness
from tests.perf_envs.worlds import make_world, random_policy

unfinished = pytest.mark.filterwarnings(r"ignore:\w+ stopped before it converged:UserWarning")


def pemdp(seed, **settings):
    return make_world("SoftmaxPeMDP-v0", **{"n_states": 4, "n_actions": 3, "instance_seed": seed, **settings}).problem


@unfinished
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_step_is_the_gradient_over_occupancy_and_probability(alpha):
    problem = pemdp(0, kappa=2.0)
    pi = torch.from_numpy(random_policy(problem, 0))
    gradient = exact.performative_gradient(problem, torch.log(pi), alpha)
    moved = torch.log(pi) + 0.05 * gradient / (exact.occupancy(problem, pi)[:, None] * pi)
    result = natural_policy_gradient(
        problem, performative_coef=alpha, learning_rate=0.05, n_iterations=2, initial_policy=pi
    )
    np.testing.assert_allclose(result.policy, torch.softmax(moved, -1), atol=1e-12)


@unfinished
def test_the_trust_region_bounds_the_divergence_of_a_step():
    problem = pemdp(1)
    start = torch.full((4, 3), 1 / 3, dtype=torch.float64)
    free = natural_policy_gradient(problem, learning_rate=1.0, n_iterations=2).policy
    bounded = natural_policy_gradient(problem, learning_rate=1.0, n_iterations=2, max_divergence=1e-6).policy
    loose = natural_policy_gradient(problem, learning_rate=1.0, n_iterations=2, max_divergence=1e6).policy

    def divergence(moved):
        return float(exact.occupancy(problem, start) @ (start * (start.log() - moved.log())).sum(-1))

    assert divergence(bounded) == pytest.approx(1e-6, rel=1e-2)
    assert divergence(free) > 0.1
    assert torch.equal(free, loose)


@pytest.mark.parametrize("seed", range(5))
def test_at_fixed_dynamics_it_ends_at_the_optimal_policy(seed):
    problem = pemdp(seed, kappa=0.0, xi=0.0)
    result = natural_policy_gradient(problem, learning_rate=1.0)
    assert result.converged
    _, values = exact.optimal_policy(problem.unshifted())
    assert result.value == pytest.approx(float(problem.rho @ values), abs=1e-4)


@unfinished
def test_states_that_are_never_visited_keep_their_policy():
    problem = nonconcavity_witness()
    start = random_policy(problem, 0)
    start[0] = [1e-300, 1.0]  # state 2 is where action 0 leads
    start[1] = [1.0, 1e-300]
    result = natural_policy_gradient(problem, initial_policy=start, n_iterations=3, tolerance=0.0)
    np.testing.assert_allclose(result.policy[2:], start[2:], atol=1e-12)
    assert bool(torch.isfinite(result.policy).all())


@unfinished
def test_it_needs_far_fewer_steps_than_plain_ascent():
    problem = pemdp(0, n_states=10, n_actions=4)
    natural, plain = natural_policy_gradient(problem), gradient_ascent(problem, step="fixed")
    assert natural.converged
    assert natural.n_iter < 100
    assert not plain.converged
    assert plain.value < natural.value
