"""The planner that is meant to find the optimum, against thresholds, its peers and exhaustive search."""

import warnings
from itertools import product

import numpy as np
import pytest
import torch

from agents.planning import conservative_policy_iteration, gradient_ascent, natural_policy_gradient, pepg
from perf_envs import Dynamics, PerformativeMDP, exact
from tests.perf_envs.worlds import make_world, random_policy

pytestmark = pytest.mark.filterwarnings(r"ignore:\w+ stopped before it converged:UserWarning")


def pemdp(seed, **settings):
    return make_world("SoftmaxPeMDP-v0", instance_seed=seed, **settings).problem


@pytest.mark.parametrize(
    ("world_id", "threshold"), [("PerformativePricing-v0", 11.554), ("PerformativeGridWorld-v0", 0.104)]
)
def test_the_default_call_is_good_and_keeps_to_its_budget_in_the_registered_worlds(world_id, threshold):
    problem = make_world(world_id).problem
    result = pepg(problem)
    assert result.value >= threshold
    # Four starts by two schedules for 50 steps each, a quarter of them for 200; then the best, and what at most five
    # escapes lead to, for 200 each, in ten stages. Every run and every stage looks once more at where it ends.
    assert result.n_iter <= 8 * 51 + 2 * 201 + 6 * 10 * 21
    assert result.value == pytest.approx(float(exact.performative_value(problem, result.policy)), rel=1e-10)


def grid_search(problem, n_points=41):
    """Return the largest ``J`` of a world of two states and two actions: a grid, refined around its best points."""
    response, rho, gamma = problem.response_map, problem.rho.numpy(), problem.gamma
    logits, psi, base = (array.numpy() for array in (response.base_logits, response.psi, response.base_rewards))

    def J(x, y):
        system, rewards = np.zeros((*x.shape, 2, 2)), np.zeros((*x.shape, 2))
        for s, first in enumerate((x, y)):
            for a, p in enumerate((first, 1 - first)):
                tilt = logits[s, a, 1] - logits[s, a, 0] + response.kappa * p * (psi[1] - psi[0])
                to_one = 1 / (1 + np.exp(-tilt))
                system[..., s, 0] -= gamma * p * (1 - to_one)
                system[..., s, 1] -= gamma * p * to_one
                rewards[..., s] += p * (base[s, a] + response.xi * p)
            system[..., s, s] += 1
        V = np.linalg.solve(system, rewards[..., None])[..., 0]
        return V @ rho

    axes, width = (np.linspace(0, 1, n_points),) * 2, 1 / (n_points - 1)
    points = np.array(list(product(*axes)))
    for _ in range(5):
        values = J(*points.T)
        best = points[np.argsort(-values)[:8]]
        offsets = np.array(list(product(np.linspace(-width, width, 9), repeat=2)))
        points = np.clip((best[:, None] + offsets).reshape(-1, 2), 0, 1)
        width /= 4
    return float(max(values.max(), J(*points.T).max()))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("kappa", "xi"), list(product((1.0, 3.0), (1.0, -1.0, 0.5))))
def test_it_finds_the_optimum_that_a_grid_search_finds(kappa, xi, seed):
    problem = pemdp(500 + seed, n_states=2, n_actions=2, kappa=kappa, xi=xi)
    optimum = grid_search(problem)
    result = pepg(problem)
    assert result.value >= optimum - 1e-3 / (1 - problem.gamma)
    assert result.value <= optimum + 1e-6  # or the search is no peer
    assert result.converged  # also where the optimum mixes actions, at negative xi


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (0, {}),
        (1, {}),  # the uniform start leads natural steps to one local maximum and Adam to a better one
        (1, {"kappa": 3.0, "xi": 1.0}),  # mixtures find a better vertex than gradients do
        (8, {"kappa": 3.0, "xi": 1.0}),
        (6, {"kappa": 3.0, "xi": -1.0}),  # the optimum mixes actions
        (5, {"n_states": 5, "n_actions": 3, "kappa": 2.0, "xi": -0.5}),
    ],
)
def test_it_is_never_below_methods_that_climb_from_one_start(seed, settings):
    problem = pemdp(seed, **settings)
    value = pepg(problem).value
    for method in (gradient_ascent, natural_policy_gradient, conservative_policy_iteration):
        for performative_coef in (0.0, 1.0):
            peer = method(problem, performative_coef=performative_coef).value
            assert value >= peer - 1e-5 / (1 - problem.gamma)
    assert value > float(
        exact.performative_value(problem, np.full((problem.n_states, problem.n_actions), 1 / problem.n_actions))
    )


def test_it_leaves_a_local_maximum_by_switching_a_state_over():
    # Habits pay: p^2 + 1.1 (1-p)^2 has a maximum at either end, and the start slopes to the lower one.
    habits = torch.tensor([[1.0, 1.1]], dtype=torch.float64)
    problem = PerformativeMDP(
        lambda pi: Dynamics.from_dense(torch.ones(1, 2, 1, dtype=torch.float64), habits * pi), [1.0], 0.5, n_actions=2
    )
    start = [[0.9, 0.1]]
    assert gradient_ascent(problem, initial_policy=start).value == pytest.approx(2.0, abs=1e-3)
    result = pepg(problem, initial_policy=start, n_starts=1)
    assert result.value == pytest.approx(2.2, abs=1e-6)
    assert result.converged


def test_the_same_seed_gives_the_same_result_and_another_seed_other_starts():
    problem = pemdp(3, n_states=6, n_actions=3, kappa=2.0)
    first, again, other = (pepg(problem, seed=seed, n_iterations=40) for seed in (5, 5, 6))
    assert torch.equal(first.policy, again.policy)
    assert torch.equal(first.history, again.history)
    assert not torch.equal(first.start_values, other.start_values)


def test_the_result_tells_value_spread_and_effort():
    problem = pemdp(1, kappa=3.0)
    result = pepg(problem, n_starts=3)
    assert result.method == "pepg"
    assert result.converged
    assert result.gap <= 1e-6 * max(1.0, 1 / (1 - problem.gamma))
    assert result.value == pytest.approx(float(exact.performative_value(problem, result.policy)), rel=1e-12)
    torch.testing.assert_close(result.policy.sum(-1), torch.ones(10, dtype=torch.float64))
    spread = result.start_values
    assert len(spread) >= 2 * 3  # every start with both schedules
    assert bool((spread.diff() <= 0).all())
    assert float(spread[0]) == pytest.approx(result.value, abs=1e-9)
    assert float(spread[-1]) < result.value - 1e-3
    assert float(result.history.max()) == pytest.approx(result.value, abs=1e-9)
    assert result.n_iter > len(result.history)


def test_it_starts_from_the_initial_policy():
    problem = pemdp(0)
    start = random_policy(problem, 0)
    result = pepg(problem, n_starts=1, n_iterations=8, initial_policy=start)
    assert float(result.history[0]) == pytest.approx(float(exact.performative_value(problem, start)), rel=1e-12)


@pytest.mark.parametrize("step", ["natural", "adam", "fixed"])
def test_every_step_rule_ascends(step):
    problem = pemdp(2, n_states=4, n_actions=3)
    result = pepg(problem, step=step, n_starts=2, n_iterations=60)
    assert result.value > float(result.history[0]) + 0.1


def test_a_converged_run_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pepg(pemdp(0)).converged


def test_a_schedule_of_the_users_own_replaces_the_shipped_ones():
    problem = pemdp(3, n_states=6, n_actions=3, kappa=2.0)
    asked = []

    def late(progress):
        asked.append(progress)
        return float(progress >= 0.5)

    result = pepg(problem, performative_coef=late, n_starts=2, n_iterations=40)
    assert result.converged
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(asked)
    with_both = pepg(problem, n_starts=2, n_iterations=40)
    assert len(result.start_values) < len(with_both.start_values)  # one schedule per start instead of two
    full = pepg(problem, performative_coef=1.0, n_starts=2, n_iterations=40)
    assert not torch.equal(result.start_values, full.start_values)


@pytest.mark.parametrize("seed", range(3))
def test_entropy_that_stays_is_part_of_what_is_maximised(seed):
    problem = pemdp(seed, n_states=5, n_actions=3, kappa=1.0, xi=-0.5)
    rewards = problem.unshifted().rewards
    weight = 0.2 * float(rewards.max() - rewards.min())
    result = pepg(problem, entropy_coef=0.2, n_starts=4)
    assert result.converged
    assert result.value == pytest.approx(float(exact.performative_value(problem, result.policy)), rel=1e-12)

    def regularised(pi):
        return float(exact.performative_value(problem, pi, weight))

    best = regularised(result.policy)
    gradient = exact.performative_gradient(problem, torch.log(result.policy), entropy_coef=weight)
    assert float(gradient.abs().max()) < 1e-4
    assert best > regularised(pepg(problem).policy) + 1e-3  # the optimum without entropy is another one
    climbed = [
        gradient_ascent(problem, entropy_coef=0.2, initial_policy=random_policy(problem, start)).policy
        for start in range(5)
    ]
    assert best >= max(map(regularised, climbed)) - 1e-6


def test_a_schedule_has_to_end_with_the_full_answer_and_never_be_negative():
    problem = pemdp(0, n_states=3, n_actions=2)
    with pytest.raises(ValueError, match=r"performative_coef must end at 1, .* got 0\.5: gradient_ascent"):
        pepg(problem, performative_coef=0.5)
    with pytest.raises(ValueError, match=r"entropy_coef must be >= 0, got -0\.1"):
        pepg(problem, entropy_coef=-0.1)
    with pytest.raises(ValueError, match="performative_coef must be >= 0, got -1"):
        pepg(problem, performative_coef=lambda progress: 2.0 * progress - 1.0)


def test_many_starts_cost_well_below_their_number():
    problem = pemdp(0)
    one, sixteen = (pepg(problem, n_starts=n_starts).n_iter for n_starts in (1, 16))
    assert sixteen < 0.6 * 16 * one
