"""Exact values against dense linear algebra, lemmas of the theory and simulation."""

import numpy as np
import pytest
import torch

from perf_envs import Dynamics, PerformativeMDP, exact
from tests.perf_envs.worlds import IDS, dense, make_world, random_pemdp, random_policy

SEEDS = range(100)
PROBLEMS = [pytest.param(random_pemdp(seed), id=f"PeMDP{seed}") for seed in SEEDS]
PROBLEMS += [pytest.param(make_world(world_id).problem, id=world_id) for world_id in IDS]


def reference(problem, pi, deployed, entropy_coef=0.0):
    """Return ``V``, ``Q`` and ``d`` of ``pi`` in the answer to ``deployed``, by dense solves."""
    dynamics = problem.response(deployed)
    P, r = dense(dynamics)
    chain = np.einsum("sa,sat->st", pi, P)
    bonus = -entropy_coef * (pi * np.log(pi)).sum(-1) * ~dynamics.absorbing.numpy()
    system = np.eye(len(chain)) - problem.gamma * chain
    values = np.linalg.solve(system, (pi * r).sum(-1) + bonus)
    occupancy = (1 - problem.gamma) * np.linalg.solve(system.T, problem.rho.numpy())
    return values, r + problem.gamma * P @ values, occupancy


@pytest.mark.parametrize("problem", PROBLEMS)
def test_values_and_occupancies_are_those_of_dense_solves(problem):
    pi, deployed = random_policy(problem, 0), random_policy(problem, 1)
    values, q, occupancy = reference(problem, pi, pi)
    np.testing.assert_allclose(exact.state_values(problem, pi), values, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(exact.action_values(problem, pi), q, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(exact.occupancy(problem, pi), occupancy, rtol=1e-10, atol=1e-13)
    assert float(exact.performative_value(problem, pi)) == pytest.approx(problem.rho.numpy() @ values, rel=1e-11)
    decoupled = problem.rho.numpy() @ reference(problem, pi, deployed)[0]
    assert float(exact.decoupled_value(problem, pi, deployed)) == pytest.approx(decoupled, rel=1e-10)


@pytest.mark.parametrize("problem", PROBLEMS[::10] + PROBLEMS[-3:])
def test_the_entropy_bonus_is_paid_in_every_state_that_is_not_absorbing(problem):
    pi = random_policy(problem, 0)
    values, q, _ = reference(problem, pi, pi, entropy_coef=0.3)
    np.testing.assert_allclose(exact.state_values(problem, pi, 0.3), values, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(exact.action_values(problem, pi, 0.3), q, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("entropy_coef", [0.0, 0.3])
def test_advantages_average_to_zero_under_the_policy(problem, entropy_coef):
    pi = random_policy(problem, 0)
    advantages = exact.advantages(problem, pi, entropy_coef).numpy()
    assert np.abs(advantages).max() > 1e-3
    np.testing.assert_allclose((pi * advantages).sum(-1), 0.0, atol=1e-11)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_occupancies_sum_to_one(problem):
    occupancy = exact.occupancy(problem, random_policy(problem, 0, concentration=0.1))
    assert float(occupancy.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(occupancy.min()) >= -1e-16


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_performative_performance_difference_identity_holds(problem):
    pi, other = random_policy(problem, 0), random_policy(problem, 1)
    here, there = problem.response(pi), problem.response(other)
    (P_here, r_here), (P_there, r_there) = dense(here), dense(there)
    values = exact.state_values(problem, pi).numpy()
    gained = exact.advantages(problem, other).numpy() + (r_here - r_there) + problem.gamma * (P_here - P_there) @ values
    occupancy = exact.occupancy(there, pi).numpy()
    difference = (occupancy[:, None] * pi * gained).sum() / (1 - problem.gamma)
    J, J_other = (float(exact.performative_value(problem, policy)) for policy in (pi, other))
    assert abs(J - J_other) > 1e-6
    assert difference == pytest.approx(J - J_other, abs=1e-10 * max(1.0, abs(J)))


@pytest.mark.parametrize("world_id", IDS)
def test_the_performative_value_is_what_episodes_pay(world_id):
    env = make_world(world_id, deployment="declared")
    pi = random_policy(env, 4, concentration=0.3)
    env.reset(seed=7)
    env.deploy(pi)
    rng = np.random.default_rng([7, 1])
    cumulated = pi.cumsum(-1)
    cumulated[:, -1] = 1.0
    horizon = 10 if env.gamma == 0.99 else 100  # the season lasts 10 periods; elsewhere 0.9^100 is as good as 0
    returns = np.zeros(1500)
    for episode in range(len(returns)):
        state, _ = env.reset()
        for t in range(horizon):
            action = np.searchsorted(cumulated[state], rng.random(), side="right")
            state, reward, terminated, *_ = env.step(action)
            returns[episode] += env.gamma**t * reward
            if terminated:
                break
    value = float(exact.performative_value(env.problem, pi))
    standard_error = returns.std() / np.sqrt(len(returns))
    assert abs(returns.mean() - value) < 4 * standard_error + 1e-3
    assert standard_error < 0.05 * abs(value) + 0.05


def test_zero_probabilities_have_zero_entropy_and_finite_values():
    problem = random_pemdp(0)
    pi = torch.eye(problem.n_actions, dtype=torch.float64)[torch.zeros(problem.n_states, dtype=torch.int64)]
    assert float(exact.entropy(pi).abs().max()) == 0.0
    torch.testing.assert_close(exact.state_values(problem, pi, 0.5), exact.state_values(problem, pi))
    assert bool(torch.isfinite(exact.advantages(problem, pi, 0.5)).all())


def test_the_plain_values_of_a_regularised_evaluation_leave_the_entropy_out():
    problem = random_pemdp(2)
    pi = torch.from_numpy(random_policy(problem, 0))
    dynamics = problem.response(pi)
    plain = exact.state_values(dynamics, pi)
    for entropy_coef in (0.0, 0.3):
        torch.testing.assert_close(exact.evaluate(dynamics, pi, entropy_coef).plain_state_values(), plain)


def test_fixed_dynamics_do_not_answer():
    problem = random_pemdp(1)
    still, pi = problem.unshifted(), random_policy(problem, 0)
    uniform = np.full((problem.n_states, problem.n_actions), 1 / problem.n_actions)
    value = float(problem.rho @ exact.state_values(still, pi))
    assert value == pytest.approx(float(exact.decoupled_value(problem, pi, uniform)), rel=1e-12)
    assert value != pytest.approx(float(exact.performative_value(problem, pi)), rel=1e-6)


def test_dynamics_without_discount_or_start_say_what_is_missing():
    bare = Dynamics.from_dense(np.ones((1, 1, 1)), np.ones((1, 1)))
    with pytest.raises(ValueError, match="carry no gamma"):
        exact.state_values(bare, [[1.0]])
    with pytest.raises(ValueError, match="carry no rho"):
        exact.occupancy(bare, [[1.0]])


@pytest.mark.parametrize("pi", [[[0.5, 0.6]], [[np.nan, 1.0]], [[-1.0, 2.0]], [[1.0]]])
def test_a_table_that_is_no_policy_is_refused(pi):
    still = Dynamics.from_dense(np.ones((1, 2, 1)), np.ones((1, 2)))
    problem = PerformativeMDP(lambda policy: still, [1.0], 0.9, n_actions=2)
    for function in (exact.state_values, exact.occupancy, exact.performative_value, exact.stability_gap):
        with pytest.raises(ValueError, match=r"^pi .*got"):
            function(problem, pi)
