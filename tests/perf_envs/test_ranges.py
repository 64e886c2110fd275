"""Where the ranges of arguments end: the last value that is taken, and the first one that is not."""

import numpy as np
import pytest

from perf_envs.perception import NoisyResponse, QuantisedResponse
from perf_envs.worlds.gridworld.response import FollowerResponse
from tests.perf_envs.worlds import make_world

GRID, LINEAR, PRICING, SOFTMAX = (
    "PerformativeGridWorld-v0",
    "LinearPricing-v0",
    "PerformativePricing-v0",
    "SoftmaxPeMDP-v0",
)
TINY = 1e-9
#: World, argument, values that are taken, values that are not.
RANGES = [
    *[(world_id, "gamma", [TINY, 1 - TINY], [0.0, 1.0]) for world_id in (GRID, LINEAR, PRICING, SOFTMAX)],
    *[(world_id, "adaptation_rate", [TINY, 1.0], [0.0, 1.0 + TINY]) for world_id in (GRID, LINEAR)],
    *[(world_id, "round_length", [1], [0, 1.5]) for world_id in (GRID, LINEAR)],
    (GRID, "beta", [TINY], [0.0]),
    (GRID, "intervention_cost", [0.0], [-TINY]),
    (GRID, "n_followers", [1], [0]),
    (GRID, "epsilon", [0.0, 1.0], [-TINY, 1.0 + TINY]),
    (LINEAR, "n_products", [1], [0]),
    (LINEAR, "base_demand", [TINY], [0.0]),
    (LINEAR, "shift", [0.0], [-TINY]),
    (LINEAR, "demand_std", [0.0], [-TINY]),
    (LINEAR, "price_low", [0.0, 6.0 - TINY], [-TINY, 6.0]),
    (LINEAR, "price_high", [TINY], [0.0]),
    (LINEAR, "horizon", [1], [0]),
    (PRICING, "horizon", [1], [0]),
    (PRICING, "inventory", [1], [0]),
    (PRICING, "arrival", [TINY, 1.0], [0.0, 1.0 + TINY]),
    (PRICING, "temperature", [0.01], [0.0]),
    (PRICING, "shift", [0.0], [-TINY]),
    (PRICING, "n_prices", [2], [1]),
    (PRICING, "min_price", [TINY], [0.0]),
    (SOFTMAX, "n_states", [1], [0]),
    (SOFTMAX, "n_actions", [1], [0]),
    (SOFTMAX, "n_successors", [1], [0]),
    (SOFTMAX, "instance_seed", [0], [-1]),
]


@pytest.mark.parametrize(("world_id", "name", "taken", "refused"), RANGES, ids=lambda value: str(value)[:24])
def test_ranges_end_where_the_docstring_says(world_id, name, taken, refused):
    small = {"n_followers": 2} if world_id == GRID else {}
    for value in taken:
        make_world(world_id, **small | {name: value})
    for value in refused:
        with pytest.raises(ValueError, match=rf"{name}|price_high"):  # a low price too high is one of the two
            make_world(world_id, **small | {name: value})


@pytest.mark.parametrize(
    ("wrapper", "name", "taken", "refused"),
    [
        (QuantisedResponse, "levels", 1, 0),
        (NoisyResponse, "noise", 0.0, -TINY),
        (NoisyResponse, "n_samples", 1, 0),
        (NoisyResponse, "seed", 0, -1),
    ],
)
def test_ranges_of_wrappers_end_where_the_docstring_says(wrapper, name, taken, refused):
    response = make_world(SOFTMAX).problem.response_map
    wrapper(response, **{name: taken})
    with pytest.raises(ValueError, match=name):
        wrapper(response, **{name: refused})


@pytest.mark.parametrize("world_id", [GRID, PRICING, SOFTMAX])
def test_worlds_of_the_smallest_size_can_be_lived_in(world_id):
    smallest = {
        GRID: {"n_followers": 1},
        PRICING: {"horizon": 1, "inventory": 1, "n_prices": 2},
        SOFTMAX: {"n_states": 1, "n_actions": 1},
    }[world_id]
    env = make_world(world_id, deployment="declared", **smallest)
    env.reset(seed=0)
    env.deploy(np.full((env.n_states, env.n_actions), 1.0 / env.n_actions))
    _, reward, *_ = env.step(0)
    assert np.isfinite(reward)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_followers_discount_what_comes_later(gamma):
    nowhere, nothing = np.zeros((1, 4), dtype=np.int64), np.zeros(1)
    with pytest.raises(ValueError, match="gamma"):
        FollowerResponse(
            nowhere, nothing, nothing[None], np.array([True]), beta=1.0, gamma=gamma, intervention_cost=0.0
        )
