"""What a single bad entry does, and shelves of optima that are asked before and after something is put on them."""

import numpy as np
import pytest
import torch

from perf_envs import PerformativeMDP, exact
from perf_envs.exact import optima
from tests.perf_envs.worlds import make_world, random_logits, random_policy


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_logit_that_is_not_a_number_is_enough_to_refuse_them(bad):
    problem = make_world("SoftmaxPeMDP-v0").problem
    logits = random_logits(problem, 0)
    logits[3, 1] = bad
    with pytest.raises(ValueError, match="logits must be finite"):
        exact.performative_gradient(problem, logits)


def test_one_slope_of_the_answer_that_is_not_finite_is_enough_to_refuse_it():
    """The root of how far a probability is above one quarter has an infinite slope there."""
    plain = make_world("SoftmaxPeMDP-v0").problem

    def answer(pi):
        dynamics = plain.response_map.respond(pi)
        kinked = torch.zeros_like(pi)
        kinked[0, 0] = 1.0
        return type(dynamics)(
            dynamics.successors, dynamics.probs, dynamics.rewards + kinked * (pi - 0.25).clamp(min=0.0).sqrt()
        )

    problem = PerformativeMDP(answer, plain.rho, plain.gamma, n_actions=4)
    uniform = np.full((10, 4), 0.25)
    with pytest.raises(ValueError, match="gradient that is not finite"):
        exact.gradient_terms(problem, uniform)
    myopic = exact.gradient_terms(problem, uniform, with_response=False)
    assert bool(torch.isfinite(myopic.policy).all())
    assert float(myopic.response.abs().max()) == 0.0


def test_terms_add_up_to_the_gradient_with_the_weight_of_the_answer():
    problem = make_world("SoftmaxPeMDP-v0").problem
    logits = random_logits(problem, 1)
    pi = torch.softmax(logits, -1)
    terms = exact.gradient_terms(problem, pi, 0.1)
    np.testing.assert_allclose(terms.occupancy, exact.occupancy(problem, pi), rtol=1e-10)
    for weight in (0.0, 0.3, 1.0):
        expected = pi * (terms.policy + weight * terms.response)
        np.testing.assert_allclose(exact.performative_gradient(problem, logits, weight, 0.1), expected, atol=1e-12)


@pytest.mark.usefixtures("empty_shelf")
def test_what_is_saved_is_found_although_the_shelf_has_been_searched_before():
    problem = make_world("SoftmaxPeMDP-v0", instance_seed=7).problem
    with pytest.raises(ValueError, match="no best known policy"):
        exact.best_known(problem)
    for seed in (0, 1):  # the second replaces the first
        pi = torch.from_numpy(random_policy(problem, seed))
        path = optima.save_best_known("some-world", problem, pi, f"command {seed}")
        assert path == optima.DATA / "some-world.npz"
        known = exact.best_known(problem)
        assert torch.equal(known.policy, pi)
        assert known.command == f"command {seed}"
