"""Dynamics in successor-list form."""

import numpy as np
import pytest
import torch

from perf_envs import Dynamics
from tests.perf_envs.worlds import IDS, dense, make_world, random_policy

SUCCESSORS = torch.tensor([[0, 1], [1, 1]])
PROBS = torch.tensor([[[0.3, 0.7], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]], dtype=torch.float64)
REWARDS = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)


@pytest.mark.parametrize("world_id", IDS)
def test_the_dense_form_is_the_sum_over_the_successor_lists(world_id):
    dynamics = make_world(world_id).problem.response(random_policy(make_world(world_id), 0))
    P, r = dynamics.dense()
    expected_P, expected_r = dense(dynamics)
    np.testing.assert_allclose(P, expected_P, atol=1e-15)
    np.testing.assert_array_equal(r, expected_r)
    np.testing.assert_allclose(P.sum(-1), 1.0, atol=1e-12)


@pytest.mark.parametrize("world_id", ["PerformativeGridWorld-v0", "PerformativePricing-v0"])
def test_the_expected_reward_is_the_mean_of_what_the_outcomes_pay(world_id):
    world = make_world(world_id)
    dynamics = world.problem.response(random_policy(world, 1))
    paid = np.broadcast_to(dynamics.outcome_rewards.numpy(), dynamics.probs.shape)
    np.testing.assert_allclose((dynamics.probs.numpy() * paid).sum(-1), dynamics.rewards, atol=1e-14)


def test_successors_may_differ_between_actions():
    shared = Dynamics(SUCCESSORS, PROBS, REWARDS)
    own = Dynamics(SUCCESSORS[:, None, :].expand(2, 2, 2).contiguous(), PROBS, REWARDS)
    pi = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)
    values = torch.tensor([10.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(shared.dense()[0], own.dense()[0])
    torch.testing.assert_close(shared.expected_next(values), own.expected_next(values))
    chains = []
    for dynamics in (shared, own):
        successors, probs = dynamics.policy_chain(pi)
        chains.append(torch.zeros(2, 2, dtype=torch.float64).scatter_add(1, successors, probs))
    torch.testing.assert_close(chains[0], chains[1])
    torch.testing.assert_close(chains[0], torch.einsum("sa,sat->st", pi, shared.dense()[0]))


def test_a_dense_world_may_have_absorbing_states():
    P = np.array([[[0.5, 0.5]], [[0.0, 1.0]]])
    dynamics = Dynamics.from_dense(P, np.array([[1.0], [0.0]]), absorbing=torch.tensor([False, True]))
    assert dynamics.is_dense
    np.testing.assert_array_equal(dynamics.dense()[0], P)


def test_mixing_is_linear_in_transitions_and_rewards():
    world = make_world("PerformativeGridWorld-v0")
    old, new = (world.problem.response(random_policy(world, seed)) for seed in (0, 1))
    mixed = old.mix(new, 0.3)
    for part, before, after in zip(dense(mixed), dense(old), dense(new), strict=True):
        np.testing.assert_allclose(part, 0.7 * before + 0.3 * after, atol=1e-14)


def test_dynamics_over_other_successors_cannot_be_mixed():
    with pytest.raises(ValueError, match="successors"):
        Dynamics(SUCCESSORS, PROBS, REWARDS).mix(Dynamics(1 - SUCCESSORS, PROBS, REWARDS), 0.5)


def test_the_shift_is_the_largest_l1_distance_and_the_largest_change_of_reward():
    world = make_world("PerformativeGridWorld-v0")
    old, new = (world.problem.response(random_policy(world, seed)) for seed in (0, 1))
    (P_old, r_old), (P_new, r_new) = dense(old), dense(new)
    shift = new.shift_from(old)
    assert shift.transition == pytest.approx(np.abs(P_new - P_old).sum(-1).max(), abs=1e-13)
    assert shift.reward == pytest.approx(np.abs(r_new - r_old).max(), abs=1e-15)
    assert new.shift_from(new) == (0.0, 0.0)


def test_the_shift_counts_probability_by_state_not_by_outcome():
    """Other successors, other order: only where the probability goes matters."""
    old, moved = Dynamics(SUCCESSORS, PROBS, REWARDS), Dynamics(1 - SUCCESSORS, PROBS, REWARDS)
    expected = np.abs(dense(moved)[0] - dense(old)[0]).sum(-1).max()
    assert expected > 0.1
    assert moved.shift_from(old) == (pytest.approx(expected, abs=1e-15), 0.0)
    reordered = Dynamics(SUCCESSORS.flip(-1), PROBS.flip(-1), REWARDS)
    assert reordered.shift_from(old) == (0.0, 0.0)


def changed(tensor, where, value):
    tensor = tensor.clone()
    tensor[where] = value
    return tensor


BAD = {
    "probability rows name state and action": (
        {"probs": changed(PROBS, (0, 1, 0), 0.5)},
        r"probs at state and action \(0, 1\) must sum to 1 .*0\.5\), got \[0\.5, 0\]",
    ),
    "negative probabilities": (
        {"probs": changed(PROBS, (1, 0), torch.tensor([-0.5, 1.5], dtype=torch.float64))},
        r"probs at state and action \(1, 0\) must be non-negative, got \[-0\.5, 1\.5\]",
    ),
    "NaN probabilities": (
        {"probs": changed(PROBS, (1, 1, 0), np.nan)},
        r"probs at .*\(1, 1\) must be finite, got \[nan",
    ),
    "NaN rewards": (
        {"rewards": changed(REWARDS, (1, 0), np.nan)},
        "rewards at state 1, action 0 must be finite, got nan",
    ),
    "infinite rewards": ({"rewards": changed(REWARDS, (0, 1), np.inf)}, "rewards at state 0, action 1 .*got inf"),
    "rewards of another shape": ({"rewards": REWARDS[:1]}, r"rewards must have shape \(2, 2\), got \(1, 2\)"),
    "single precision": ({"probs": PROBS.float()}, "must be float64, got torch.float32"),
    "successors out of range": (
        {"successors": changed(SUCCESSORS, (0, 1), 2)},
        r"successors at \(0, 1\) .*0\.\.1, got 2",
    ),
    "successors that are no integers": ({"successors": SUCCESSORS.double()}, "successors must be int64"),
    "successors of another shape": (
        {"successors": SUCCESSORS[:, :1]},
        r"successors must have shape \(2, 2\).*\(2, 1\)",
    ),
    "no outcomes": ({"probs": PROBS[:, :, :0], "successors": SUCCESSORS[:, :0]}, r"no axis empty, got \(2, 2, 0\)"),
    "absorbing states that pay": ({"absorbing": torch.tensor([False, True])}, "absorbing state 1 .* pay 0"),
    "absorbing states that let go": (
        {"absorbing": torch.tensor([True, False]), "rewards": torch.zeros(2, 2, dtype=torch.float64)},
        "absorbing state 0 must lead to itself",
    ),
    "absorbing flags of another shape": ({"absorbing": torch.tensor([False])}, r"absorbing must be bool \[2\]"),
    "a discount of 1": ({"gamma": 1.0}, "gamma must be > 0 and < 1, got 1.0"),
}


@pytest.mark.parametrize(("fields", "message"), BAD.values(), ids=BAD)
def test_the_constructor_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        Dynamics(**({"successors": SUCCESSORS, "probs": PROBS, "rewards": REWARDS} | fields))


@pytest.mark.parametrize("shape", [(3,), (2, 1, 5), (1, 1, 1, 1)])
def test_outcome_rewards_that_do_not_fit_are_rejected(shape):
    probs = torch.full((2, 2, 2), 0.5, dtype=torch.float64)
    with pytest.raises(ValueError, match="outcome_rewards must broadcast"):
        Dynamics(
            torch.zeros(2, 2, dtype=torch.int64), probs, torch.zeros(2, 2, dtype=torch.float64), torch.zeros(shape)
        )


@pytest.mark.parametrize("rho", [[1.0], [0.5, 0.6], [float("nan"), 1.0]])
def test_a_start_distribution_that_is_none_is_rejected(rho):
    probs = torch.full((2, 2, 2), 0.5, dtype=torch.float64)
    rewards = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="rho"):
        Dynamics(torch.zeros(2, 2, dtype=torch.int64), probs, rewards, rho=torch.tensor(rho, dtype=torch.float64))
