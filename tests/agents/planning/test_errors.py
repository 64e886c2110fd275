"""Nothing fails in silence: worlds that cannot be planned in, runs that did not converge, arguments without sense."""

import numpy as np
import pytest
import torch

from agents.planning import (
    conservative_policy_iteration,
    gradient_ascent,
    log_barrier,
    natural_policy_gradient,
    pepg,
)
from perf_envs import Dynamics, PerformativeMDP
from tests.perf_envs.worlds import make_world

SINGLE = [gradient_ascent, natural_policy_gradient, log_barrier, conservative_policy_iteration]
ALL = [pepg, *SINGLE]
planners = pytest.mark.parametrize("planner", ALL, ids=lambda planner: planner.__name__)
single = pytest.mark.parametrize("planner", SINGLE, ids=lambda planner: planner.__name__)


def two_states(transitions=lambda pi: 0.5, rewards=lambda pi: pi):
    """Return a world of two states and two actions from functions of the policy."""

    def respond(pi):
        to_first = torch.as_tensor(transitions(pi), dtype=torch.float64).expand(2, 2)
        return Dynamics.from_dense(torch.stack([to_first, 1 - to_first], -1), rewards(pi))

    return PerformativeMDP(respond, [0.5, 0.5], 0.9, n_actions=2)


@pytest.fixture
def problem():
    return make_world("SoftmaxPeMDP-v0", n_states=3, n_actions=2).problem


@planners
def test_a_response_map_that_is_not_differentiable_is_refused(planner):
    steps = two_states(rewards=lambda pi: (pi.detach() > 0.4).double())
    with pytest.raises(
        ValueError, match="without gradients: the performative gradient needs one that is differentiable"
    ):
        planner(steps)


@single
@pytest.mark.filterwarnings(r"ignore:\w+ stopped before it converged:UserWarning")
def test_the_myopic_methods_plan_in_a_world_that_is_not_differentiable(planner):
    steps = two_states(rewards=lambda pi: torch.eye(2, dtype=torch.float64) * (pi.detach() > 0.4))
    result = planner(steps, performative_coef=0.0, n_iterations=50)
    assert result.value > float(result.history[0]) + 0.1


@planners
def test_transitions_that_are_not_numbers_are_refused_with_state_and_action(planner):
    broken = two_states(transitions=lambda pi: torch.where(pi[1, 0] > 0, torch.nan, 0.5) * torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"probs at state and action \(0, 0\) must be finite"):
        planner(broken)


@planners
def test_rewards_that_are_not_numbers_are_refused_with_state_and_action(planner):
    broken = two_states(rewards=lambda pi: pi * torch.tensor([[1.0, 1.0], [torch.nan, 1.0]], dtype=torch.float64))
    with pytest.raises(ValueError, match="rewards at state 1, action 0 must be finite, got nan"):
        planner(broken)


@planners
def test_a_gradient_that_is_not_a_number_is_refused(planner):
    # The square root of zero is finite, its derivative is not.
    kinked = two_states(rewards=lambda pi: pi + torch.sqrt((pi - pi.detach()).abs()))
    with pytest.raises(ValueError, match="gradient that is not finite"):
        planner(kinked)


@single
def test_a_run_that_has_not_converged_says_so(planner, problem):
    with pytest.warns(UserWarning, match=rf"{planner.__name__} stopped before it converged \(first-order gap"):
        result = planner(problem, n_iterations=1)
    assert not result.converged
    assert result.gap > 0


def test_a_search_that_has_not_converged_says_so():
    problem = make_world("SoftmaxPeMDP-v0", n_states=3, n_actions=2, xi=-1.0).problem
    with pytest.warns(UserWarning, match="pepg stopped before it converged"):
        result = pepg(problem, n_iterations=8, n_starts=1, tolerance=1e-12)
    assert not result.converged
    assert result.gap > 1e-12


@planners
@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("n_iterations", 0, "n_iterations must be"),
        ("n_iterations", 2.5, "n_iterations must be"),
        ("tolerance", -1.0, "tolerance must be >= 0, got -1.0"),
        ("tolerance", float("nan"), "tolerance must be"),
        ("initial_policy", [[0.5, 0.5]], "initial_policy must have shape"),
        ("initial_policy", [[0.5, 0.6]] * 3, "initial_policy at state 0 must sum to 1"),
    ],
)
def test_bad_arguments_are_named_with_their_value(planner, argument, value, message, problem):
    with pytest.raises(ValueError, match=message):
        planner(problem, **{argument: value})


@pytest.mark.parametrize("planner", [pepg, gradient_ascent, natural_policy_gradient, log_barrier])
def test_a_start_that_a_softmax_cannot_leave_is_refused_with_its_state_and_action(planner, problem):
    start = np.array([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])
    with pytest.raises(ValueError, match="initial_policy must be positive everywhere, got 0 at state 1, action 1"):
        planner(problem, initial_policy=start)


@pytest.mark.parametrize("planner", [pepg, gradient_ascent, natural_policy_gradient, log_barrier])
@pytest.mark.parametrize("learning_rate", [0.0, -1.0, float("inf")])
def test_a_learning_rate_has_to_be_positive(planner, learning_rate, problem):
    with pytest.raises(ValueError, match="learning_rate must be > 0"):
        planner(problem, learning_rate=learning_rate)


@pytest.mark.parametrize("planner", [pepg, gradient_ascent, log_barrier])
def test_an_unknown_step_rule_is_refused_with_the_nearest_one(planner, problem):
    with pytest.raises(ValueError, match=r"step must be one of .*got 'adamm' \(did you mean 'adam'\?\)"):
        planner(problem, step="adamm")


def test_a_barrier_has_to_be_positive(problem):
    with pytest.raises(ValueError, match="barrier must be > 0, got 0"):
        log_barrier(problem, barrier=0.0)


def test_natural_steps_are_not_for_barriers(problem):
    with pytest.raises(ValueError, match="step must be one of 'adam', 'fixed', got 'natural'"):
        log_barrier(problem, step="natural")


def test_the_answer_has_a_weight_between_none_and_all(problem):
    with pytest.raises(ValueError, match=r"performative_coef must be >= 0 and <= 1, got 1\.5"):
        conservative_policy_iteration(problem, performative_coef=1.5)
    with pytest.raises(ValueError, match="n_starts must be"):
        pepg(problem, n_starts=0)
