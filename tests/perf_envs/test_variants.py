import gymnasium as gym
import numpy as np
import pytest

from perf_envs import WORLDS
from perf_envs.registration import split_variant, variant_names
from tests.worlds import CONTINUOUS_WORLDS, TABULAR_WORLDS

NAMES = [name for env_id in WORLDS for name in variant_names(env_id)]


def rewards_after_an_answer(name):
    """Expected rewards once the world has answered a policy that is neither uniform nor certain."""
    env_id, arguments = split_variant(name)
    world = gym.make(env_id, deployment="declared", **arguments).unwrapped
    if env_id in CONTINUOUS_WORLDS:
        world.deploy(1.0)
        return world.dynamics.demand.numpy()
    world.deploy(np.random.default_rng(0).dirichlet(np.ones(world.n_actions), size=world.n_states))
    return world.dynamics.dense()[1].numpy()


def test_every_registered_world_is_there_weak_and_strong():
    assert all({"weak", "strong"} <= set(world.variants) for world in WORLDS.values())
    assert set(WORLDS) == {*TABULAR_WORLDS, *CONTINUOUS_WORLDS}


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_answers_otherwise_than_its_world(name):
    plain = rewards_after_an_answer(name.partition("@")[0])
    assert not np.allclose(rewards_after_an_answer(name), plain, atol=1e-6)


def test_a_world_without_variant_is_itself():
    assert split_variant("PerformativePricing-v0") == ("PerformativePricing-v0", {})


def test_what_is_returned_is_the_callers_own():
    split_variant("PerformativePricing-v0@quantised")[1]["response_wrapper"]["levels"] = 3
    assert split_variant("PerformativePricing-v0@quantised")[1]["response_wrapper"]["levels"] == 8


@pytest.mark.parametrize("name", ["PerformativePricing-v0@", "PerformativePricing-v0@stong", "Unknown-v0@weak"])
def test_unknown_variants_are_rejected(name):
    with pytest.raises(ValueError, match="variant"):
        split_variant(name)
