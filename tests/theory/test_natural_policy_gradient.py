"""Statement 7: natural policy gradient at fixed dynamics, and its rate."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given

from agents.planning import natural_policy_gradient
from tests.perf_envs.worlds import make_world
from tests.theory.instances import answered, examples, random_mdp, random_table, seeds


def run(problem, n_iterations, **settings):
    """Run to the end of the iterations, converged or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return natural_policy_gradient(
            problem, performative_coef=0.0, n_iterations=n_iterations, **{"tolerance": 0.0, **settings}
        )


def multiplicative_weights(mdp, pi, eta):
    """Return the next policy and the normalisers ``Z [S]``."""
    weighted = pi * np.exp(eta * mdp.advantages(pi) / (1 - mdp.gamma))
    Z = weighted.sum(-1)
    return weighted / Z[:, None], Z


@examples
@given(seeds)
def test_a_step_multiplies_probabilities_by_exponential_advantages(seed):
    mdp, eta = random_mdp(seed), 0.2
    pi = random_table(mdp.r.shape, seed)
    for n_steps in (1, 2, 3):
        pi, _ = multiplicative_weights(mdp, pi, eta)
        result = run(mdp.problem(), n_steps + 1, learning_rate=eta, initial_policy=random_table(mdp.r.shape, seed))
        np.testing.assert_allclose(result.policy, pi, atol=1e-11)


@examples
@given(seeds)
def test_every_step_improves_by_at_least_the_logarithm_of_the_normalisers(seed):
    mdp = random_mdp(seed)
    for eta in (0.05, 1.0, 20.0):
        pi = random_table(mdp.r.shape, seed)
        for _ in range(5):
            following, Z = multiplicative_weights(mdp, pi, eta)
            promised = (1 - mdp.gamma) / eta * float(mdp.rho @ np.log(Z))
            assert promised >= -1e-13
            assert mdp.J(following) - mdp.J(pi) >= promised - 1e-11
            pi = following


@examples
@given(seeds)
def test_after_t_steps_the_value_is_within_the_bound_of_the_optimum(seed):
    mdp = random_mdp(seed)
    best = float(mdp.rho @ mdp.optimal_values())
    for eta in ((1 - mdp.gamma) ** 2 * math.log(mdp.r.shape[1]), 0.05, 1.0):
        history = run(mdp.problem(), 40, learning_rate=eta).history.numpy()
        assert len(history) > 5  # fewer than 40 where the gap has become 0 to the last digit
        T = np.arange(1, len(history))
        bound = math.log(mdp.r.shape[1]) / (eta * T) + 1.0 / ((1 - mdp.gamma) ** 2 * T)
        assert (history[1:] >= best - bound).all()
        assert (np.diff(history) >= -1e-11).all()


@pytest.mark.parametrize("seed", range(100))
def test_it_reaches_a_millionth_of_the_optimum_within_the_iterations_of_the_theorem(seed):
    rng = np.random.default_rng(seed)
    n_states, n_actions, gamma = int(rng.integers(2, 11)), int(rng.integers(2, 6)), float(rng.uniform(0.5, 0.97))
    problem = make_world(
        "SoftmaxPeMDP-v0", n_states=n_states, n_actions=n_actions, gamma=gamma, kappa=0.0, xi=0.0, instance_seed=seed
    ).problem
    # A large step makes the first part of the bound small; the second does not depend on it.
    eta = 10.0
    allowed = math.ceil((math.log(n_actions) / eta + 1.0 / (1 - gamma) ** 2) / 1e-6)
    affordable = 2000
    assert affordable < allowed
    result = run(problem, affordable, learning_rate=eta, tolerance=1e-9)
    still = answered(problem, np.full((n_states, n_actions), 1 / n_actions))
    assert result.value >= float(still.rho @ still.optimal_values()) - 1e-6
    assert result.converged
    assert result.n_iter < affordable
