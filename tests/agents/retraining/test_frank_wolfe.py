"""Zeroth-order Frank-Wolfe: gradients from values, away from the border, uphill."""

import numpy as np
import pytest
import torch

from agents.retraining import zeroth_order_frank_wolfe
from agents.retraining.frank_wolfe import best_vertex, gradient_scale, inside, sphere_direction
from perf_envs import exact
from perf_envs.exact import gradient_terms, performative_value
from tests.agents.retraining.worlds import SOFTMAX
from tests.perf_envs.worlds import make_world, random_policy


@pytest.fixture
def problem():
    return make_world(SOFTMAX, n_states=3, n_actions=2, kappa=1.0, xi=0.5).problem


def test_directions_are_uniform_on_the_sphere_of_tables_whose_rows_sum_to_zero():
    rng = np.random.default_rng(0)
    directions = np.stack([sphere_direction((3, 4), rng) for _ in range(20_000)])
    np.testing.assert_allclose(directions.sum(-1), 0.0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=(1, 2)), 1.0)
    flat = directions.reshape(-1, 12)
    # Covariance: the projection onto the subspace of dimension 9, divided by 9.
    projection = np.kron(np.eye(3), np.eye(4) - 0.25)
    np.testing.assert_allclose(flat.T @ flat / len(flat), projection / 9, atol=4e-3)


def test_the_estimate_is_the_centred_gradient_of_the_performative_value(problem):
    pi = random_policy(problem, 0, 5.0)
    terms = gradient_terms(problem, pi)
    target = (terms.policy + terms.response).numpy()
    target = target - target.mean(-1, keepdims=True)  # rows of a policy move within their sum
    rng = np.random.default_rng(1)
    n, radius = 1200, 1e-4
    total = np.zeros_like(pi)
    for _ in range(n):
        step = radius * sphere_direction(pi.shape, rng)
        ahead, behind = (float(performative_value(problem, pi + sign * step)) for sign in (1, -1))
        total += (ahead - behind) * step / radius
    np.testing.assert_allclose(gradient_scale(3, 2, n, radius) * total, target, atol=0.15 * np.abs(target).max())


def test_the_linear_oracle_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    gradient, border = rng.standard_normal((2, 3)), 0.1
    vertices = [np.where(np.eye(3)[a] > 0, 0.8, 0.1) for a in range(3)]
    best = max((gradient * np.stack([v, w])).sum() for v in vertices for w in vertices)
    vertex = best_vertex(gradient, border)
    np.testing.assert_allclose(vertex.sum(-1), 1.0)
    assert (gradient * vertex).sum() == pytest.approx(best)


def test_it_climbs_to_the_performative_optimum_within_the_border(problem):
    border = 0.02
    result = zeroth_order_frank_wolfe(problem, n_iterations=40, n_directions=15, border=border)
    grid = np.linspace(border, 1 - border, 12)
    best = max(
        float(performative_value(problem, np.stack([[p, 1 - p] for p in row])))
        for row in np.stack(np.meshgrid(grid, grid, grid), -1).reshape(-1, 3)
    )
    assert result.value == pytest.approx(best, abs=0.02 * abs(best))
    assert result.value > float(result.history[0])


def test_every_policy_and_every_query_is_a_policy_away_from_the_border(problem):
    queried = []

    def query(pi):
        queried.append(pi.clone())
        return float(exact.performative_value(problem, pi))

    result = zeroth_order_frank_wolfe(
        problem,
        n_iterations=5,
        n_directions=3,
        border=0.05,
        radius=0.04,
        value_query=query,
        initial_policy=[[1.0, 0.0]] * 3,
    )
    assert len(queried) == 30
    assert result.deployments.tolist() == [0, 6, 12, 18, 24, 30]
    assert float(result.policies.min()) >= 0.05 - 1e-12
    tried = torch.stack(queried)
    assert float(tried.min()) >= 0.05 - 0.04 - 1e-12
    np.testing.assert_allclose(tried.sum(-1), 1.0)
    # Every query lies at the given distance from the iterate of its step.
    distance = (tried.reshape(5, 6, 3, 2) - result.policies[:5, None]).flatten(2).norm(dim=-1)
    np.testing.assert_allclose(distance, 0.04)


def test_constant_steps_and_entropy_keep_it_further_inside(problem):
    plain, soft = (
        zeroth_order_frank_wolfe(problem, n_iterations=20, n_directions=10, step_size=0.1, entropy_coef=weight)
        for weight in (0.0, 5.0)
    )
    assert float(exact.entropy(soft.policy).sum()) > float(exact.entropy(plain.policy).sum()) + 0.1
    moves = (plain.policies[1:] - plain.policies[:-1]).abs().max()
    assert float(moves) <= 0.1


def test_the_same_seed_gives_the_same_policies(problem):
    first, again, other = (
        zeroth_order_frank_wolfe(problem, n_iterations=3, n_directions=1, seed=seed) for seed in (0, 0, 2)
    )
    assert torch.equal(first.policies, again.policies)
    assert not torch.equal(first.policies, other.policies)


def test_a_policy_is_moved_inside_no_more_than_needed():
    pi = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert inside(pi, 0.1).min() == pytest.approx(0.1)
    np.testing.assert_allclose(inside(pi, 0.1).sum(-1), 1.0)
    assert inside(np.full((2, 2), 0.5), 0.1) is not None
    np.testing.assert_array_equal(inside(np.array([[0.3, 0.7]]), 0.1), [[0.3, 0.7]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_iterations": 0}, "n_iterations must be"),
        ({"n_directions": 0}, "n_directions must be"),
        ({"border": 0.5}, "border must be > 0 and < 0.5, got 0.5"),
        ({"border": 0.0}, "border must be > 0"),
        ({"border": 0.1, "radius": 0.1}, "radius must be > 0 and < 0.1, got 0.1"),
        ({"step_size": 1.5}, "step_size must be > 0 and <= 1, got 1.5"),
        ({"entropy_coef": -1.0}, "entropy_coef must be >= 0, got -1"),
        ({"initial_policy": [[0.5, 0.5]]}, "initial_policy must have shape"),
        ({"value_query": lambda pi: float("nan")}, "value_query must return a finite number, got nan"),
    ],
)
def test_bad_arguments_are_named_with_their_value(problem, arguments, message):
    with pytest.raises(ValueError, match=message):
        zeroth_order_frank_wolfe(problem, **arguments)


def test_a_single_action_leaves_nothing_to_choose():
    with pytest.raises(ValueError, match="at least 2 actions"):
        zeroth_order_frank_wolfe(make_world(SOFTMAX, n_states=2, n_actions=1).problem)
