"""Statement 6: Fisher information, the KL divergence and the natural gradient."""

import numpy as np
import torch
from hypothesis import given

from agents.planning.ascent import natural_step
from perf_envs import exact
from tests.perf_envs.worlds import random_pemdp
from tests.theory.instances import examples, random_table, seeds


def instance(seed):
    problem = random_pemdp(seed, max_states=5)
    pi = random_table((problem.n_states, problem.n_actions), seed)
    return problem, pi, exact.occupancy(problem, pi).numpy()


def fisher_information(pi, d):
    """Return ``E_{d, pi} [grad log pi  grad log pi']`` of the logits, ``[S A, S A]``, from its definition."""
    n_states, n_actions = pi.shape
    information = np.zeros((pi.size, pi.size))
    for s in range(n_states):
        for a in range(n_actions):
            score = np.zeros(pi.shape)
            score[s] = np.eye(n_actions)[a] - pi[s]
            information += d[s] * pi[s, a] * np.outer(score, score)
    return information


@examples
@given(seeds)
def test_fisher_information_is_the_hessian_of_the_expected_divergence(seed):
    _, pi, d = instance(seed)
    logits, weights = torch.from_numpy(np.log(pi)), torch.from_numpy(d)

    def divergence(moved):
        log_pi, log_moved = torch.log_softmax(logits, -1), torch.log_softmax(moved.reshape(pi.shape), -1)
        return weights @ (log_pi.exp() * (log_pi - log_moved)).sum(-1)

    hessian = torch.autograd.functional.hessian(divergence, logits.ravel()).numpy()
    np.testing.assert_allclose(hessian, fisher_information(pi, d), atol=1e-13)


@examples
@given(seeds)
def test_the_natural_gradient_of_tables_is_the_centred_gradient_over_occupancy_and_probability(seed):
    problem, pi, d = instance(seed)
    gradient = exact.performative_gradient(problem, np.log(pi)).numpy()
    natural = (np.linalg.pinv(fisher_information(pi, d), rcond=1e-13) @ gradient.ravel()).reshape(pi.shape)
    closed_form = gradient / (d[:, None] * pi)
    # Constants per state do not move a softmax: the pseudoinverse has none, the closed form has its own.
    closed_form -= closed_form.mean(-1, keepdims=True)
    np.testing.assert_allclose(natural, closed_form, atol=1e-8 * np.abs(closed_form).max())


@examples
@given(seeds)
def test_the_planners_natural_step_is_the_closed_form(seed):
    problem, pi, d = instance(seed)
    terms = exact.gradient_terms(problem, pi)
    step = natural_step(0.3)(terms.policy + terms.response, terms).numpy()
    gradient = exact.performative_gradient(problem, np.log(pi)).numpy()
    np.testing.assert_allclose(step, 0.3 * gradient / (d[:, None] * pi), rtol=1e-9, atol=1e-12)
