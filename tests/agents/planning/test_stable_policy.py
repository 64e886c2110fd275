"""Best-response iteration: where it settles, where it goes round in circles, where it starts."""

import numpy as np
import pytest
import torch

from perf_envs import Dynamics, PerformativeMDP, exact
from tests.perf_envs.worlds import dense, make_world, random_policy


def is_best_response(problem, policy, deployed):
    """Say whether ``policy`` satisfies the optimality equation of the world that answers ``deployed``."""
    P, r = dense(problem.response(deployed))
    chain = np.einsum("sa,sat->st", policy, P)
    V = np.linalg.solve(np.eye(len(r)) - problem.gamma * chain, (policy * r).sum(-1))
    return bool(((r + problem.gamma * P @ V).max(-1) <= V + 1e-9).all())


def crowded(n_actions=2):
    """Return one state in which an action pays the less the more it is used: best responses chase each other."""
    rewards = torch.arange(n_actions, dtype=torch.float64) * 0.01
    return PerformativeMDP(
        lambda pi: Dynamics.from_dense(torch.ones(1, n_actions, 1, dtype=torch.float64), rewards - pi),
        [1.0],
        0.5,
        n_actions=n_actions,
    )


def test_the_gridworld_settles_in_a_policy_that_is_its_own_best_response():
    problem = make_world("PerformativeGridWorld-v0").problem
    result = exact.stable_policy(problem)
    assert result.stable
    assert result.cycle == ()
    assert is_best_response(problem, result.policy.numpy(), result.policy)
    assert exact.stability_gap(problem, result.policy) == pytest.approx(result.gap, abs=1e-12)


def test_default_pricing_goes_round_in_a_circle_of_best_responses():
    problem = make_world("PerformativePricing-v0").problem
    result = exact.stable_policy(problem)
    assert not result.stable
    assert len(result.cycle) >= 2
    assert result.gap > 0.1
    for deployed, response in zip(result.cycle, (*result.cycle[1:], result.cycle[0]), strict=True):
        assert is_best_response(problem, response.numpy(), deployed)
        assert not torch.equal(deployed, response)
    assert torch.equal(result.policy, result.cycle[-1])


def test_a_circle_is_found_whichever_policy_it_is_entered_from():
    problem = crowded(3)
    result = exact.stable_policy(problem, start=[[0.0, 0.0, 1.0]])
    assert not result.stable
    assert sorted(policy.argmax().item() for policy in result.cycle) == [1, 2]


def test_the_way_into_a_circle_is_no_part_of_it():
    following = [1, 2, 3, 2]  # the best response to each action: 0 and 1 lead into the circle of 2 and 3
    pays = torch.eye(4, dtype=torch.float64)[following]
    problem = PerformativeMDP(
        lambda pi: Dynamics.from_dense(torch.ones(1, 4, 1, dtype=torch.float64), pi @ pays), [1.0], 0.5, n_actions=4
    )
    for start, entered in ((0, [2, 3]), (1, [2, 3]), (3, [3, 2])):
        result = exact.stable_policy(problem, start=np.eye(4)[[start]])
        assert not result.stable
        assert [int(policy.argmax()) for policy in result.cycle] == entered
        assert int(result.policy.argmax()) == entered[-1]
        assert result.n_iter == {0: 4, 1: 3, 3: 2}[start]
        assert result.gap == pytest.approx(2.0)  # a reward of 1 for ever, at a discount of 0.5


def test_it_starts_from_the_best_response_to_the_unshifted_world_or_from_the_given_policy():
    problem = make_world("SoftmaxPeMDP-v0", kappa=1.0, xi=2.0).problem  # habits pay: every start keeps its habits
    default = exact.stable_policy(problem)
    first, _ = exact.optimal_policy(problem.unshifted())
    np.testing.assert_array_equal(exact.stable_policy(problem, start=first).policy, default.policy)
    ends = set()
    for seed in range(5):
        result = exact.stable_policy(problem, start=random_policy(problem, seed, concentration=0.1))
        assert result.stable
        assert is_best_response(problem, result.policy.numpy(), result.policy)
        ends.add(tuple(result.policy.argmax(-1).tolist()))
    assert len(ends) > 1


def test_a_stable_start_is_returned_as_it_is():
    problem = make_world("PerformativeGridWorld-v0").problem
    stable = exact.stable_policy(problem)
    again = exact.stable_policy(problem, start=stable.policy)
    assert again.stable
    assert again.n_iter == 1
    assert torch.equal(again.policy, stable.policy)


def test_running_out_of_iterations_is_neither_stable_nor_a_circle_and_is_said():
    problem = make_world("PerformativePricing-v0").problem
    with pytest.warns(UserWarning, match="neither settled nor came back within 1 iterations"):
        result = exact.stable_policy(problem, n_iterations=1)
    assert not result.stable
    assert result.cycle == ()
    assert result.gap > 0


def test_a_mixed_policy_can_be_stable_where_deterministic_ones_chase_each_other():
    problem = crowded()
    assert not exact.stable_policy(problem).stable
    # Both actions pay the same where they are used 49.5 % and 50.5 % of the time.
    mixed = exact.stable_policy(problem, start=[[0.495, 0.505]])
    assert mixed.stable
    assert mixed.n_iter == 1
    assert is_best_response(problem, np.array([[0.0, 1.0]]), mixed.policy)
    assert is_best_response(problem, np.array([[1.0, 0.0]]), mixed.policy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": [[0.5, 0.6]]}, "start at state 0 must sum to 1"),
        ({"start": [[1.0]]}, r"start must have shape \(1, 2\), got \(1, 1\)"),
        ({"n_iterations": 0}, "n_iterations must be >= 1, got 0"),
    ],
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        exact.stable_policy(crowded(), **settings)
