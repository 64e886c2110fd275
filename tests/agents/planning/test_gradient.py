"""Plain gradient ascent on one start."""

import numpy as np
import pytest
import torch

from agents.planning import gradient_ascent
from perf_envs import exact
from perf_envs.problem import ConstantResponse
from tests.perf_envs.worlds import make_world, random_policy

unfinished = pytest.mark.filterwarnings("ignore:gradient_ascent stopped before it converged:UserWarning")


def pemdp(seed, **settings):
    return make_world("SoftmaxPeMDP-v0", **{"n_states": 4, "n_actions": 3, "instance_seed": seed, **settings}).problem


@unfinished
def test_a_fixed_step_adds_the_learning_rate_times_the_gradient_to_the_logits():
    problem = pemdp(0)
    start = torch.from_numpy(random_policy(problem, 0))
    logits = torch.log(start)
    for n_steps, alpha in ((1, 1.0), (1, 0.0), (3, 0.5)):
        expected = logits.clone()
        for _ in range(n_steps):
            expected += 0.7 * exact.performative_gradient(problem, expected, alpha)
        result = gradient_ascent(
            problem,
            step="fixed",
            learning_rate=0.7,
            performative_coef=alpha,
            n_iterations=n_steps + 1,
            initial_policy=start,
        )
        np.testing.assert_allclose(result.policy, torch.softmax(expected, -1), atol=1e-12)


@unfinished
def test_adam_follows_torch():
    problem, logits = pemdp(1), torch.zeros(4, 3, dtype=torch.float64)
    optimizer = torch.optim.Adam([logits], lr=0.1, maximize=True)
    for _ in range(5):
        logits.grad = exact.performative_gradient(problem, logits)
        optimizer.step()
    result = gradient_ascent(problem, n_iterations=6)
    np.testing.assert_allclose(result.policy, torch.softmax(logits, -1), atol=1e-12)


@unfinished
def test_the_history_starts_at_the_initial_policy_and_ends_at_the_result():
    problem = pemdp(2)
    start = random_policy(problem, 3)
    result = gradient_ascent(problem, initial_policy=start, n_iterations=20)
    assert result.n_iter == len(result.history) == 20
    assert float(result.history[0]) == pytest.approx(float(exact.performative_value(problem, start)), rel=1e-12)
    assert float(result.history[-1]) == result.value
    assert result.value == pytest.approx(float(exact.performative_value(problem, result.policy)), rel=1e-12)
    assert result.method == "gradient_ascent"


@pytest.mark.parametrize("seed", range(3))
def test_the_performative_method_ends_where_the_performative_gradient_vanishes(seed):
    problem = pemdp(seed, kappa=2.0, xi=-1.0)
    result = gradient_ascent(problem, n_iterations=3000)
    assert result.converged
    gradient = exact.performative_gradient(problem, torch.log(result.policy))
    assert float(gradient.abs().max()) < 1e-5


@pytest.mark.parametrize("seed", [1, 3])
def test_the_myopic_method_ends_at_a_stable_policy_that_is_not_the_best_one(seed):
    problem = pemdp(seed, kappa=2.0, xi=-1.0)
    myopic = gradient_ascent(problem, performative_coef=0.0, n_iterations=3000)
    assert myopic.converged
    assert exact.stability_gap(problem, myopic.policy) < 1e-4
    performative = gradient_ascent(problem, n_iterations=3000, initial_policy=myopic.policy)
    assert performative.value > myopic.value + 0.01
    assert exact.stability_gap(problem, performative.policy) > 0.01


def test_entropy_is_measured_against_the_range_of_the_rewards():
    problem = pemdp(0, kappa=0.0, xi=0.0)
    still = problem.unshifted()
    stretched = type(problem)(
        ConstantResponse(type(still)(still.successors, still.probs, 10.0 * still.rewards)), problem.rho, problem.gamma
    )
    results = [gradient_ascent(world, entropy_coef=0.3, n_iterations=4000) for world in (problem, stretched)]
    np.testing.assert_allclose(results[0].policy, results[1].policy, atol=1e-3)
    scale = float(still.rewards.max() - still.rewards.min())
    soft = exact.advantages(problem, results[0].policy, 0.3 * scale)
    assert float(soft.abs().max()) < 1e-3  # stationary: all actions are equally good, their entropy counted
    assert float(results[0].policy.min()) > 1e-3
