"""The softmax family against its formula, written in loops."""

import numpy as np
import pytest

from tests.perf_envs.worlds import dense, make_world, random_policy

WORLD = "SoftmaxPeMDP-v0"


@pytest.mark.parametrize(
    "settings", [{}, {"n_states": 1}, {"n_actions": 1}, {"n_states": 17, "kappa": -2.0, "xi": -1.0}]
)
def test_transitions_and_rewards_follow_the_formula(settings):
    env = make_world(WORLD, instance_seed=3, **settings)
    rng = np.random.default_rng(3)
    n, m = env.n_states, env.n_actions
    logits, psi, base = rng.standard_normal((n, m, n)), rng.standard_normal(n), rng.random((n, m))
    pi = random_policy(env, 0)
    P, r = dense(env.problem.response(pi))
    for s, a in np.ndindex(n, m):
        weights = np.exp(logits[s, a]) * np.exp(settings.get("kappa", 1.0) * psi * pi[s, a])
        np.testing.assert_allclose(P[s, a], weights / weights.sum(), atol=1e-14)
        assert r[s, a] == pytest.approx(base[s, a] + settings.get("xi", 0.5) * pi[s, a], abs=1e-15)


def test_before_any_deployment_it_answers_the_uniform_policy():
    env = make_world(WORLD)
    uniform = env.problem.response(np.full((10, 4), 0.25))
    assert env.dynamics.shift_from(uniform) == (0.0, 0.0)


def test_without_kappa_and_xi_it_is_an_ordinary_decision_process():
    env = make_world(WORLD, kappa=0.0, xi=0.0)
    assert env.deploy(random_policy(env, 0)) == (0.0, 0.0)


def test_the_instance_depends_on_its_seed_alone():
    first, same, other = (make_world(WORLD, instance_seed=seed) for seed in (1, 1, 2))
    assert first.dynamics.shift_from(same.dynamics) == (0.0, 0.0)
    assert first.dynamics.shift_from(other.dynamics).transition > 0.1


def test_episodes_start_uniformly_and_never_terminate():
    env = make_world(WORLD)
    np.testing.assert_allclose(env.initial_distribution, 0.1)
    env.reset(seed=0)
    starts = np.bincount([env.reset()[0] for _ in range(5000)], minlength=10)
    assert np.abs(starts - 500).max() < 4 * np.sqrt(5000 * 0.1 * 0.9)
    assert not any(env.step(0)[2] for _ in range(300))


def test_a_step_pays_the_reward_in_force():
    env = make_world(WORLD, deployment="declared")
    env.reset(seed=0)
    env.deploy(random_policy(env, 0))
    for action in [0, 1, 2, 3] * 5:
        before = env.state
        assert env.step(action)[1] == float(env.dynamics.rewards[before, action])
