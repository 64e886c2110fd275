"""Telling whether the actions played in declared rounds come from the policies deployed."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from perf_envs.fit import MISFIT, Fit, add_actions, add_counts
from perf_envs.worlds.linear_pricing.response import clipped_normal_moments
from tests.perf_envs.worlds import IDS, make_world, random_policy


def play(env, policy, steps, rng):
    """Play a table for a number of steps; episodes are restarted as they end."""
    state, _ = env.reset()
    for _ in range(steps):
        state, _, terminated, truncated, _ = env.step(rng.choice(policy.shape[1], p=policy[state]))
        if terminated or truncated:
            state, _ = env.reset()


@pytest.mark.parametrize("world_id", IDS)
def test_what_is_deployed_and_played_fits(world_id):
    env = make_world(world_id, deployment="declared")
    rng = np.random.default_rng(0)
    for seed in range(5):
        policy = random_policy(env, seed, concentration=0.2)
        env.deploy(policy)
        play(env, policy, 300, rng)
        assert env.misfit() is None
    assert env.rounds.fit.n_steps == 1500


@pytest.mark.parametrize("world_id", IDS)
def test_actions_in_reversed_order_do_not_fit(world_id):
    env = make_world(world_id, deployment="declared")
    policy = random_policy(env, 0, concentration=0.2)
    env.deploy(policy)
    play(env, policy[:, ::-1], 500, np.random.default_rng(0))
    assert "should" in env.misfit()


def test_actions_of_other_states_do_not_fit_although_each_is_played_as_often_as_it_should_be():
    env = make_world("SoftmaxPeMDP-v0", n_states=2, n_actions=2, kappa=0.0, deployment="declared")
    env.deploy(np.array([[0.9, 0.1], [0.1, 0.9]]))
    for _ in range(50):
        for state, action in ((0, 1), (1, 0)):
            env.rounds.observe(state, action)
    assert "mean probability of 0.1 under the policies deployed, and should have 0.82" in env.misfit()


def test_an_action_that_the_policy_never_takes_is_told_from_a_few_steps():
    env = make_world("SoftmaxPeMDP-v0", n_states=2, n_actions=2, deployment="declared")
    env.deploy(np.array([[1.0, 0.0], [1.0, 0.0]]))
    for _ in range(15):
        env.rounds.observe(0, 1)
    assert env.misfit() is not None


def test_rounds_add_up():
    env = make_world("SoftmaxPeMDP-v0", n_states=2, n_actions=2, deployment="declared")
    policy = np.array([[0.7, 0.3], [0.7, 0.3]])
    found = []
    for _ in range(60):
        env.deploy(policy)
        for state, action in ((0, 0), (1, 0)):
            env.rounds.observe(state, action)
        found.append(env.misfit(close=True) is not None)
    assert not found[0]
    assert found[-1]
    assert sorted(found) == found


def test_only_steps_after_a_declared_deployment_and_before_the_policy_changes_are_compared():
    env = make_world("SoftmaxPeMDP-v0", n_states=2, n_actions=2)
    env.reset(seed=0)
    for _ in range(10):  # observed
        env.step(1)
    env.set_deployment("declared")
    for _ in range(10):  # before anything was deployed
        env.step(1)
    assert env.misfit() is None
    assert env.rounds.fit.n_steps == 0
    env.deploy(np.array([[1.0, 0.0], [1.0, 0.0]]))
    for _ in range(10):
        env.step(0)
    assert env.misfit(close=True) is None
    for _ in range(10):  # another policy
        env.step(1)
    assert env.misfit() is None
    assert env.rounds.fit.n_steps == 10
    env.set_deployment("observed")
    for _ in range(10):
        env.step(1)
    assert env.misfit() is None
    assert env.rounds._counts.sum() == 10


def test_agents_side_by_side_are_compared_together_and_idle_ones_not_at_all():
    env = gym.make_vec(
        "PerformativePricing-v0", num_envs=50, vectorization_mode="vector_entry_point", deployment="declared"
    )
    env.reset(seed=0)
    env.deploy(np.eye(8)[np.full(81, 2)])
    n_played = 0
    idle = np.zeros(50, dtype=bool)
    for _ in range(25):
        actions = np.where(idle, 5, 2)
        n_played += int((~idle).sum())
        *_, terminated, truncated, _ = env.step(actions)
        idle = terminated | truncated
    assert env.misfit() is None
    assert env.rounds.fit.n_steps == n_played < 25 * 50


@pytest.mark.parametrize("n_steps", [1, 10, 200])
def test_evidence_bounds_how_often_chance_looks_like_a_misfit(n_steps):
    rng = np.random.default_rng(0)
    pi = np.array([[0.5, 0.3, 0.2], [0.001, 0.0, 0.999], [1.0, 0.0, 0.0]])
    evidence = []
    for _ in range(4000):
        fit, counts = Fit(4), np.zeros((3, 3))
        states, n_visits = np.unique(rng.integers(3, size=n_steps), return_counts=True)
        for state, n in zip(states, n_visits, strict=True):
            counts[state] = rng.multinomial(n, pi[state])
        add_counts(fit, counts, pi)
        evidence.append(fit.evidence)
    for threshold in (1.0, 2.0, 3.0, 5.0):
        often = (np.array(evidence) > threshold).mean(0)
        bound = 2.0 * np.exp(-threshold)
        assert (often <= bound + 4.0 * np.sqrt(bound / 4000)).all()
    assert np.max(evidence) < MISFIT


def test_the_sums_are_those_of_the_steps_one_by_one():
    rng = np.random.default_rng(1)
    pi = rng.dirichlet(np.ones(3), size=4)
    states = rng.integers(4, size=30)
    actions = np.array([rng.choice(3, p=pi[state]) for state in states])
    counts = np.zeros((4, 3))
    np.add.at(counts, (states, actions), 1.0)
    fit = Fit(4)
    add_counts(fit, counts, pi)
    functions = np.concatenate([np.broadcast_to(np.eye(3)[:, None, :], (3, 4, 3)), pi[None]])  # f [4, S, A]
    sums = np.zeros((4, 4))
    for state, action in zip(states, actions, strict=True):
        values, mean = functions[:, state, action], functions[:, state] @ pi[state]
        variance = np.square(functions[:, state]) @ pi[state] - mean**2
        sums += [values, mean, (values - mean) ** 2, variance]
    np.testing.assert_allclose(fit.played, sums[0], rtol=1e-12)
    np.testing.assert_allclose(fit.expected, sums[1], rtol=1e-12)
    expected = (sums[0] - sums[1]) ** 2 / (2.0 * (sums[2] + 2.0 * sums[3]) / 3.0)
    np.testing.assert_allclose(fit.evidence, expected, rtol=1e-10)


def test_continuous_actions_with_another_mean_do_not_fit():
    rng = np.random.default_rng(0)
    same, other = Fit(2), Fit(2)
    means, variances = np.zeros((400, 2)), np.full((400, 2), 0.25)
    actions = rng.normal(0.0, 0.5, size=(400, 2))
    add_actions(same, actions, means, variances)
    add_actions(other, actions + np.array([0.0, 0.3]), means, variances)
    assert same.worst() is None
    assert other.worst() == 1


def test_prices_of_another_policy_do_not_fit():
    env = gym.make("LinearPricing-v0", deployment="declared", n_products=2).unwrapped
    rng = np.random.default_rng(0)
    mean, std = np.full((20, 2), 0.2), np.full((20, 2), 0.5)

    def season(shift):
        env.reset()
        over = False
        while not over:
            _, _, over, _, _ = env.step(np.clip(rng.normal(mean[0], std[0]) + shift, -1, 1))

    env.deploy((mean, std))
    for _ in range(30):
        season(0.0)
    assert env.misfit() is None
    env.redeploy()
    for _ in range(30):
        season(np.array([0.0, -0.3]))
    assert "product 1" in env.misfit()


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.5), (-0.9, 2.0), (1.5, 0.4), (0.0, 30.0), (-4.0, 0.2)])
def test_moments_of_clipped_normals_are_those_of_quadrature(mean, std):
    def moment(power):
        inside, _ = integrate.quad(
            lambda x: x**power * stats.norm.pdf(x, mean, std), -1, 1, points=[np.clip(mean, -1, 1)], epsabs=1e-13
        )
        low, high = stats.norm.cdf(-1, mean, std), stats.norm.sf(1, mean, std)
        return inside + high + (-1) ** power * low

    found = clipped_normal_moments(*(torch.tensor(x, dtype=torch.float64) for x in (mean, std)))
    np.testing.assert_allclose(found[0], moment(1), atol=1e-11)
    np.testing.assert_allclose(found[1], moment(2) - moment(1) ** 2, atol=1e-11)


def test_a_point_mass_has_no_variance_and_is_clipped():
    mean, variance = clipped_normal_moments(
        torch.tensor([0.4, 3.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    )
    assert mean.tolist() == [0.4, 1.0]
    assert variance.tolist() == [0.0, 0.0]
