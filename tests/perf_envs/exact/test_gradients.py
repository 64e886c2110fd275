"""The gradient theorem against autograd through the response map and against central differences."""

import numpy as np
import pytest
import torch

from perf_envs import Dynamics, PerformativeMDP, exact
from perf_envs.exact.linear import ChainSolver
from tests.perf_envs.worlds import IDS, make_world, random_logits, random_pemdp

PROBLEMS = [pytest.param(random_pemdp(seed), id=f"PeMDP{seed}") for seed in range(100)]
PROBLEMS += [pytest.param(make_world(world_id).problem, id=world_id) for world_id in IDS]
COEFFICIENTS = [(1.0, 0.0), (1.0, 0.2), (0.5, 0.0), (0.5, 0.2), (0.0, 0.0), (0.0, 0.2)]
pairs = pytest.mark.parametrize(("alpha", "entropy_coef"), COEFFICIENTS)
problems = pytest.mark.parametrize("problem", PROBLEMS)


def mixed_value(problem, logits, deployed_from, alpha, entropy_coef):
    """Return the value whose gradient is the mixed one: the world answers ``pi`` with weight ``alpha`` only."""
    pi, origin = torch.softmax(logits, -1), torch.softmax(deployed_from, -1)
    return exact.decoupled_value(problem, pi, origin + alpha * (pi - origin), entropy_coef)


@problems
@pairs
def test_the_theorem_is_autograd_through_the_response_map(problem, alpha, entropy_coef):
    logits = random_logits(problem, 0).requires_grad_()
    value = mixed_value(problem, logits, logits.detach(), alpha, entropy_coef)
    (autograd,) = torch.autograd.grad(value, logits)
    theorem = exact.performative_gradient(problem, logits, alpha, entropy_coef)
    assert float((theorem - autograd).abs().max()) <= 1e-10 * float(autograd.abs().max())


@problems
def test_the_theorem_is_autograd_through_the_performative_value(problem):
    logits = random_logits(problem, 1).requires_grad_()
    (autograd,) = torch.autograd.grad(exact.performative_value(problem, torch.softmax(logits, -1)), logits)
    theorem = exact.performative_gradient(problem, logits)
    assert float((theorem - autograd).abs().max()) <= 1e-10 * float(autograd.abs().max())


@problems
@pairs
def test_the_theorem_is_central_differences_along_random_directions(problem, alpha, entropy_coef):
    logits, h = random_logits(problem, 2), 1e-4
    gradient = exact.performative_gradient(problem, logits, alpha, entropy_coef)
    # Part gradient, part chance: the derivative stays well away from zero, where "relative" would mean nothing.
    noise = random_logits(problem, 3)
    direction = gradient / gradient.norm() + noise / noise.norm()
    direction /= direction.norm()
    with torch.no_grad():
        up, down = (mixed_value(problem, logits + step * direction, logits, alpha, entropy_coef) for step in (h, -h))
    assert float((up - down) / (2 * h)) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


@problems
def test_the_largest_entries_of_the_theorem_are_central_differences_of_single_logits(problem):
    logits, h = random_logits(problem, 4), 1e-4
    gradient = exact.performative_gradient(problem, logits).ravel()
    for index in gradient.abs().topk(3).indices.tolist():
        step = torch.zeros_like(gradient)
        step[index] = h
        step = step.reshape(logits.shape)
        with torch.no_grad():
            up, down = (exact.performative_value(problem, torch.softmax(logits + s, -1)) for s in (step, -step))
        assert float((up - down) / (2 * h)) == pytest.approx(float(gradient[index]), rel=1e-5)


@problems
def test_the_gradient_is_the_myopic_part_plus_the_weighted_answer(problem):
    logits = random_logits(problem, 5)
    none, half, full = (exact.performative_gradient(problem, logits, alpha) for alpha in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, 0.5 * (none + full), rtol=0, atol=1e-12 * float(full.abs().max()))
    assert float((full - none).abs().max()) > 1e-6
    # A constant added to all logits of a state changes nothing.
    assert float(full.sum(-1).abs().max()) < 1e-12 * max(1.0, float(full.abs().max()))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_computing_the_gradient_leaves_no_trace_on_the_logits(alpha):
    problem = random_pemdp(0)
    logits = random_logits(problem, 0).requires_grad_()
    gradient = exact.performative_gradient(problem, logits, alpha)
    assert logits.grad is None
    assert not gradient.requires_grad


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_very_peaked_policies_have_finite_gradients(alpha):
    for world_id in IDS:
        problem = make_world(world_id).problem
        gradient = exact.performative_gradient(problem, 400.0 * random_logits(problem, 0), alpha, 0.1)
        assert bool(torch.isfinite(gradient).all())


def test_bad_logits_are_refused():
    problem = make_world("SoftmaxPeMDP-v0").problem
    with pytest.raises(ValueError, match=r"logits must have shape \(10, 4\), got \(4, 10\)"):
        exact.performative_gradient(problem, torch.zeros(4, 10))
    with pytest.raises(ValueError, match="logits must be finite"):
        exact.performative_gradient(problem, torch.full((10, 4), torch.nan))


def test_an_answer_without_gradient_is_refused_unless_the_gradient_is_myopic():
    still = Dynamics.from_dense(np.full((2, 2, 2), 0.5), np.eye(2))
    problem = PerformativeMDP(lambda pi: still, [0.5, 0.5], 0.9, n_actions=2)
    with pytest.raises(ValueError, match="performative_coef=0"):
        exact.performative_gradient(problem, torch.zeros(2, 2))
    myopic = exact.performative_gradient(problem, torch.zeros(2, 2), performative_coef=0.0)
    assert float(myopic.abs().max()) > 0.1


@pytest.mark.parametrize("form", ["dense", "sparse", "repeated successors"])
@pytest.mark.parametrize("transposed", [False, True])
def test_linear_solves_and_their_gradients_are_those_of_dense_algebra(form, transposed):
    generator = torch.Generator().manual_seed(0)
    n, width = 6, 6 if form == "dense" else 4
    probs = torch.rand(n, width, generator=generator, dtype=torch.float64)
    probs = (probs / probs.sum(-1, keepdim=True)).requires_grad_()
    rhs = torch.rand(n, generator=generator, dtype=torch.float64, requires_grad=True)
    successors = None if form == "dense" else torch.randint(0, n, (n, width), generator=generator)
    if form == "repeated successors":
        successors[:, 1] = successors[:, 0]

    def solve():
        solver = ChainSolver(successors, probs, 0.9)
        return solver.visits(rhs) if transposed else solver.values(rhs)

    def solve_densely():
        chain = probs if form == "dense" else torch.zeros(n, n, dtype=torch.float64).scatter_add(1, successors, probs)
        system = torch.eye(n, dtype=torch.float64) - 0.9 * chain
        return torch.linalg.solve(system.T if transposed else system, rhs)

    weights = torch.arange(1.0, n + 1, dtype=torch.float64)
    ours, theirs = ((solution := function(), (solution * weights).sum()) for function in (solve, solve_densely))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-12)
    for mine, expected in zip(*(torch.autograd.grad(x[1], (probs, rhs)) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)
