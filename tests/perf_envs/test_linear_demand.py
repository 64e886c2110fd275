"""The linear market against closed forms, numerical optimisation, quadrature and differences."""

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from perf_envs import LinearPricingProblem
from perf_envs.worlds.linear_pricing.response import clipped_normal_mean


def season(**changes):
    """Return a season of two different products with a discount that matters."""
    settings = {
        "base_demand": [4.0, 3.0],
        "shift": [1.0, 0.4],
        "price_low": 0.5,
        "price_high": 9.0,
        "n_products": 2,
        "horizon": 6,
        "gamma": 0.8,
    }
    return LinearPricingProblem(**(settings | changes))


def random_gaussians(problem, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    shape = (problem.horizon, problem.n_products)
    return rng.normal(0.0, spread, shape), rng.uniform(0.05, 1.5, shape)


@pytest.mark.parametrize("mean", [-3.0, -1.0, -0.2, 0.0, 0.7, 1.0, 5.0])
@pytest.mark.parametrize("std", [0.01, 0.4, 1.0, 30.0])
def test_the_mean_of_a_clipped_gaussian_is_the_integral(mean, std):
    density = stats.norm(mean, std).pdf
    inside, _ = integrate.quad(lambda x: x * density(x), -1, 1, points=[np.clip(mean, -1, 1)], limit=200)
    expected = inside + stats.norm.sf(1, mean, std) - stats.norm.cdf(-1, mean, std)
    got = clipped_normal_mean(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
    assert float(got) == pytest.approx(expected, abs=1e-8)


def test_a_gaussian_without_spread_is_its_clipped_mean_and_so_is_its_gradient():
    mean = torch.tensor([-4.0, -1.0, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    for std in (0.0, 1e-13, 1e-9):
        got = clipped_normal_mean(mean, torch.full_like(mean, std))
        torch.testing.assert_close(got, torch.tensor([-1.0, -1.0, 0.3, 1.0], dtype=torch.float64), atol=1e-8, rtol=0)
        (slope,) = torch.autograd.grad(got.sum(), mean)
        assert slope[[0, 2, 3]].tolist() == [0.0, 1.0, 0.0]


def test_the_value_has_the_gradient_of_central_differences():
    problem = season()
    for seed in range(5):
        mean, std = (torch.from_numpy(part).requires_grad_() for part in random_gaussians(problem, seed))
        gradients = torch.autograd.grad(problem.performative_value(mean, std), (mean, std))
        arguments = [mean.detach().numpy(), std.detach().numpy()]
        for part, gradient in enumerate(gradients):
            for index in np.ndindex(gradient.shape):
                values = []
                for step in (1e-5, -1e-5):
                    moved = [argument.copy() for argument in arguments]
                    moved[part][index] += step
                    values.append(float(problem.performative_value(*moved)))
                assert float(gradient[index]) == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-7)


def test_torch_finds_the_gradient_right_as_well():
    problem = season(horizon=3)
    mean, std = (torch.from_numpy(part).requires_grad_() for part in random_gaussians(problem, 9))
    assert torch.autograd.gradcheck(problem.performative_value, (mean, std))


def test_the_value_of_a_policy_is_what_its_definition_says():
    problem = season()
    mean, std = random_gaussians(problem, 0, spread=0.4)
    weights = 0.8 ** np.arange(6)
    prices = 0.5 + 8.5 / 2 * (1 + clipped_normal_mean(torch.from_numpy(mean), torch.from_numpy(std)).numpy())
    deployed = (weights[:, None] * prices).sum(0) / weights.sum()
    demand = np.array([4.0, 3.0]) - np.array([1.0, 0.4]) * deployed
    np.testing.assert_allclose(problem.response(mean, std).demand, demand, atol=1e-12)
    expected = sum(weights[t] * prices[t] @ demand for t in range(6))
    assert float(problem.performative_value(mean, std)) == pytest.approx(expected, abs=1e-10)
    assert problem.value_of_price(torch.from_numpy(deployed)) == pytest.approx(expected, abs=1e-10)


def test_no_policy_found_by_an_optimiser_beats_the_closed_form_and_some_reach_it():
    """Prices may differ from period to period and be random; the optimum is that of constant prices all the same."""
    problem = season()
    size = problem.horizon * problem.n_products

    def loss(flat):
        x = torch.from_numpy(flat).requires_grad_()
        value = -problem.performative_value(x[:size].reshape(-1, 2), x[size:].reshape(-1, 2))
        value.backward()
        return float(value.detach()), x.grad.numpy()

    for seed in range(5):
        start = np.concatenate([part.ravel() for part in random_gaussians(problem, seed, spread=0.5)])
        found = optimize.minimize(loss, start, jac=True, bounds=[(-1, 1)] * size + [(0, 2)] * size, tol=1e-14)
        assert -found.fun == pytest.approx(problem.optimal_value, rel=1e-8)
        assert -found.fun <= problem.optimal_value * (1 + 1e-12)


def test_dear_early_and_cheap_late_periods_gain_nothing():
    problem = season()
    bang = np.where(np.arange(6)[:, None] < np.arange(0, 7)[:, None, None], 1.0, -1.0) * np.ones(2)
    values = [float(problem.performative_value(prices, np.zeros((6, 2)))) for prices in bang]
    assert max(values) < problem.optimal_value


def test_the_closed_forms_are_those_of_the_literature():
    problem = season(gamma=0.5, horizon=2)
    np.testing.assert_allclose(problem.optimal_price, [4 / 2, 3 / 0.8], atol=1e-15)
    np.testing.assert_allclose(problem.stable_price, [4.0, 7.5], atol=1e-15)
    # G (mu0^2 / 4 shift), with G = 1 + gamma.
    assert problem.optimal_value == pytest.approx(1.5 * (16 / 4 + 9 / 1.6), rel=1e-14)
    assert problem.stable_value == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("prices", [(0.5, 9.0), (0.5, 3.0), (0.5, 1.5), (5.0, 9.0), (3.0, 9.0), (8.0, 9.0)])
def test_prices_out_of_range_are_replaced_by_the_best_and_the_stable_ones_in_range(prices):
    low, high = prices
    problem = season(price_low=low, price_high=high, n_products=1, base_demand=4.0, shift=1.0)
    grid = np.linspace(low, high, 2001)
    values = [problem.value_of_price(torch.tensor([price])) for price in grid]
    assert problem.optimal_value == pytest.approx(max(values), rel=1e-6)
    assert float(problem.optimal_price) == pytest.approx(grid[np.argmax(values)], abs=(high - low) / 2000)
    actions = np.tile(problem.actions(problem.stable_price.numpy()), (6, 1))
    assert problem.stability_gap(actions, np.zeros((6, 1))) == pytest.approx(0.0, abs=1e-12)


def test_the_stability_gap_is_what_the_best_reply_gains():
    problem = season()
    for seed in range(5):
        mean, std = random_gaussians(problem, seed)
        market = problem.response(mean, std)
        replies = [np.tile(corner, (6, 1)) for corner in np.array(np.meshgrid([-1, 1], [-1, 1])).reshape(2, -1).T]
        best = max(float(problem.decoupled_value(reply * 1.0, np.zeros((6, 2)), market)) for reply in replies)
        own = float(problem.decoupled_value(mean, std, market))
        assert problem.stability_gap(mean, std) == pytest.approx(best - own, abs=1e-10)
        assert best > own


def test_myopic_ascent_goes_to_the_stable_price_and_performative_ascent_to_the_optimal_one():
    problem = season(n_products=1, base_demand=4.0, shift=1.0)
    ends = {}
    for name in ("myopic", "performative"):
        mean = torch.full((6, 1), -0.5, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.SGD([mean], lr=0.01)
        for _ in range(800):
            market = problem.response(mean, torch.zeros(6, 1))
            market = market.detach() if name == "myopic" else market
            optimiser.zero_grad()
            (-problem.decoupled_value(mean, torch.zeros(6, 1), market)).backward()
            optimiser.step()
        ends[name] = float(problem.mean_price(mean.detach(), np.zeros((6, 1))))
    assert ends == {"myopic": pytest.approx(4.0, abs=1e-3), "performative": pytest.approx(2.0, abs=1e-3)}


def test_products_do_not_meddle_with_each_other():
    both = season()
    alone = [season(n_products=1, base_demand=base, shift=shift) for base, shift in ((4.0, 1.0), (3.0, 0.4))]
    mean, std = random_gaussians(both, 3)
    parts = [float(one.performative_value(mean[:, [i]], std[:, [i]])) for i, one in enumerate(alone)]
    assert float(both.performative_value(mean, std)) == pytest.approx(sum(parts), rel=1e-13)
    assert both.optimal_value == pytest.approx(sum(one.optimal_value for one in alone), rel=1e-13)


def test_expected_rewards_are_those_of_clipped_actions_and_differentiable():
    problem = season()
    market = problem.market(torch.tensor([1.0, 2.0], dtype=torch.float64))
    actions = torch.tensor([[-2.0, 0.0], [-1.0, 0.0], [0.5, 7.0]], dtype=torch.float64, requires_grad=True)
    rewards = problem.expected_rewards(market, actions)
    prices = np.array([[0.5, 4.75], [0.5, 4.75], [6.875, 9.0]])
    np.testing.assert_allclose(rewards.detach(), prices @ np.array([3.0, 2.2]), atol=1e-12)
    (slopes,) = torch.autograd.grad(rewards.sum(), actions)
    np.testing.assert_allclose(slopes[2], [4.25 * 3.0, 0.0], atol=1e-12)


def test_the_shift_is_the_largest_change_of_expected_rewards_over_all_prices():
    problem = season()
    rng = np.random.default_rng(0)
    for _ in range(10):
        old, new = (problem.market(torch.from_numpy(rng.uniform(0, 9, 2))) for _ in range(2))
        corners = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)], dtype=torch.float64)
        largest = (new.expected_rewards(corners) - old.expected_rewards(corners)).abs().max()
        assert new.shift_from(old) == (0.0, pytest.approx(float(largest), abs=1e-12))


def test_demand_mixes_linearly():
    problem = season()
    old, new = problem.unshifted(), problem.market(torch.tensor([2.0, 5.0], dtype=torch.float64))
    np.testing.assert_allclose(old.mix(new, 0.25).demand, [4.0 - 0.25 * 2.0, 3.0 - 0.25 * 2.0], atol=1e-14)


def test_without_a_shift_the_world_is_ordinary():
    problem = season(shift=0.0)
    mean, std = random_gaussians(problem, 0)
    np.testing.assert_array_equal(problem.response(mean, std).demand, problem.unshifted().demand)
    assert problem.optimal_price.tolist() == problem.stable_price.tolist() == [9.0, 9.0]


BAD = [
    ({"base_demand": 0.0}, "base_demand must be > 0, got 0.0"),
    ({"base_demand": [1.0]}, "base_demand must be a number or 2 numbers"),
    ({"shift": -1.0}, "shift must be >= 0, got -1.0"),
    ({"shift": [1.0, float("nan")]}, "shift must be >= 0, got nan"),
    ({"demand_std": -0.1}, "demand_std must be >= 0, got -0.1"),
    ({"demand_std": "much"}, "demand_std must be a number >= 0, got 'much'"),
    ({"price_low": -1.0}, "price_low must be >= 0, got -1.0"),
    ({"price_high": 0.5}, "price_high must be > 0.5, got 0.5"),
    ({"n_products": 0}, "n_products must be >= 1, got 0"),
    ({"horizon": 2.5}, "horizon must be a whole number >= 1, got 2.5"),
    ({"gamma": 1.0}, "gamma must be > 0 and < 1, got 1.0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        season(**changes)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (np.zeros((6, 1)), np.zeros((6, 2)), r"mean must have shape \(6, 2\), got \(6, 1\)"),
        (np.zeros((6, 2)), np.zeros(2), r"std must have shape \(6, 2\), got \(2,\)"),
        (np.full((6, 2), np.nan), np.zeros((6, 2)), "mean must be finite"),
        (np.zeros((6, 2)), np.full((6, 2), -0.5), "std must be non-negative, got -0.5"),
        ("cheap", np.zeros((6, 2)), r"mean must be an array of numbers \[6, 2\], got str"),
    ],
)
def test_bad_policies_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        season().response(mean, std)
