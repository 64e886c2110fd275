"""Worlds whose episodes end by themselves tell how long these can last."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeAwareObservation
from sb3_contrib.common.wrappers import TimeFeatureWrapper

from tests.worlds import ALL_WORLDS

SEASONS = ["PerformativePricing-v0", "LinearPricing-v0"]
seasons = pytest.mark.parametrize("world_id", SEASONS)


def episode(env):
    """Return everything an agent sees of one episode."""
    env.action_space.seed(2)
    seen = [env.reset(seed=2)]
    while True:
        seen.append(env.step(env.action_space.sample()))
        if seen[-1][2] or seen[-1][3]:
            return seen


def test_every_registered_world_without_a_step_limit_is_a_season():
    assert sorted(SEASONS) == sorted(name for name, limit in ALL_WORLDS.items() if limit is None)


@pytest.mark.parametrize("settings", [{}, {"horizon": 3}, {"horizon": 40}])
@seasons
def test_time_can_be_added_to_what_the_agent_sees(world_id, settings):
    env = TimeAwareObservation(gym.make(world_id, **settings), flatten=False, normalize_time=True)
    horizon = env.unwrapped.horizon
    seen = episode(env)
    shares = [float(observation["time"][0]) for observation, *_ in seen]
    np.testing.assert_allclose(shares, np.arange(len(seen)) / (horizon + 1), atol=1e-6)
    assert shares[-1] < 1.0


def test_the_wrapper_of_sb3_contrib_finds_the_limit_too():
    env = TimeFeatureWrapper(gym.make("LinearPricing-v0", horizon=4))
    features = [observation[-1] for observation, *_ in episode(env)]
    np.testing.assert_allclose(features, 1.0 - np.arange(5) / 5, atol=1e-6)


@seasons
def test_the_registration_stays_without_a_limit_and_no_season_is_cut(world_id):
    env = gym.make(world_id, horizon=4)
    assert gym.spec(world_id).max_episode_steps is None
    assert env.spec.max_episode_steps == 5
    seen = episode(env)
    assert seen[-1][2:4] == (True, False)


@seasons
def test_an_environment_made_again_from_its_specification_leads_the_same_life(world_id):
    env = gym.make(world_id, horizon=6)
    again = gym.make(env.spec)
    through_json = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.horizon == through_json.unwrapped.horizon == 6
    expected = episode(env)
    assert expected[-1][2:4] == (True, False)
    for other in (again, through_json):
        np.testing.assert_equal(episode(other), expected)


@seasons
def test_a_limit_that_was_chosen_stays(world_id):
    env = gym.make(world_id, max_episode_steps=2)
    assert env.spec.max_episode_steps == 2
    assert episode(env)[-1][2:4] == (False, True)


def test_the_specification_handed_over_is_left_as_it_was():
    env = gym.make("LinearPricing-v0").unwrapped
    assert type(env)().spec is None
    spec = copy.deepcopy(gym.spec("LinearPricing-v0"))
    env.spec = spec
    assert spec.max_episode_steps is None
    assert env.spec.max_episode_steps == 21
    env.spec = None
    assert env.spec is None
