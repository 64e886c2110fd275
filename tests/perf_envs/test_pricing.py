"""The season of sales against a brute-force market, written in plain recursions."""

import numpy as np
import pytest
import torch

from perf_envs import exact
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
    return env.problem.response(pi).latents["willingness"]


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


def excess(env, pi, willingness):
    """Return ``w - revised(w)`` for many ``w``, by the recursion over stocks written out once more."""
    response, schedule = env.problem.response_map, pi[:-1].reshape(env.horizon, env.inventory, -1)
    distance = (willingness[:, None] - env.prices) / response.temperature
    buys = response.arrival * (0.5 + 0.5 * np.tanh(0.5 * distance))
    stock = np.zeros((len(willingness), env.inventory))
    stock[:, -1] = 1.0
    paid = present = 0.0
    for row in schedule:
        paid, present = paid + stock @ (row @ env.prices), present + stock.sum(-1)
        sold = stock * (buys @ row.T)
        stock = stock - sold
        stock[:, :-1] += sold[:, 1:]
    return willingness - response.base_willingness + response.shift * (paid / present - response.reference_price)


def first_fixed_point(env, pi, n_points=20_001):
    """Return an interval with the first fixed point on the way, by a dense grid and a closer look at its peaks."""
    response = env.problem.response_map
    start = excess(env, pi, np.array([response.base_willingness]))[0]
    extreme = env.prices[0] if start < 0.0 else env.prices[-1]
    limit = response.base_willingness - response.shift * (extreme - response.reference_price)
    way = np.linspace(response.base_willingness, limit, n_points)

    def short_of(at):
        return np.sign(start) * excess(env, pi, at)

    distance = short_of(way)
    arrived = int((distance <= 1e-12).argmax()) if (distance <= 1e-12).any() else n_points - 1
    for index in range(1, arrived):
        if distance[index] <= distance[[index - 1, index + 1]].min():
            low, high = way[index - 1], way[index + 1]
            for _ in range(8):
                closer = np.linspace(low, high, 41)
                best = int(short_of(closer).argmin())
                if short_of(closer)[best] <= 1e-12:
                    return sorted((way[index - 1], closer[best]))
                low, high = closer[max(best - 1, 0)], closer[min(best + 1, 40)]
    return sorted((way[max(arrived - 1, 0)], way[arrived]))


# A price, and the period from which on another one is posted: each of these has fixed points closer together than a
# hundredth of the way.
STEEP = [
    # temperature, shift, inventory, period, price before, price from then on
    (0.1, 10.0, 2, 3, 3, 4),
    (0.05, 10.0, 3, 4, 3, 4),
    (0.05, 20.0, 3, 7, 3, 7),
    (0.02, 20.0, 1, 2, 3, 4),
    (0.02, 20.0, 1, 4, 3, 7),
    (0.02, 20.0, 2, 5, 3, 5),
    (0.02, 20.0, 3, 7, 3, 7),
]


@pytest.mark.parametrize(("temperature", "shift", "inventory", "period", "before", "then"), STEEP)
def test_no_fixed_point_is_passed_over_in_a_steep_market(temperature, shift, inventory, period, before, then):
    env = make_world(WORLD, horizon=20, inventory=inventory, shift=shift, temperature=temperature)
    pi = np.eye(env.n_actions)[np.where(np.arange(env.n_states) < period * inventory, before, then)]
    low, high = first_fixed_point(env, pi)
    assert low > 2.0  # the next one is at less than -1
    assert low <= float(willingness(env, pi)) <= high


def test_a_policy_is_worth_what_it_earns_at_the_first_fixed_point():
    env = make_world(WORLD, horizon=20, inventory=2, shift=10.0, temperature=0.1)
    pi = np.eye(env.n_actions)[np.where(np.arange(env.n_states) < 6, 3, 4)]
    w = sum(first_fixed_point(env, pi)) / 2
    buys = 0.8 / (1 + np.exp(-(w - env.prices) / 0.1))
    values = np.zeros((21, 3))  # by period and units left
    for period in reversed(range(20)):
        action = 3 if period < 3 else 4
        for units in (1, 2):
            after = env.prices[action] + 0.99 * values[period + 1, units - 1]
            values[period, units] = buys[action] * after + (1 - buys[action]) * 0.99 * values[period + 1, units]
    assert float(exact.performative_value(env.problem, pi)) == pytest.approx(values[0, 2], rel=1e-3)
    assert values[0, 2] == pytest.approx(4.019, abs=0.01)


def steep_policies(env, rng):
    """Return policies that keep to one price in every state, every period, every stock, and a random one."""
    rows, periods, stocks = np.eye(env.n_actions), range(env.horizon), range(env.inventory)
    by_period, by_stock = rng.integers(env.n_actions, size=env.horizon), rng.integers(env.n_actions, size=env.inventory)
    yield rows[rng.integers(env.n_actions, size=env.n_states)]
    yield rows[[*(by_period[period] for period in periods for _ in stocks), 0]]
    yield rows[[*(by_stock[stock] for _ in periods for stock in stocks), 0]]
    yield rng.dirichlet(np.full(env.n_actions, 0.2), size=env.n_states)


@pytest.mark.parametrize("seed", range(24))
def test_the_fixed_point_is_the_first_one_of_a_dense_search(seed):
    rng = np.random.default_rng(seed)
    env = make_world(
        WORLD,
        horizon=int(rng.integers(1, 21)),
        inventory=int(rng.integers(1, 7)),
        shift=float(rng.choice([3.0, 10.0, 20.0])),
        temperature=float(rng.choice([0.02, 0.05, 0.1])),
        base_willingness=float(rng.uniform(-2.0, 8.0)),
        reference_price=float(rng.uniform(0.2, 4.0)),
    )
    for pi in steep_policies(env, rng):
        low, high = first_fixed_point(env, pi)
        assert low - 1e-9 <= float(willingness(env, pi)) <= high + 1e-9


def test_where_a_fixed_point_vanishes_it_is_taken_as_long_as_it_is_there_to_rounding():
    env = make_world(WORLD, horizon=20, inventory=2, shift=10.0, temperature=0.1)
    near = np.eye(env.n_actions)[np.where(np.arange(env.n_states) < 6, 3, 4)]
    far = np.eye(env.n_actions)[np.random.default_rng(0).integers(env.n_actions, size=env.n_states)]
    low, high = 0.0, 0.02
    for _ in range(60):  # between these mixtures the willingness jumps from 2.6 to less than -1
        middle = 0.5 * (low + high)
        stays = float(willingness(env, (1 - middle) * near + middle * far)) > 2.0
        low, high = (middle, high) if stays else (low, middle)
    last, first_without = ((1 - share) * near + share * far for share in (low, high))
    around = float(willingness(env, last)) + np.linspace(-1e-3, 1e-3, 20_001)
    assert excess(env, last, around).min() <= 1e-10
    assert excess(env, first_without, around).min() > -1e-10
    assert float(willingness(env, first_without)) < -1.0


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
