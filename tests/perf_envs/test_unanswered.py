"""Worlds that would stand still in silence say so, once."""

import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import perf_envs  # noqa: F401 registers the worlds

IDS = ("PerformativePricing-v0", "LinearPricing-v0")
PRICING = IDS[0]


def some_policy(env):
    return 2.0 if "Linear" in env.spec.id else np.full((81, 8), 1 / 8)


def play_episode(env):
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        over = terminated or truncated


def told(caught, text):
    return [str(one.message) for one in caught if re.search(text, str(one.message))]


@pytest.mark.parametrize("env_id", IDS)
def test_a_seed_at_every_reset_throws_away_what_was_observed(env_id):
    env = gym.make(env_id, round_length=100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(90):
            env.reset(seed=seed)
            play_episode(env)
    assert env.unwrapped.round == 0
    messages = told(caught, "thrown away by reset")
    assert "round_length=100" in messages[0]
    assert "first reset only" in messages[0]


@pytest.mark.parametrize("env_id", IDS)
def test_a_seed_at_the_first_reset_is_fine(env_id):
    env = gym.make(env_id, round_length=100)
    env.reset(seed=0)
    for _ in range(60):
        play_episode(env)
        env.reset()
    assert env.unwrapped.round >= 2
    env.reset(seed=1)  # an experiment of its own
    play_episode(env)


@pytest.mark.parametrize("env_id", IDS)
def test_a_seed_after_a_deployment_takes_it_back_and_the_next_step_says_so(env_id):
    env = gym.make(env_id, deployment="declared")
    env.reset(seed=0)
    env.unwrapped.deploy(some_policy(env))
    env.reset(seed=1)
    with pytest.warns(UserWarning, match="reset.seed=.* has restarted the world at round 0"):
        env.step(env.action_space.sample())
    env.step(env.action_space.sample())  # it is said once


@pytest.mark.parametrize("env_id", IDS)
def test_deploying_again_after_a_seed_is_fine(env_id):
    env = gym.make(env_id, deployment="declared")
    for seed in range(3):
        env.reset(seed=seed)
        env.unwrapped.deploy(some_policy(env))
        play_episode(env)


@pytest.mark.parametrize("env_id", IDS)
def test_a_declared_world_that_nobody_deploys_to_says_so_once(env_id):
    env = gym.make(env_id, deployment="declared", round_length=600)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(130):
            env.reset()
            play_episode(env)
    assert len(told(caught, "waits for deployments")) == 1


def test_so_does_one_with_many_agents():
    env = gym.make_vec(
        PRICING, num_envs=8, vectorization_mode="vector_entry_point", deployment="declared", round_length=80
    )
    env.reset(seed=0)
    for _ in range(79):
        env.step(env.action_space.sample())
    with pytest.warns(UserWarning, match="waits for deployments"):
        env.step(env.action_space.sample())
    env.step(env.action_space.sample())


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("env_id", IDS)
def test_copies_stepped_side_by_side_are_noticed(env_id, mode):
    env = SyncVectorEnv([lambda: gym.make(env_id, round_length=60)] * 3, autoreset_mode=mode)
    env.reset(seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(300):
            env.step(env.action_space.sample())
    (message,) = told(caught, "side by side")
    assert message.startswith("3 copies")
    assert "make_vec_env" in message


@pytest.mark.parametrize("env_id", IDS)
def test_worlds_used_one_after_the_other_are_not_copies(env_id):
    envs = [gym.make(env_id, round_length=60) for _ in range(3)]
    for env in envs:
        env.reset(seed=0)
        for _ in range(30):
            play_episode(env)
            env.reset()
        assert env.unwrapped.round >= 3


@pytest.mark.parametrize("env_id", IDS)
def test_many_agents_in_one_world_are_not_copies(env_id):
    envs = [gym.make_vec(env_id, num_envs=3, vectorization_mode="vector_entry_point", round_length=60) for _ in "ab"]
    for env in envs:
        env.reset(seed=0)
    for _ in range(300):
        for env in envs:
            env.step(env.action_space.sample())
    assert all(env.rounds.round >= 3 for env in envs)
