"""Response wrappers: what a roughened world perceives, its gradients, and its expectation under noise."""

import itertools
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from perf_envs import PerformativeMDP, exact
from perf_envs.perception import NoisyResponse, PiecewiseLinearResponse, QuantisedResponse, wrap_response
from tests.perf_envs.worlds import IDS, dense, make_world, random_logits, random_pemdp, random_policy

POINTS = [[0.0, 0.0], [0.25, 0.1], [0.75, 0.9], [1.0, 1.0]]
WRAPPERS = [
    "piecewise-linear",
    {"name": "quantised", "levels": 3, "surrogate": "straight-through"},
    {"name": "noisy", "noise": 0.3, "n_samples": 3, "seed": 7},
    ["quantised", {"name": "noisy", "noise": 0.2, "n_samples": 2}],
]
worlds = pytest.mark.parametrize("world_id", IDS)
wrappers = pytest.mark.parametrize("wrapper", WRAPPERS, ids=json.dumps)


def perceived(response, pi):
    return response.perceive(torch.as_tensor(np.asarray(pi), dtype=torch.float64)).detach().numpy()


def central_differences(function, logits, step=1e-6):
    gradient = np.zeros(logits.shape)
    for index in np.ndindex(logits.shape):
        moved = [logits.clone(), logits.clone()]
        moved[0][index] += step
        moved[1][index] -= step
        gradient[index] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return gradient


def value_of_logits(problem):
    return lambda logits: float(exact.performative_value(problem, torch.softmax(logits, -1)))


# -- piecewise linear ------------------------------------------------------------------------------------------------


def test_probabilities_pass_through_the_curve_and_rows_sum_to_one():
    problem = random_pemdp(0)
    response = PiecewiseLinearResponse(problem.response_map, POINTS)
    pi = random_policy(problem, 1, concentration=0.4)
    seen = np.interp(pi, *np.transpose(POINTS))
    expected = seen / seen.sum(-1, keepdims=True)
    np.testing.assert_allclose(perceived(response, pi), expected, atol=1e-15)
    for got, wanted in zip(dense(response(pi)), dense(problem.response(expected)), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_the_curve_is_exact_at_its_corners_and_ends():
    response = PiecewiseLinearResponse(random_pemdp(0).response_map, [[0, 0], [0.5, 0.2], [1, 1]])
    np.testing.assert_allclose(perceived(response, [[0.0, 1.0], [0.5, 0.5]]), [[0.0, 1.0], [0.5, 0.5]], atol=1e-15)


def test_the_straight_curve_changes_nothing():
    problem = random_pemdp(3)
    straight = wrap_response(problem, {"name": "piecewise-linear", "points": [[0, 0], [0.3, 0.3], [1, 1]]})
    logits = random_logits(problem, 0)
    torch.testing.assert_close(
        exact.performative_gradient(straight, logits), exact.performative_gradient(problem, logits), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_through_the_curve_is_that_of_central_differences(seed):
    problem = wrap_response(random_pemdp(seed, max_states=6), "piecewise-linear")
    logits = random_logits(problem, seed)
    pi = torch.softmax(logits, -1)
    assert float((pi[..., None] - torch.tensor([0.25, 0.75])).abs().min()) > 1e-4, "not at a kink"
    expected = central_differences(value_of_logits(problem), logits)
    np.testing.assert_allclose(exact.performative_gradient(problem, logits), expected, atol=1e-7)


def test_at_a_kink_the_answer_is_continuous_and_its_slope_jumps():
    response = PiecewiseLinearResponse(random_pemdp(0).response_map, [[0, 0], [0.5, 0.2], [1, 1]])

    def seen(p):
        return perceived(response, [[p, 1 - p]])[0, 0]

    h = 1e-7
    left, right = (seen(0.4) - seen(0.4 - h)) / h, (seen(0.6 + h) - seen(0.6)) / h
    assert seen(0.5 + h) - seen(0.5 - h) < 1e-5
    slopes = [0.4, 1.6]  # of the curve on either side; with two actions the other one is on the other side
    for p, slope, got in ((0.4, slopes, left), (0.6, slopes[::-1], right)):
        own, other = np.interp([p, 1 - p], [0, 0.5, 1], [0, 0.2, 1])
        assert got == pytest.approx((slope[0] * other + slope[1] * own) / (own + other) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "probabilities that increase from 0 to 1"),
        ([[0, 0]], "probabilities that increase from 0 to 1"),
        ([[0, 0], [0.5, 0.5]], "probabilities that increase from 0 to 1"),
        ([[0, 0], [0.5, 0.1], [0.5, 0.2], [1, 1]], "probabilities that increase from 0 to 1"),
        ([[0, 0.2], [1, 0.1]], "that do not fall"),
        ([[0, -0.1], [1, 1]], ">= 0"),
        ([[0, 0], [1, float("inf")]], ">= 0"),
        ([[0, 0], [0.5, 0], [1, 1]], "every probability above 0 as above 0"),
        ("curve", "probability, perceived"),
        ([[0, 0, 0], [1, 1, 1]], "probability, perceived"),
    ],
)
def test_what_is_no_curve_is_refused(points, message):
    with pytest.raises(ValueError, match=f"points must (be|have|perceive) .*{message}"):
        PiecewiseLinearResponse(random_pemdp(0).response_map, points)


# -- quantised -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_actions", "levels"), [(2, 1), (2, 4), (3, 2), (3, 5), (4, 3)])
def test_the_nearest_table_on_the_grid_is_perceived(n_actions, levels):
    problem = make_world("SoftmaxPeMDP-v0", n_states=40, n_actions=n_actions).problem
    pi = random_policy(problem, 0)
    seen = perceived(QuantisedResponse(problem.response_map, levels), pi)
    grid = np.array([row for row in itertools.product(range(levels + 1), repeat=n_actions) if sum(row) == levels])
    nearest = ((pi[:, None] - grid / levels) ** 2).sum(-1).min(-1)
    np.testing.assert_allclose(((pi - seen) ** 2).sum(-1), nearest, atol=1e-15)
    np.testing.assert_allclose(seen * levels, (seen * levels).round(), atol=1e-12)
    np.testing.assert_allclose(seen.sum(-1), 1.0, atol=1e-15)


def test_tables_on_the_grid_are_perceived_as_they_are_and_rounding_decides_no_tie():
    response = QuantisedResponse(make_world("SoftmaxPeMDP-v0", n_states=3, n_actions=3).problem.response_map, 10)
    pi = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(perceived(response, pi), pi, atol=1e-15)
    uniform = np.full((3, 3), 1 / 3)
    for noise in (0.0, 1e-14, -1e-14):
        uniform[:, 2] = 1 / 3 + noise
        np.testing.assert_allclose(perceived(response, uniform), np.tile([0.4, 0.3, 0.3], (3, 1)), atol=1e-15)


def test_steps_that_are_missing_go_to_the_largest_remainders_and_among_equal_ones_to_the_first():
    response = QuantisedResponse(make_world("SoftmaxPeMDP-v0", n_states=5, n_actions=4).problem.response_map, 4)
    pi = np.array(
        [
            [0.375, 0.375, 0.125, 0.125],  # in quarters 1.5 1.5 0.5 0.5, of which two are missing
            [0.125, 0.125, 0.375, 0.375],
            [0.0625, 0.3125, 0.3125, 0.3125],  # 0.25 1.25 1.25 1.25
            [0.3125, 0.3125, 0.3125, 0.0625],
            [0.1, 0.15, 0.35, 0.4],  # 0.4 0.6 1.4 1.6
        ]
    )
    quarters = [[2, 2, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [2, 1, 1, 0], [0, 1, 1, 2]]
    np.testing.assert_array_equal(4 * perceived(response, pi), quarters)


def test_a_probability_on_the_grid_is_not_rounded_down_for_a_rounding_error():
    """Three quarters less 1e-13 are three quarters: nothing is missing that could go to the other action."""
    response = QuantisedResponse(make_world("SoftmaxPeMDP-v0", n_states=2, n_actions=2).problem.response_map, 4)
    pi = np.array([[0.75 - 1e-13, 0.25 + 1e-13], [0.25 + 1e-13, 0.75 - 1e-13]])
    np.testing.assert_array_equal(perceived(response, pi), [[0.75, 0.25], [0.25, 0.75]])


def test_the_answer_does_not_move_with_small_changes_so_its_gradient_is_zero():
    problem = wrap_response(random_pemdp(1, max_states=5), {"name": "quantised", "levels": 4})
    logits = random_logits(problem, 0)
    here = dense(problem.response(torch.softmax(logits, -1)))
    there = dense(problem.response(torch.softmax(logits + 1e-6 * random_logits(problem, 1), -1)))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)
    expected = central_differences(value_of_logits(problem), logits)
    np.testing.assert_allclose(exact.performative_gradient(problem, logits, 0.0), expected, atol=1e-7)


@worlds
def test_without_a_surrogate_the_performative_gradient_is_refused(world_id):
    problem = make_world(world_id, response_wrapper="quantised").problem
    with pytest.raises(ValueError, match="response map returned dynamics without gradients"):
        exact.performative_gradient(problem, random_logits(problem, 0))


def test_straight_through_is_the_answers_gradient_where_it_is_perceived():
    plain = random_pemdp(2, max_states=6)
    problem = wrap_response(plain, {"name": "quantised", "levels": 4, "surrogate": "straight-through"})
    pi = torch.from_numpy(random_policy(plain, 0))
    seen = torch.from_numpy(perceived(problem.response_map, pi)).requires_grad_()
    terms = exact.gradient_terms(problem, pi)
    density = terms.occupancy[:, None] / (1 - plain.gamma) * pi
    answer = plain.response(seen)
    payoff = answer.rewards + plain.gamma * answer.expected_next(terms.evaluation.state_values)
    (slope,) = torch.autograd.grad((density * payoff).sum(), seen)
    np.testing.assert_allclose(terms.response, slope - (pi * slope).sum(-1, keepdim=True), atol=1e-12)
    np.testing.assert_array_equal(perceived(problem.response_map, pi), seen.detach())


# -- noisy -----------------------------------------------------------------------------------------------------------


def test_without_noise_nothing_changes():
    problem = random_pemdp(4)
    silent = wrap_response(problem, {"name": "noisy", "noise": 0.0, "n_samples": 2})
    pi = random_policy(problem, 0)
    assert float(exact.performative_value(silent, pi)) == pytest.approx(float(exact.performative_value(problem, pi)))
    for one, other in zip(dense(silent.draw(pi, np.random.default_rng(0))), dense(problem.response(pi)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)


def test_exact_values_are_averages_over_fixed_draws():
    plain = random_pemdp(5, max_states=8)
    problem = wrap_response(plain, {"name": "noisy", "noise": 0.7, "n_samples": 5, "seed": 3})
    pi = random_policy(plain, 0)
    rng = np.random.default_rng(3)
    answers = []
    for _ in range(5):
        seen = pi * np.exp(0.7 * rng.standard_normal(pi.shape))
        answers.append(plain.response(seen / seen.sum(-1, keepdims=True)))
    values = [float(plain.rho @ exact.state_values(answer, pi)) for answer in answers]
    assert np.ptp(values) > 1e-4
    assert float(exact.performative_value(problem, pi)) == pytest.approx(np.mean(values), abs=1e-12)
    assert float(problem.rho @ exact.state_values(problem, pi)) == pytest.approx(np.mean(values), abs=1e-12)
    occupancy = np.mean([exact.occupancy(answer, pi).numpy() for answer in answers], axis=0)
    np.testing.assert_allclose(exact.occupancy(problem, pi), occupancy, atol=1e-12)
    best = [float(plain.rho @ exact.optimal_policy(answer)[1]) for answer in answers]
    assert exact.stability_gap(problem, pi) == pytest.approx(np.mean(best) - np.mean(values), abs=1e-10)


def test_the_gradient_of_the_average_is_that_of_central_differences():
    problem = wrap_response(random_pemdp(6, max_states=5), {"name": "noisy", "noise": 0.5, "n_samples": 4})
    logits = random_logits(problem, 0)
    expected = central_differences(value_of_logits(problem), logits)
    np.testing.assert_allclose(exact.performative_gradient(problem, logits), expected, atol=1e-7)


def test_the_worlds_that_deployments_bring_about_earn_the_exact_value_on_average():
    settings = {"n_states": 4, "n_actions": 3, "kappa": 3.0, "deployment": "declared"}
    noisy = {"name": "noisy", "noise": 1.0, "n_samples": 1000, "seed": 1}
    env = make_world("SoftmaxPeMDP-v0", response_wrapper=noisy, **settings)
    pi = random_policy(env, 0)
    env.reset(seed=5)
    earned = []
    for _ in range(1000):
        env.deploy(pi)
        earned.append(float(env.problem.rho @ exact.state_values(env.dynamics, pi)))
    error = np.std(earned) * np.sqrt(2 / 1000)
    assert error > 1e-5
    assert abs(np.mean(earned) - float(exact.performative_value(env.problem, pi))) <= 4 * error


@worlds
def test_the_same_seed_brings_the_same_noise_and_every_round_its_own(world_id):
    env = make_world(world_id, response_wrapper="noisy")
    pi = random_policy(env, 0)

    def answers(seed, rounds=3):
        env.reset(seed=seed)
        return [env.deploy(pi) and env.dynamics.probs.clone() for _ in range(rounds)]

    first, again, other = answers(1), answers(1), answers(2)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])
    vector = gym.make_vec(world_id, num_envs=2, response_wrapper="noisy")
    vector.reset(seed=1)
    for answer in first:
        vector.deploy(pi)
        assert torch.equal(vector.dynamics.probs, answer)


def test_a_noisy_world_makes_its_own_of_an_answer_that_is_handed_over():
    env, other = (make_world("SoftmaxPeMDP-v0", response_wrapper="noisy") for _ in range(2))
    pi = random_policy(env, 0)
    env.deploy(pi, env.problem.response(pi))
    other.deploy(pi)
    assert env.dynamics.shift_from(other.dynamics) == (0.0, 0.0)
    assert env.dynamics.shift_from(env.problem.response(pi)).transition > 0.01


def test_noise_comes_before_what_is_wrapped_inside():
    """The last wrapper sees the policy first: noise, then rounding."""
    plain = random_pemdp(7, max_states=6)
    problem = wrap_response(plain, ["quantised", {"name": "noisy", "noise": 2.0}])
    pi = random_policy(plain, 0)
    factors = np.exp(2.0 * np.random.default_rng(9).standard_normal(pi.shape))
    seen = perceived(QuantisedResponse(plain.response_map), pi * factors / (pi * factors).sum(-1, keepdims=True))
    for one, other in zip(dense(problem.draw(pi, np.random.default_rng(9))), dense(plain.response(seen)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)


def test_noise_inside_another_wrapper_is_drawn_and_averaged_as_well():
    plain = random_pemdp(8, max_states=6)
    problem = wrap_response(plain, [{"name": "noisy", "n_samples": 3}, "piecewise-linear"])
    inner = wrap_response(plain, {"name": "noisy", "n_samples": 3})
    pi = random_policy(plain, 0)
    seen = perceived(problem.response_map, pi)
    values = [float(exact.decoupled_value(one, pi, seen)) for one in inner.realisations]
    assert len(problem.realisations) == 3
    assert float(exact.performative_value(problem, pi)) == pytest.approx(np.mean(values), abs=1e-12)


# -- in the environments ---------------------------------------------------------------------------------------------


@worlds
@wrappers
@pytest.mark.filterwarnings("error")
def test_wrapped_worlds_keep_the_contracts_of_gymnasium(world_id, wrapper):
    check_env(make_world(world_id, response_wrapper=wrapper, round_length=3), skip_render_check=True)
    env = gym.make(world_id, response_wrapper=wrapper, deployment="declared")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    pi = random_policy(env.unwrapped, 0)
    copy = pickle.loads(pickle.dumps(env))
    answers = []
    for each in (env, again, copy):
        each.reset(seed=3)
        each.unwrapped.deploy(pi)
        answers.append(each.unwrapped.dynamics.probs)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@worlds
@wrappers
def test_wrapped_worlds_start_unshifted_and_answer_otherwise_than_plain_ones(world_id, wrapper):
    env, plain = make_world(world_id, response_wrapper=wrapper), make_world(world_id)
    assert env.dynamics.shift_from(plain.dynamics) == (0.0, 0.0)
    pi = random_policy(plain, 0)
    env.reset(seed=0)
    env.deploy(pi)
    plain.deploy(pi)
    assert env.dynamics.shift_from(plain.dynamics).transition > 1e-3


@worlds
@wrappers
def test_both_forms_of_a_wrapped_world_walk_alike(world_id, wrapper):
    settings = {"response_wrapper": wrapper, "round_length": 20, "adaptation_rate": 0.5}
    scalar, vector = (
        make_world(world_id, **settings),
        gym.make_vec(world_id, num_envs=1, max_episode_steps=10_000, autoreset_mode="SameStep", **settings),
    )
    rng = np.random.default_rng(0)
    assert vector.reset(seed=1)[0][0] == scalar.reset(seed=1)[0]
    for _ in range(65):
        action = int(rng.integers(scalar.n_actions))
        observation, reward, terminated, _, info = scalar.step(action)
        observations, rewards, *_, infos = vector.step(np.array([action]))
        assert (rewards[0], infos["round"][0]) == (reward, info["round"])
        assert observations[0] == (scalar.reset()[0] if terminated else observation)
    assert scalar.round == vector.round == 3
    assert torch.equal(scalar.dynamics.probs, vector.dynamics.probs)


@worlds
@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_wrapped_worlds_can_be_drawn(world_id, mode, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gym.make(world_id, render_mode=mode, response_wrapper=["quantised", "noisy"])
    env.reset(seed=0)
    env.step(0)
    assert len(env.render()) > 0


def test_none_is_no_wrapper_and_the_wrapped_map_stays_at_hand():
    problem = make_world("PerformativePricing-v0").problem
    assert wrap_response(problem, None) is problem
    assert problem.realisations == (problem,)
    wrapped = wrap_response(problem, "noisy")
    assert isinstance(wrapped, PerformativeMDP)
    assert isinstance(wrapped.response_map, NoisyResponse)
    assert wrapped.response_map.reference_price == 2.0
    with pytest.raises(AttributeError):
        _ = wrapped.response_map.no_such_thing


BAD = [
    ("quantized", "response_wrapper must be one of .*did you mean 'quantised'"),
    ({"levels": 3}, "response_wrapper must be a name or a dictionary with a 'name'"),
    ({"name": "quantised", "level": 3}, "setting of response_wrapper 'quantised' must be .*did you mean 'levels'"),
    ({"name": "noisy", "response": None}, "setting of response_wrapper 'noisy' must be one of 'noise'"),
    ({"name": "quantised", "levels": 0}, "levels must be >= 1, got 0"),
    ({"name": "quantised", "surrogate": "through"}, "surrogate must be one of 'straight-through'"),
    ({"name": "noisy", "noise": -1}, "noise must be >= 0, got -1"),
    ({"name": "noisy", "n_samples": 0}, "n_samples must be >= 1, got 0"),
    ({"name": "noisy", "seed": -1}, "seed must be >= 0, got -1"),
    (3, "response_wrapper must be a name, a dictionary or a list of these, got 3"),
    ([3], "response_wrapper must be a name or a dictionary"),
]


@pytest.mark.parametrize(("wrapper", "message"), BAD)
def test_bad_wrappers_are_refused(wrapper, message):
    with pytest.raises(ValueError, match=message):
        make_world("SoftmaxPeMDP-v0", response_wrapper=wrapper)
