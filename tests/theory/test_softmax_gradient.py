"""Statement 1: the gradient of softmax tables at fixed dynamics."""

import numpy as np
import torch
from hypothesis import given

from perf_envs import exact
from tests.perf_envs.worlds import random_pemdp
from tests.theory.instances import answered, examples, random_mdp, random_table, seeds


def autograd_gradient(mdp, theta):
    """Return the gradient of ``J(softmax(theta))`` by differentiating a dense linear solve."""
    theta = torch.from_numpy(theta).requires_grad_()
    pi, P, r = torch.softmax(theta, -1), torch.from_numpy(mdp.P), torch.from_numpy(mdp.r)
    system = torch.eye(len(r), dtype=torch.float64) - mdp.gamma * torch.einsum("sa,sat->st", pi, P)
    J = torch.from_numpy(mdp.rho) @ torch.linalg.solve(system, (pi * r).sum(-1))
    return torch.autograd.grad(J, theta)[0].numpy()


def formula(mdp, pi):
    return mdp.occupancy(pi)[:, None] * pi * mdp.advantages(pi) / (1 - mdp.gamma)


@examples
@given(seeds)
def test_the_softmax_gradient_is_occupancy_times_probability_times_advantage(seed):
    mdp = random_mdp(seed)
    pi = random_table(mdp.r.shape, seed)
    gradient = autograd_gradient(mdp, np.log(pi))
    np.testing.assert_allclose(formula(mdp, pi), gradient, atol=1e-11)
    np.testing.assert_allclose(exact.performative_gradient(mdp.problem(), np.log(pi)), gradient, atol=1e-11)


@examples
@given(seeds)
def test_the_myopic_gradient_of_a_world_that_answers_is_that_of_the_world_as_it_stands(seed):
    problem = random_pemdp(seed, max_states=8)
    pi = random_table((problem.n_states, problem.n_actions), seed)
    myopic = exact.performative_gradient(problem, np.log(pi), performative_coef=0.0)
    np.testing.assert_allclose(myopic, autograd_gradient(answered(problem, pi), np.log(pi)), atol=1e-10)
