"""Chains too large to factorise are solved iteratively, to the same accuracy."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu

from agents.planning import policy_iteration
from perf_envs import exact
from perf_envs.exact import linear
from tests.perf_envs.worlds import make_world, random_logits


def test_iterative_solves_agree_with_the_factorisation(monkeypatch):
    problem = make_world("SoftmaxPeMDP-v0", n_states=300, n_successors=6).problem
    logits = random_logits(problem, seed=0)
    factorised = exact.performative_gradient(problem, logits)
    monkeypatch.setattr(linear, "_LARGEST_FACTORISED", 10)
    iterative = exact.performative_gradient(problem, logits)
    assert float((iterative - factorised).norm() / factorised.norm()) < 1e-9


def chains(n_states):
    """Yield chains that are hard to solve iteratively: successors and probabilities, ``[S, M]`` each."""
    rng, states = np.random.default_rng(0), np.arange(n_states)
    everywhere = rng.integers(0, n_states, size=(n_states, 2))
    yield "circle", ((states + 1) % n_states)[:, None], np.ones((n_states, 1))
    yield "several circles", np.stack([rng.permutation(n_states), states], 1), np.tile([0.999, 0.001], (n_states, 1))
    yield "random", everywhere, rng.dirichlet(np.full(2, 0.05), size=n_states)
    yield (
        "line",
        np.stack([np.maximum(states - 1, 0), np.minimum(states + 1, n_states - 1)], 1),
        np.full((n_states, 2), 0.5),
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gamma", [0.9, 0.999, 1.0 - 1e-7])
@pytest.mark.parametrize("transposed", [False, True])
def test_chains_on_which_iterations_break_down_are_solved_all_the_same(gamma, transposed, monkeypatch):
    monkeypatch.setattr(linear, "_LARGEST_FACTORISED", 10)
    for name, successors, probs in chains(400):
        solver = linear.ChainSolver(torch.from_numpy(successors), torch.from_numpy(probs), gamma)
        dense = np.eye(400)
        np.add.at(dense, (np.arange(400)[:, None], successors), -gamma * probs)
        for right in (np.eye(400)[3], np.random.default_rng(1).standard_normal(400)):
            solution = (solver.visits if transposed else solver.values)(torch.from_numpy(right)).numpy()
            exact_one = np.linalg.solve(dense.T if transposed else dense, right)
            # Both are exact for data changed by rounding, which the chain magnifies by up to 1 / (1 - gamma).
            error = np.abs(solution - exact_one).max() / np.abs(exact_one).max()
            assert error <= 1e-12 + 1e-13 / (1.0 - gamma), name


def test_a_broken_down_iteration_is_not_repeated_for_the_same_chain(monkeypatch):
    calls = []

    def breaks_down(matrix, right, **settings):
        calls.append(settings)
        return np.full_like(right, np.nan), 0

    monkeypatch.setattr(linear, "_LARGEST_FACTORISED", 10)
    monkeypatch.setattr(linear, "bicgstab", breaks_down)
    problem = make_world("SoftmaxPeMDP-v0", n_states=50, n_successors=3).problem
    logits = random_logits(problem, seed=0)
    gradient = exact.performative_gradient(problem, logits)  # values, visits and adjoint of one chain
    assert len(calls) == 1
    monkeypatch.undo()
    torch.testing.assert_close(gradient, exact.performative_gradient(problem, logits), rtol=1e-9, atol=1e-12)


def test_policy_iteration_goes_through_a_large_world_with_few_successors():
    problem = make_world("SoftmaxPeMDP-v0", n_states=2500, n_successors=2).problem
    result = policy_iteration(problem, n_iterations=3)
    chain = problem.response(result.policy)
    successors, probs = (part.numpy() for part in chain.policy_chain(result.policy))
    matrix = sp.coo_array((probs.ravel(), (np.repeat(np.arange(2500), probs.shape[1]), successors.ravel()))).tocsc()
    values = splu(sp.eye_array(2500, format="csc") - problem.gamma * matrix).solve(
        (result.policy * chain.rewards).sum(-1).numpy()
    )
    assert result.value == pytest.approx(float(problem.rho.numpy() @ values), rel=1e-10)


def test_the_gradient_of_a_large_world_is_that_of_central_differences():
    problem = make_world("SoftmaxPeMDP-v0", n_states=5000, n_successors=5).problem
    logits, direction = random_logits(problem, seed=1), random_logits(problem, seed=2)
    gradient = exact.performative_gradient(problem, logits)

    def value(step):
        return float(exact.performative_value(problem, torch.softmax(logits + step * direction, -1)))

    numeric = (value(1e-4) - value(-1e-4)) / 2e-4
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-5)


def test_few_successors_are_different_states_with_probabilities_that_sum_to_one():
    dynamics = make_world("SoftmaxPeMDP-v0", n_states=40, n_successors=7).dynamics
    assert dynamics.successors.shape == (40, 4, 7)
    assert all(len(set(row)) == 7 for row in dynamics.successors.reshape(-1, 7).tolist())
    np.testing.assert_allclose(dynamics.probs.sum(-1), 1.0, atol=1e-12)


@pytest.mark.parametrize("n_successors", [0, 11, 2.5])
def test_a_number_of_successors_that_cannot_be_is_rejected(n_successors):
    with pytest.raises(ValueError, match="n_successors"):
        make_world("SoftmaxPeMDP-v0", n_states=10, n_successors=n_successors)
