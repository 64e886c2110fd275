"""How far a gradual world says it moved: the way it went, not the way to the answer it is on its way to."""

import numpy as np
import pytest

from tests.perf_envs.linear_world import make as make_market
from tests.perf_envs.worlds import IDS, dense, make_world, random_policy


@pytest.mark.parametrize("world_id", IDS)
def test_the_shift_of_a_gradual_world_is_the_distance_it_moved(world_id):
    env = make_world(world_id, deployment="declared", adaptation_rate=0.25)
    for seed in (0, 0, 1):
        P_before, r_before = dense(env.dynamics)
        shift = env.deploy(random_policy(env, seed))
        P, r = dense(env.dynamics)
        assert shift.transition == pytest.approx(np.abs(P - P_before).sum(-1).max(), abs=1e-12)
        assert shift.reward == pytest.approx(np.abs(r - r_before).max(), abs=1e-12)


@pytest.mark.parametrize("world_id", IDS)
def test_a_gradual_world_moves_less_at_each_repetition_of_the_same_policy(world_id):
    env = make_world(world_id, deployment="declared", adaptation_rate=0.25)
    pi = random_policy(env, 0)
    whole = make_world(world_id, deployment="declared").deploy(pi)
    for repetition in range(3):
        shift = env.deploy(pi)
        np.testing.assert_allclose(shift, 0.25 * 0.75**repetition * np.array(whole), rtol=1e-9, atol=1e-12)


def test_a_gradual_market_moves_less_at_each_repetition_of_the_same_prices():
    env = make_market(adaptation_rate=0.25, horizon=20, price_low=1.0, price_high=3.0, base_demand=4.0, shift=0.5)
    for repetition in range(3):
        # Prices spread evenly around 2 take 1 off demand in the end, which costs most at the highest price, 3.
        shift = env.deploy((np.zeros((20, 1)), np.full((20, 1), 0.1)))
        assert shift.transition == 0.0
        assert shift.reward == pytest.approx(3.0 * 1.0 * 0.25 * 0.75**repetition, rel=1e-9)
