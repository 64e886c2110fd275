"""Statement 10: a chain on which low-order derivatives vanish although the policy is far from optimal.

The value of the chain is a product. With forward probabilities ``p`` and ``f_i`` the expected discount on the way from
``i`` to ``i + 1``,

    f_0 = gamma,     f_i = gamma p_i / (1 - gamma (1 - p_i) f_{i-1}),     V(s_0) = f_0 ... f_H / (1 - gamma),

so its logarithm and the derivatives of that are sums of moderate numbers, at lengths where the value itself underflows.
"""

import math

import numpy as np
import pytest
import torch

from agents.planning import gradient_ascent
from perf_envs import exact
from perf_envs.worlds.theory import vanishing_gradient_chain

LOG3 = math.log(3.0)


def shy_policy(length, seed):
    """Return a policy that moves forward with probability below 1/4 in every state, and these probabilities ``[H]``."""
    rng = np.random.default_rng(seed)
    forward = rng.uniform(0.02, 0.2499, size=length + 2)
    back = rng.dirichlet(np.ones(3), size=length + 2)
    pi = np.column_stack([forward, (1 - forward)[:, None] * back])
    pi[-1] = np.eye(4)[0]  # at the goal there is nothing to decide but to collect
    return pi, forward[1:-1]


def log_value(p):
    """Return ``log V(s_0)`` as a differentiable function of the forward probabilities."""
    gamma = len(p) / (len(p) + 1.0)
    f = torch.tensor(gamma, dtype=torch.float64)
    logs = [torch.log(f)]
    for forward in p:
        f = gamma * forward / (1 - gamma * (1 - forward) * f)
        logs.append(torch.log(f))
    return torch.stack(logs).sum() - math.log(1 - gamma)


def multiply(x, y):
    """Multiply Taylor polynomials ``[n, K+1]``."""
    product = np.zeros_like(x)
    for i in range(x.shape[1]):
        product[:, i:] += x[:, i : i + 1] * y[:, : x.shape[1] - i]
    return product


def divide(x, y):
    quotient = np.zeros_like(x)
    for k in range(x.shape[1]):
        known = sum(quotient[:, i] * y[:, k - i] for i in range(k))
        quotient[:, k] = (x[:, k] - known) / y[:, 0]
    return quotient


def log_derivatives_along(p, directions, order):
    """Return ``log |d^k/dt^k V(p + t u)|`` at 0 for the rows ``u`` of ``directions``: ``[n, K+1]``, ``k = 0 .. K``."""
    gamma, n = len(p) / (len(p) + 1.0), len(directions)
    one = np.zeros((n, order + 1))
    one[:, 0] = 1.0
    f = gamma * one
    relative, log_V = one, math.log(gamma) - math.log(1 - gamma)  # V(t) = exp(log_V) * relative(t)
    for forward, along in zip(p, directions.T, strict=True):
        moved = forward * one
        moved[:, 1] = along
        f = divide(gamma * moved, one - gamma * multiply(one - moved, f))
        relative, log_V = multiply(relative, f / f[:, :1]), log_V + math.log(f[0, 0])
    factorials = np.array([math.factorial(k) for k in range(order + 1)])
    return log_V + np.log(np.abs(relative) * factorials + 1e-300)


@pytest.mark.parametrize("length", [1, 2, 5, 20, 60])
def test_the_value_of_the_chain_is_the_product(length):
    problem = vanishing_gradient_chain(length)
    pi, p = shy_policy(length, length)
    value = float(exact.performative_value(problem, pi))
    assert math.log(value) == pytest.approx(float(log_value(torch.from_numpy(p))), rel=1e-10)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 10, 20, 40])
def test_the_shy_policy_is_far_from_optimal(length):
    problem = vanishing_gradient_chain(length)
    pi, _ = shy_policy(length, 0)
    _, best = exact.optimal_policy(problem.unshifted())
    value = float(exact.performative_value(problem, pi))
    assert float(best[0]) == pytest.approx(problem.gamma ** (length + 1) / (1 - problem.gamma), rel=1e-10)
    assert float(best[0]) >= (length + 1) / 8
    assert value <= (length + 1) ** 2 / 3.0**length
    assert float(best[0]) - value >= (length + 1) / 8 - (length + 1) ** 2 / 3.0**length


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_a_long_chain_is_exponentially_small(seed):
    length = 570
    assert length / (40 * math.log(2 * length)) - 1 >= 1  # where the proposition speaks of first derivatives
    p = torch.from_numpy(shy_policy(length, seed)[1]).requires_grad_()
    log_V = log_value(p)
    (slopes,) = torch.autograd.grad(log_V, p)
    assert float(log_V.detach()) + math.log(float(slopes.norm())) <= -length / 4 * LOG3


@pytest.mark.parametrize("seed", range(3))
def test_higher_derivatives_of_a_long_chain_are_exponentially_small_along_every_direction_tried(seed):
    length, order = 1270, 3
    assert length / (40 * math.log(2 * length)) - 1 >= order
    _, p = shy_policy(length, seed)
    rng = np.random.default_rng(seed)
    moved = torch.from_numpy(p).requires_grad_()
    steepest = torch.autograd.grad(log_value(moved), moved)[0].numpy()
    directions = np.vstack(
        [steepest, np.ones(length), np.eye(length)[[0, length // 2, -1]], rng.normal(size=(20, length))]
    )
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    logs = log_derivatives_along(p, directions, order)
    assert (logs <= -length / 4 * LOG3).all()
    # The first derivative along the steepest direction is the length of the gradient.
    assert logs[0, 1] - logs[0, 0] == pytest.approx(math.log(np.linalg.norm(steepest)), rel=1e-9)


def test_derivatives_along_directions_are_those_of_the_value():
    _, p = shy_policy(6, 0)
    u = np.random.default_rng(1).normal(size=6)
    logs = log_derivatives_along(p, u[None], 3)[0]

    def value(t):
        return torch.exp(log_value(torch.from_numpy(p) + t * torch.from_numpy(u)))

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    derivative = value(t)
    for log_size in logs:
        assert math.log(abs(float(derivative.detach()))) == pytest.approx(log_size, abs=1e-9)
        (derivative,) = torch.autograd.grad(derivative, t, create_graph=True)


def test_plain_ascent_takes_the_flat_chain_for_a_maximum():
    problem = vanishing_gradient_chain(60)
    pi, _ = shy_policy(60, 0)
    pi[-1] = 0.25
    result = gradient_ascent(problem, initial_policy=pi)
    assert result.converged  # to first order there is nothing to gain
    assert result.gap < 1e-15
    _, best = exact.optimal_policy(problem.unshifted())
    assert result.value < 1e-15
    assert float(best[0]) > 61 / 8


def test_a_chain_has_at_least_one_state_between_its_ends():
    with pytest.raises(ValueError, match=r"length must be >= 1, got 0"):
        vanishing_gradient_chain(0)
