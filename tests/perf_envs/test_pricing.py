"""The season of sales against a brute-force market, written in plain recursions."""

import numpy as np
import pytest
import torch

from tests.perf_envs.worlds import dense, make_world, random_logits, random_policy

WORLD = "PerformativePricing-v0"


def sale_probability(env, settings, w):
    return settings.get("arrival", 0.8) / (1 + np.exp(-(w - env.prices) / settings.get("temperature", 1.0)))


def mean_posted_price(env, settings, pi, w):
    """Return ``m(pi, w)`` by following every stock level through the season."""
    buys = sale_probability(env, settings, w)
    stock = {env.inventory: 1.0}
    paid = present = 0.0
    for period in range(env.horizon):
        following = dict.fromkeys(range(env.inventory + 1), 0.0)
        for units, mass in stock.items():
            if units == 0:
                continue
            row = pi[period * env.inventory + units - 1]
            paid += mass * (row @ env.prices)
            present += mass
            sold = row @ buys
            following[units] += mass * (1 - sold)
            following[units - 1] += mass * sold
        stock = following
    return paid / present


def revised(env, settings, pi, w):
    """Return the willingness to pay of customers who know the market with willingness ``w``."""
    deviation = mean_posted_price(env, settings, pi, w) - settings.get("reference_price", 2.0)
    return settings.get("base_willingness", 3.0) - settings.get("shift", 3.0) * deviation


def willingness(env, pi):
    return env.problem.response(pi).answer["willingness"]


SETTINGS = [
    {},
    {"horizon": 1, "inventory": 1},
    {"horizon": 3, "inventory": 9, "n_prices": 2},
    {"horizon": 12, "inventory": 2, "arrival": 1.0, "temperature": 0.2},
    {"shift": 20.0, "temperature": 0.05},
    {"base_willingness": -2.0, "reference_price": 0.1, "shift": 0.4},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("concentration", [0.01, 1.0])
def test_willingness_to_pay_is_a_fixed_point_of_the_brute_force_market(settings, concentration):
    env = make_world(WORLD, **settings)
    for seed in range(5):
        pi = random_policy(env, seed, concentration)
        w = float(willingness(env, pi))
        assert abs(w - revised(env, settings, pi, w)) < 1e-12


@pytest.mark.parametrize("settings", SETTINGS[:4])
def test_transitions_and_rewards_are_those_of_the_season(settings):
    env = make_world(WORLD, **settings)
    pi = random_policy(env, 0)
    P, r = dense(env.problem.response(pi))
    buys = sale_probability(env, settings, float(willingness(env, pi)))
    end = env.n_states - 1
    assert end == env.horizon * env.inventory
    for period, units in np.ndindex(env.horizon, env.inventory):
        state = period * env.inventory + units  # ``units + 1`` units are left
        last = period == env.horizon - 1
        unsold = end if last else state + env.inventory
        sold = end if last or units == 0 else state + env.inventory - 1
        for action, price in enumerate(env.prices):
            expected = np.zeros(env.n_states)
            expected[sold] += buys[action]
            expected[unsold] += 1 - buys[action]
            np.testing.assert_allclose(P[state, action], expected, atol=1e-14)
            assert r[state, action] == pytest.approx(buys[action] * price, abs=1e-14)
    assert (P[end, :, end] == 1.0).all()
    assert (r[end] == 0.0).all()


@pytest.mark.parametrize("dear", [False, True])
def test_of_several_fixed_points_the_market_takes_the_first_in_the_direction_of_revision(dear):
    settings = {"base_willingness": 8.0, "reference_price": 0.2} if dear else {}
    env = make_world(WORLD, **settings)
    # Dear while the stock is full, cheap once something has been sold: who expects to buy early finds it cheap later.
    pi = np.eye(env.n_actions)[np.where(np.arange(env.n_states) % env.inventory == env.inventory - 1, 7, 0)]
    base = env.problem.response_map.base_willingness
    extremes = [base - 3.0 * (price - settings.get("reference_price", 2.0)) for price in env.prices[[0, -1]]]
    grid = np.linspace(min(extremes), max(extremes), 4001)
    excess = np.array([w - revised(env, settings, pi, w) for w in grid])
    crossings = grid[:-1][np.sign(excess[:-1]) != np.sign(excess[1:])]
    assert len(crossings) >= 3
    upwards = revised(env, settings, pi, base) > base
    first = crossings[crossings > base].min() if upwards else crossings[crossings < base].max()
    assert upwards is not dear
    assert float(willingness(env, pi)) == pytest.approx(first, abs=2 * (grid[1] - grid[0]))


def test_the_gradient_of_willingness_is_that_of_central_differences():
    env = make_world(WORLD)
    for seed in range(5):
        logits = random_logits(env, seed).requires_grad_()
        (gradient,) = torch.autograd.grad(willingness(env, torch.softmax(logits, -1)), logits)
        along = gradient / gradient.norm() + 0.1 * random_logits(env, seed + 100)
        along /= along.norm()
        with torch.no_grad():
            up, down = (willingness(env, torch.softmax(logits + h * along, -1)) for h in (1e-4, -1e-4))
        assert float((up - down) / 2e-4) == pytest.approx(float((gradient * along).sum()), rel=1e-6)


def test_a_constant_price_at_the_reference_leaves_the_customers_alone():
    env = make_world(WORLD, reference_price=2.0)
    pi = np.eye(env.n_actions)[np.full(env.n_states, 3)]
    assert env.prices[3] == 2.0
    assert float(willingness(env, pi)) == pytest.approx(3.0, abs=1e-12)


@pytest.mark.parametrize("action", range(8))
def test_a_constant_price_shifts_willingness_in_closed_form(action):
    env = make_world(WORLD)
    pi = np.eye(env.n_actions)[np.full(env.n_states, action)]
    assert float(willingness(env, pi)) == pytest.approx(3.0 - 3.0 * (env.prices[action] - 2.0), abs=1e-12)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 6.0])
def test_the_same_mix_of_prices_everywhere_shifts_willingness_in_closed_form(shift):
    # The fixed point of some of these lies on a point of the search, to rounding: no bracket has it inside. With a mean
    # at the reference price it is the first point, where the search starts.
    world = make_world("PerformativePricing-v0", shift=shift)
    response, rng = world.problem.response_map, np.random.default_rng(0)
    mixes = rng.multinomial(8, np.full(response.n_actions, 1.0 / response.n_actions), size=2000) / 8.0
    at_reference = np.isclose(mixes @ response.prices.numpy(), response.reference_price)
    assert at_reference.sum() > 50
    for mix in (*mixes[:60], *mixes[at_reference]):
        pi = torch.from_numpy(np.tile(mix, (response.n_states, 1)))
        mean = float(mix @ response.prices.numpy())
        expected = response.base_willingness - shift * (mean - response.reference_price)
        assert float(response.willingness(pi)) == pytest.approx(expected, abs=1e-12)


def test_without_shift_the_market_is_an_ordinary_decision_process():
    env = make_world(WORLD, shift=0.0)
    before = dense(env.problem.unshifted())
    logits = random_logits(env, 0).requires_grad_()
    dynamics = env.problem.response(torch.softmax(logits, -1))
    for now, then in zip(dense(dynamics), before, strict=True):
        np.testing.assert_array_equal(now, then)
    (gradient,) = torch.autograd.grad(dynamics.probs[:, :, 0].sum(), logits)
    assert gradient.abs().max() == 0.0


def test_the_season_starts_full_and_ends_with_the_last_period_or_unit():
    env = make_world(WORLD, deployment="declared")
    state, _ = env.reset(seed=0)
    assert state == env.inventory - 1
    for _ in range(50):
        state, _ = env.reset()
        units, periods, terminated = env.inventory, 0, False
        while not terminated:
            state, reward, terminated, truncated, info = env.step(1)
            units -= info["sale"]
            periods += 1
            assert reward == (info["price"] if info["sale"] else 0.0)
            assert info["price"] == 1.0
            assert terminated == (periods == env.horizon or units == 0)
            assert not truncated
            if not terminated:
                assert divmod(state, env.inventory) == (periods, units - 1)
