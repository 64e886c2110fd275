"""Sub-environments that only wait for their reset are not observed: neither what they do nor that a step was made."""

import numpy as np
import pytest

from tests.perf_envs.linear_world import make as make_market
from tests.perf_envs.worlds import CorridorVectorEnv, make_world


def test_steps_that_only_reset_neither_count_for_the_round_nor_for_the_estimate():
    env = CorridorVectorEnv(2, round_length=4)
    env.reset(seed=0)
    for action in (1, 1, 1, 0):  # the corridor is left after three steps to the right; the fourth step resets
        env.step(np.full(2, action))
    assert env.round == 0
    # Two agents have gone right once in each of the first three cells, with one imagined step of the uniform belief.
    np.testing.assert_allclose(env.rounds.estimate(), [[0.5 / 3, 2.5 / 3]] * 3 + [[0.5, 0.5]], atol=1e-15)
    env.step(np.full(2, 1))
    assert env.round == 1, "eight steps of two agents"


def test_only_those_who_wait_are_left_out():
    world = make_world("SoftmaxPeMDP-v0", n_states=3, n_actions=2, round_length=3).rounds
    world.observe_many(np.array([0, 0, 2]), np.array([0, 1, 1]), np.array([1]))
    assert world.round == 0
    np.testing.assert_allclose(world.estimate(), [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], atol=1e-15)
    world.observe_many(np.array([1]), np.array([1]), np.array([], dtype=np.int64))
    assert world.round == 1


def test_prices_of_those_who_wait_do_not_count_for_the_mean_price():
    world = make_market(price_low=0.0, price_high=4.0, horizon=3, gamma=0.5, round_length=4).rounds
    actions = np.array([[1.0], [-1.0], [0.5]])  # prices 4, 0 and 3
    world.observe_many(np.array([0, 0, 1]), actions, np.array([1]))
    assert world.round == 0
    # One imagined observation of the middle price, 2; a price of the second period weighs half.
    assert world.estimate() == pytest.approx((2.0 + 4.0 + 0.5 * 3.0) / (1.0 + 1.0 + 0.5), rel=1e-12)
    world.observe_many(np.array([0]), np.array([[1.0]]))
    assert world.round == 0, "three prices were seen"
    world.observe_many(np.array([0]), np.array([[1.0]]))
    assert world.round == 1
