"""Worlds whose values are large beside what policies differ by, against rational arithmetic."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch

from agents.planning import conservative_policy_iteration, policy_iteration, value_iteration
from perf_envs import Dynamics, PerformativeMDP, exact

N_STATES, N_ACTIONS = 4, 2
PATIENT = 1.0 - 2.0**-27


def world(seed, offset, scale=2.0**-13, gamma=PATIENT, absorbing=False):
    """Return a fixed world all of whose numbers are exact in floating point.

    Rewards are ``offset`` plus up to ``scale``; an absorbing last state is reached with probability ``2**-20``.
    """
    rng = np.random.default_rng(seed)
    P = rng.multinomial(16, np.full(N_STATES, 1.0 / N_STATES), size=(N_STATES, N_ACTIONS)) / 16.0
    r = offset + scale * rng.integers(0, 256, size=(N_STATES, N_ACTIONS)) / 256.0
    if absorbing:
        P *= 1.0 - 2.0**-20
        P[:, :, -1] += 2.0**-20
        P[-1], r[-1] = np.eye(N_STATES)[-1], 0.0
    rho = np.full(N_STATES, 1.0 / N_STATES)
    ends = torch.tensor([False] * (N_STATES - 1) + [absorbing])
    return Dynamics.from_dense(P, r, gamma=gamma, rho=torch.from_numpy(rho), absorbing=ends)


def rational(dynamics):
    P, r = dynamics.dense()
    return [[[Fraction(x) for x in row] for row in rows] for rows in P.tolist()], [
        [Fraction(x) for x in row] for row in r.tolist()
    ]


def rational_values(dynamics, policy):
    """Return the values of a policy table, without rounding, by Gaussian elimination."""
    P, r = rational(dynamics)
    gamma, states = Fraction(dynamics.gamma), range(N_STATES)
    pi = [[Fraction(x) for x in row] for row in np.asarray(policy).tolist()]
    rows = []
    for s in states:
        chain = [sum(p * P[s][a][t] for a, p in enumerate(pi[s])) for t in states]
        rows.append([(s == t) - gamma * chain[t] for t in states] + [sum(p * r[s][a] for a, p in enumerate(pi[s]))])
    for pivot in states:
        for other in states:
            if other != pivot:
                factor = rows[other][pivot] / rows[pivot][pivot]
                rows[other] = [x - factor * y for x, y in zip(rows[other], rows[pivot], strict=True)]
    return [rows[s][-1] / rows[s][s] for s in states]


def rational_advantages(dynamics, policy):
    P, r = rational(dynamics)
    V, gamma = rational_values(dynamics, policy), Fraction(dynamics.gamma)
    return [
        [r[s][a] + gamma * sum(p * v for p, v in zip(P[s][a], V, strict=True)) - V[s] for a in range(N_ACTIONS)]
        for s in range(N_STATES)
    ]


def rational_value(dynamics, policy):
    return sum(rational_values(dynamics, policy)) / N_STATES


def best_value(dynamics):
    """Return the best start value over all deterministic policies, without rounding."""
    tables = product(np.eye(N_ACTIONS), repeat=N_STATES)
    return max(rational_value(dynamics, np.stack(table)) for table in tables)


WORLDS = [(1.0, False), (-1000.0, False), (2.0**20, False), (0.0, False), (1.0, True)]


@pytest.mark.parametrize(("offset", "absorbing"), WORLDS)
@pytest.mark.parametrize("seed", range(4))
def test_no_action_is_better_than_the_optimal_policy(offset, absorbing, seed):
    dynamics = world(seed, offset, absorbing=absorbing)
    policy, _ = exact.optimal_policy(dynamics)
    # The rewards differ by 1e-4; what is left on the table would be earned for 1 / (1 - gamma) steps.
    largest = max(max(row) for row in rational_advantages(dynamics, policy))
    assert largest <= 1e-11 * max(1.0, float(exact.evaluate(dynamics, policy).advantage_terms().max()))
    assert float(best_value(dynamics) - rational_value(dynamics, policy)) <= float(largest) / (1.0 - PATIENT)


@pytest.mark.parametrize(("offset", "absorbing"), WORLDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_stability_gap_is_right_to_many_digits(offset, absorbing, seed):
    dynamics = world(seed, offset, absorbing=absorbing)
    for policy in (np.full((N_STATES, N_ACTIONS), 0.5), np.eye(N_ACTIONS)[np.arange(N_STATES) % 2]):
        gap = best_value(dynamics) - rational_value(dynamics, policy)
        assert exact.stability_gap(PerformativeMDP.fixed(dynamics), policy) == pytest.approx(float(gap), rel=1e-6)


# The entropy of the uniform policy is a constant that moves no advantage, as long as it is paid for ever.
@pytest.mark.parametrize(
    ("offset", "absorbing", "entropy_coef"), [*((*one, 0.0) for one in WORLDS), (1.0, False, 2.0**-10)]
)
def test_advantages_are_right_to_many_digits(offset, absorbing, entropy_coef):
    dynamics = world(0, offset, absorbing=absorbing)
    policy = np.full((N_STATES, N_ACTIONS), 0.5)
    expected = np.array(rational_advantages(dynamics, policy), dtype=np.float64)
    found = exact.advantages(dynamics, policy, entropy_coef).numpy()
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("method", [policy_iteration, value_iteration])
@pytest.mark.parametrize("offset", [1.0, -1000.0])
def test_planners_go_on_until_the_policy_is_optimal(method, offset):
    for seed in range(4):
        dynamics = world(seed, offset)
        result = method(PerformativeMDP.fixed(dynamics), performative_coef=0.0, tolerance=1e-9, n_iterations=50)
        assert result.converged
        missing = best_value(dynamics) - rational_value(dynamics, result.policy)
        assert float(missing) <= 1e-9 * 2.0**-13 / (1.0 - PATIENT) + 1e-12


def test_best_responses_go_on_until_the_policy_is_stable():
    dynamics = world(1, 1.0)
    worst = np.eye(N_ACTIONS)[np.array(rational_advantages(dynamics, np.full((N_STATES, N_ACTIONS), 0.5))).argmin(-1)]
    result = exact.stable_policy(PerformativeMDP.fixed(dynamics), start=worst)
    assert result.stable
    assert rational_value(dynamics, result.policy) == best_value(dynamics)


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
def test_the_unit_of_the_rewards_does_not_decide_when_a_planner_stops(factor):
    dynamics = world(2, 0.0, scale=1.0, gamma=0.9)
    scaled = Dynamics.from_dense(dynamics.probs, factor * dynamics.rewards, gamma=0.9, rho=dynamics.rho)
    results = [conservative_policy_iteration(PerformativeMDP.fixed(one)) for one in (dynamics, scaled)]
    assert results[0].converged
    assert results[1].converged
    assert results[1].gap == pytest.approx(factor * results[0].gap, rel=1e-3, abs=factor * 1e-9)
    gap = exact.stability_gap(PerformativeMDP.fixed(scaled), results[1].policy)
    assert gap <= 1e-4 * factor * float(dynamics.rewards.max()) / 0.1


def test_a_constant_in_the_rewards_does_not_change_the_performative_gradient():
    """The answer tilts transitions only, so that a constant is paid for the same time whatever is deployed."""
    rng = np.random.default_rng(0)
    base, tilt = (torch.from_numpy(rng.standard_normal((4, 2, 4))) for _ in range(2))
    rewards = torch.from_numpy(2.0**-13 * rng.integers(0, 256, size=(4, 2)) / 256.0)

    def problem(offset):
        def response(pi):
            return Dynamics.from_dense(torch.softmax(base + pi[:, :, None] * tilt, -1), rewards + offset + 0.0 * pi)

        return PerformativeMDP(response, np.full(4, 0.25), 1.0 - 1e-6, n_actions=2)

    logits = rng.standard_normal((4, 2))
    plain, moved = (exact.performative_gradient(problem(offset), logits) for offset in (0.0, 2.0**7))
    assert float((moved - plain).norm() / plain.norm()) < 1e-6
