"""Deployments: rounds, what the world believes is deployed, and the forms a policy may come in."""

import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO

from perf_envs import PerformativeMDP, policy_table
from perf_envs.tabular_rounds import TabularRounds
from tests.perf_envs.worlds import IDS, Corridor, dense, make_world, random_policy
from tests.precision import SINGLE


def walk(env, policy, steps, seed=0):
    """Step ``env`` with ``policy`` and return what was seen; episodes are restarted as they end."""
    rng = np.random.default_rng([seed, 1])  # not the environment's own stream: actions must not depend on its draws
    state, info = env.reset(seed=seed)
    seen = [(state, info)]
    for _ in range(steps):
        state, reward, terminated, truncated, info = env.step(rng.choice(policy.shape[1], p=policy[state]))
        seen.append((state, reward, terminated, truncated, info))
        if terminated or truncated:
            state, info = env.reset()
            seen.append((state, info))
    return seen


def snapshot(env):
    """Return everything a failed call might have changed, by value."""
    world = env.rounds
    return (
        world.round,
        world.deployment,
        world.policy.probs.tolist(),
        world._counts.tolist(),
        world._steps_observed,
        world._news,
        id(world.dynamics),
        id(world.sampler),
        env.state,
        env.np_random.bit_generator.state["state"],
    )


@pytest.mark.parametrize("world_id", IDS)
def test_an_agent_that_never_deploys_moves_the_world_in_observed_mode(world_id):
    env = make_world(world_id, round_length=50)
    before = env.dynamics
    walk(env, random_policy(env, 0, concentration=0.3), 120)
    assert env.round == 2
    assert env.dynamics.shift_from(before).transition > 0.01


@pytest.mark.parametrize("world_id", IDS)
def test_a_declared_world_moves_only_when_told(world_id):
    env = make_world(world_id, deployment="declared", round_length=10)
    before = env.dynamics
    walk(env, random_policy(env, 0), 50)
    assert env.round == 0
    assert env.dynamics is before
    env.deploy(random_policy(env, 0))
    assert env.round == 1
    assert env.dynamics is not before


@pytest.mark.parametrize("world_id", IDS)
def test_the_world_in_force_is_the_answer_to_the_deployed_policy(world_id):
    env = make_world(world_id)
    pi = random_policy(env, 3)
    env.deploy(pi)
    for now, answer in zip(dense(env.dynamics), dense(env.problem.response(pi)), strict=True):
        np.testing.assert_array_equal(now, answer)


def test_the_estimate_counts_the_actions_seen_and_keeps_the_old_belief_elsewhere():
    env = make_world("SoftmaxPeMDP-v0", n_states=3, n_actions=2, round_length=100)
    for state, action, times in [(0, 0, 3), (0, 1, 1), (2, 1, 7)]:
        for _ in range(times):
            env.rounds.observe(state, action)
    # One imagined observation of the old belief, here uniform, in each state.
    np.testing.assert_allclose(env.rounds.estimate(), [[3.5 / 5, 1.5 / 5], [0.5, 0.5], [0.5 / 8, 7.5 / 8]], atol=1e-15)


def test_the_observed_round_ends_with_the_answer_to_the_estimate():
    env = make_world("SoftmaxPeMDP-v0", n_states=3, n_actions=2, round_length=4)
    for state, action in [(0, 0), (0, 0), (1, 1), (1, 0)]:
        env.rounds.observe(state, action)
    expected = np.array([[2.5 / 3, 0.5 / 3], [0.5, 0.5], [0.5, 0.5]])
    assert env.round == 1
    np.testing.assert_allclose(env.rounds.policy.probs, expected, atol=1e-15)
    np.testing.assert_allclose(dense(env.dynamics)[0], dense(env.problem.response(expected))[0], atol=1e-12)
    np.testing.assert_allclose(env.rounds.estimate(), expected, atol=1e-15, err_msg="the count starts afresh")


def test_the_estimate_approaches_the_policy_as_rounds_grow_longer():
    errors = {}
    for round_length in (200, 2_000, 20_000):
        env = make_world("SoftmaxPeMDP-v0", round_length=round_length)
        policy = random_policy(env, 1)
        walk(env, policy, round_length)
        assert env.round == 1
        errors[round_length] = np.abs(env.rounds.policy.probs - policy).mean()
    # The error of a mean falls with the square root of the sample: tenfold data, about a third of the error.
    assert errors[2_000] < 0.5 * errors[200]
    assert errors[20_000] < 0.5 * errors[2_000]
    assert errors[20_000] < 0.01


def test_the_estimate_is_near_the_policy_at_the_states_that_were_visited():
    env = make_world("PerformativeGridWorld-v0", round_length=20_000)
    policy = random_policy(env, 2)
    visits = np.zeros(env.n_states)
    env.reset(seed=0)
    rng = np.random.default_rng(1)
    while env.round == 0:
        state = env.state
        visits[state] += 1
        if env.step(rng.choice(4, p=policy[state]))[2]:
            env.reset()
    # Four standard errors of a frequency, plus the weight of the uniform belief before.
    bound = 4 * np.sqrt(policy * (1 - policy) / np.maximum(visits, 1)[:, None]) + 1 / (visits + 1)[:, None]
    often = visits >= 100
    assert often.sum() > 20
    assert (np.abs(env.rounds.policy.probs - policy) <= bound)[often].all()
    np.testing.assert_array_equal(env.rounds.policy.probs[visits == 0], 0.25)


@pytest.mark.parametrize("world_id", IDS)
def test_a_gradual_world_mixes_the_answer_with_what_was(world_id):
    env = make_world(world_id, deployment="declared", adaptation_rate=0.25)
    P, r = dense(env.dynamics)
    for seed in range(3):
        pi = random_policy(env, seed)
        env.deploy(pi)
        P_answer, r_answer = dense(env.problem.response(pi))
        P, r = 0.75 * P + 0.25 * P_answer, 0.75 * r + 0.25 * r_answer
        np.testing.assert_allclose(env.dynamics.dense()[0], P, atol=1e-14)
        np.testing.assert_allclose(env.dynamics.rewards, r, atol=1e-14)


@pytest.mark.parametrize("world_id", IDS)
def test_the_shift_is_told_once_on_the_first_step_of_the_round(world_id):
    env = make_world(world_id, deployment="declared")
    _, info = env.reset(seed=0)
    assert info == {"round": 0}
    assert "shift" not in env.step(0)[4]
    shift = env.deploy(random_policy(env, 0))
    _, info = env.reset()
    assert info == {"round": 1}
    info = env.step(0)[4]
    assert (info["round"], info["shift"], info["reward_shift"]) == (1, *shift)
    assert not {"shift", "reward_shift"} & env.step(0)[4].keys()


def test_a_seed_restarts_the_world_and_no_seed_keeps_it():
    env = make_world("SoftmaxPeMDP-v0", round_length=7)
    walk(env, random_policy(env, 0), 10)
    here = env.dynamics
    env.reset()
    assert env.round == 1
    assert env.dynamics is here
    env.reset(seed=1)
    assert env.round == 0
    assert env.dynamics.shift_from(env.problem.unshifted()) == (0.0, 0.0)
    np.testing.assert_array_equal(env.rounds.estimate(), 0.25)


@pytest.mark.parametrize("world_id", IDS)
def test_a_walk_repeats_bit_for_bit_after_a_seeded_reset(world_id):
    env = make_world(world_id, round_length=37)

    def life(seed):
        first = walk(env, random_policy(env, 0), 150, seed)
        env.deploy(random_policy(env, 5))
        env.reset()
        state, reward, *_, info = env.step(0)
        env.reset()
        for _ in range(80):
            if env.step(0)[2]:
                env.reset()
        return first, state, reward, info, env.round, env.rounds.policy.probs.tolist(), dense(env.dynamics)[0].tolist()

    once, other, again = life(11), life(12), life(11)
    assert once == again
    assert once[0] != other[0]
    assert once[4] >= 6


def test_switching_the_mode_leaves_the_world_as_it_is():
    env = make_world("SoftmaxPeMDP-v0", deployment="declared", round_length=5)
    env.deploy(random_policy(env, 0))
    here = env.dynamics
    env.set_deployment("observed")
    assert env.dynamics is here
    env.reset()
    for _ in range(5):
        env.step(0)
    assert env.round == 2


def test_deploying_restarts_the_observed_round():
    env = make_world("SoftmaxPeMDP-v0", round_length=5)
    env.reset(seed=0)
    for _ in range(4):
        env.step(0)
    env.deploy(random_policy(env, 0))
    for _ in range(4):
        env.step(0)
    assert env.round == 1
    env.step(0)
    assert env.round == 2


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_the_world_does_not_share_memory_with_the_table_it_was_given(convert):
    env = make_world("SoftmaxPeMDP-v0")
    kept = random_policy(env, 0)
    for deploy in (env.deploy, env.rounds.deploy):
        table = convert(kept.copy())
        deploy(table)
        table[:] = 0.0
        np.testing.assert_array_equal(env.rounds.policy.probs, kept)


def uniform(env):
    return np.full((env.n_states, env.n_actions), 1 / env.n_actions)


def with_row(env, row):
    table = uniform(env)
    table[3] = row
    return table


BAD_POLICIES = {
    "wrong shape": (lambda env: uniform(env)[:, :-1], r"shape \(10, 4\), got \(10, 3\)"),
    "transposed": (lambda env: uniform(env).T, r"shape \(10, 4\), got \(4, 10\)"),
    "one row": (lambda env: uniform(env)[0], r"shape \(10, 4\), got \(4,\)"),
    "ragged": (lambda env: [[1.0], [0.5, 0.5]], r"array of numbers \[10, 4\], got list"),
    "NaN": (lambda env: with_row(env, [np.nan, 0, 0, 1]), r"at state 3 must be finite, got \[nan, 0, 0, 1\]"),
    "infinite": (lambda env: with_row(env, [np.inf, 0, 0, 1]), r"at state 3 must be finite, got \[inf, 0, 0, 1\]"),
    "negative": (lambda env: with_row(env, [-0.5, 0.5, 0.5, 0.5]), r"at state 3 must be non-negative, got \[-0\.5, "),
    "unnormalised": (lambda env: with_row(env, [0.5, 0.5, 0.5, 0.5]), r"at state 3 must sum to 1 \(the sum is 2\)"),
    "nearly normalised": (lambda env: with_row(env, [0.25001, 0.25, 0.25, 0.25]), "sum is 1.00001"),
    "nearly normalised list": (lambda env: with_row(env, [0.25001, 0.25, 0.25, 0.25]).tolist(), "sum is 1.00001"),
    "complex": (lambda env: uniform(env) + 0.5j, "must be real, got torch.complex128"),
    "a word": (lambda env: "greedy", r"array of numbers \[10, 4\], got str"),
    "nothing": (lambda env: None, r"array of numbers \[10, 4\], got NoneType"),
    "callable of wrong length": (
        lambda env: lambda observation: [0.5, 0.5],
        r"\[0.5, 0.5\] instead of 4 probabilities",
    ),
    "callable of varying length": (
        lambda env: lambda observation: np.ones(1 + observation),
        r"observation np.int64\(0\) with array\(\[1\.\]\) instead of 4 probabilities",
    ),
    "callable with NaN": (lambda env: lambda observation: [np.nan] * 4, "at state 0 must be finite"),
}


@pytest.mark.parametrize(("make", "message"), BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_a_bad_policy_is_refused_and_nothing_changes(make, message):
    env = make_world("SoftmaxPeMDP-v0", round_length=10)
    walk(env, random_policy(env, 0), 13)
    before = snapshot(env)
    with pytest.raises(ValueError, match=f"^policy .*{message}"):
        env.deploy(make(env))
    assert snapshot(env) == before


@pytest.mark.parametrize("action", [-1, 4, 99, 0.5, np.nan, np.inf, None, "left", [0, 1], np.zeros(2)])
def test_an_impossible_action_is_refused_and_nothing_changes(action):
    env = make_world("SoftmaxPeMDP-v0")
    walk(env, random_policy(env, 0), 13)
    before = snapshot(env)
    with pytest.raises(ValueError, match=rf"action must be in 0\.\.3, got {re.escape(repr(action))}"):
        env.step(action)
    assert snapshot(env) == before


@pytest.mark.parametrize("world_id", IDS)
def test_a_world_must_be_reset_before_it_is_stepped(world_id):
    env = make_world(world_id)
    with pytest.raises(gym.error.ResetNeeded, match="before reset"):
        env.step(0)
    assert env.rounds._counts.sum() == 0
    env.reset(seed=0)
    env.step(0)
    assert env.rounds._counts.sum() == 1


def test_a_world_must_be_reset_after_an_episode_has_ended():
    env = Corridor()
    env.reset(seed=0)
    assert [env.step(1)[2] for _ in range(3)] == [False, False, True]
    for _ in range(2):
        with pytest.raises(gym.error.ResetNeeded, match="after the episode had ended"):
            env.step(1)
    assert env.reset()[0] == 0
    assert env.step(1)[0] == 1


def test_an_unknown_mode_is_refused_and_nothing_changes():
    env = make_world("SoftmaxPeMDP-v0")
    env.reset(seed=0)
    before = snapshot(env)
    with pytest.raises(ValueError, match="deployment must be one of 'observed', 'declared', got 'never'"):
        env.set_deployment("never")
    assert snapshot(env) == before


def test_a_world_whose_answer_fails_stays_as_it_was():
    inner = Corridor().problem

    def fragile(pi):
        if pi[0, 0] > 0.9:
            raise RuntimeError("no answer")
        return inner.unshifted()

    world = TabularRounds(PerformativeMDP(fragile, inner.rho, 0.9, n_actions=2))
    world.observe(0, 1)
    before = (world.round, world.policy.probs.tolist(), world._counts.tolist(), world.dynamics)
    with pytest.raises(RuntimeError, match="no answer"):
        world.deploy([[1.0, 0.0]] * 4)
    assert (world.round, world.policy.probs.tolist(), world._counts.tolist(), world.dynamics) == before


def test_table_tensor_list_and_callable_deploy_the_same_policy():
    env = make_world("SoftmaxPeMDP-v0", deployment="declared")
    table = random_policy(env, 0)
    for form in (table, torch.from_numpy(table), table.tolist(), lambda observation: table[observation]):
        env.reset(seed=0)
        env.deploy(form)
        np.testing.assert_array_equal(env.rounds.policy.probs, table)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("world_id", IDS)
def test_an_actor_critic_deploys_its_action_probabilities(algorithm, world_id):
    env = make_world(world_id)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu")
    env.deploy(model)
    for state in range(0, env.n_states, 7):
        observation, _ = model.policy.obs_to_tensor(np.array(state))
        probabilities = model.policy.get_distribution(observation).distribution.probs[0]
        np.testing.assert_allclose(env.rounds.policy.probs[state], probabilities.detach(), atol=SINGLE)
    np.testing.assert_array_equal(
        policy_table(model.policy, env.query_observations, env.n_actions), env.rounds.policy.probs
    )


def test_a_value_based_model_deploys_its_greedy_action():
    env = make_world("PerformativePricing-v0")
    model = DQN("MlpPolicy", env, seed=0, device="cpu", buffer_size=10)
    env.deploy(model)
    greedy = [int(model.predict(np.array(state), deterministic=True)[0]) for state in range(env.n_states)]
    np.testing.assert_array_equal(env.rounds.policy.probs, np.eye(env.n_actions)[greedy])


def test_a_single_precision_network_can_be_deployed_as_a_function():
    world = make_world("PerformativePricing-v0")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Embedding(world.n_states, world.n_actions), torch.nn.Softmax(-1))
    world.deploy(lambda observation: network(torch.tensor(observation)))
    np.testing.assert_allclose(world.rounds.policy.probs.sum(-1), 1.0, atol=1e-12)
    world.deploy(lambda observation: network(torch.tensor(observation)).detach().numpy())
    assert world.round == 2
