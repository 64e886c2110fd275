"""Chains too large to factorise are solved iteratively, to the same accuracy."""

import numpy as np
import pytest
import torch

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
