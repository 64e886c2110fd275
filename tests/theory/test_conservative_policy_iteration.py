"""Statement 11: the lower bound of conservative policy iteration, and the planner that climbs by it."""

import numpy as np
import pytest
from hypothesis import given

from agents.planning import conservative_policy_iteration
from perf_envs import exact
from tests.perf_envs.worlds import make_world
from tests.theory.instances import examples, random_mdp, random_table, seeds


@examples
@given(seeds)
def test_a_mixture_gains_at_least_the_bound(seed):
    mdp = random_mdp(seed)
    pi = random_table(mdp.r.shape, seed)
    A = mdp.advantages(pi)
    greedy, other = np.eye(A.shape[1])[A.argmax(-1)], random_table(mdp.r.shape, seed + 1)
    for towards in (greedy, other):
        towards_A = (towards * A).sum(-1)
        expected, largest = float(mdp.occupancy(pi) @ towards_A), float(np.abs(towards_A).max())
        for share in (0.01, 0.1, 0.5, 0.9, 1.0):
            gain = mdp.J((1 - share) * pi + share * towards) - mdp.J(pi)
            loss = 2 * share * mdp.gamma * largest / (1 - mdp.gamma * (1 - share))
            assert gain >= share / (1 - mdp.gamma) * (expected - loss) - 1e-11
            # The coarser form that the planner searches with.
            curvature = 4 * mdp.gamma * largest / (1 - mdp.gamma) ** 2
            assert gain >= share * expected / (1 - mdp.gamma) - share**2 * curvature / 2 - 1e-11


@pytest.mark.parametrize("seed", range(10))
def test_at_fixed_dynamics_it_improves_with_every_mixture_and_ends_optimal(seed):
    mdp = random_mdp(seed)
    result = conservative_policy_iteration(mdp.problem(), performative_coef=0.0)
    assert result.converged
    assert result.n_iter > 1
    assert (np.diff(result.history) > 0).all()
    assert result.value == pytest.approx(float(mdp.rho @ mdp.optimal_values()), abs=1e-4)


def pemdp(seed, **settings):
    return make_world("SoftmaxPeMDP-v0", instance_seed=seed, **settings).problem


@pytest.mark.parametrize("seed", range(5))
def test_in_a_world_that_rewards_habits_the_performative_value_improves_until_it_converges(seed):
    result = conservative_policy_iteration(pemdp(seed, kappa=2.0, xi=0.5))
    assert result.converged
    assert result.n_iter > 1
    assert (np.diff(result.history) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_towards_an_optimum_that_mixes_actions_the_value_improves_with_every_mixture(seed):
    # Mixtures with deterministic policies approach it at the rate of one over the number of mixtures.
    with pytest.warns(UserWarning, match="conservative_policy_iteration stopped before it converged"):
        result = conservative_policy_iteration(pemdp(seed, kappa=2.0, xi=-0.5), n_iterations=200)
    assert (np.diff(result.history) > 0).all()
    assert 0 < result.gap < 0.1


@pytest.mark.filterwarnings("ignore:conservative_policy_iteration stopped:UserWarning")
@pytest.mark.parametrize("seed", range(4))
def test_the_myopic_method_improves_the_value_in_the_world_as_it_stands(seed):
    problem = pemdp(seed, kappa=3.0, xi=-1.0)
    before = np.full((10, 4), 0.25)
    for n_iterations in range(1, 8):
        after = conservative_policy_iteration(problem, performative_coef=0.0, n_iterations=n_iterations).policy
        here, there = (float(exact.decoupled_value(problem, pi, before)) for pi in (after, before))
        assert here > there
        before = after
