"""Statements 2 and 3: score-function estimators, their expectations taken over every trajectory there is."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given

from perf_envs import Dynamics, PerformativeMDP, exact
from tests.theory.instances import examples, random_table, seeds

#: Four periods: state 0, then 1 or 2, then 3 or 4, then the end, state 5.
SUCCESSORS = torch.tensor([[1, 2], [3, 4], [4, 3], [5, 5], [5, 5], [5, 5]])
END, N_ACTIONS, GAMMA = 5, 3, 0.8


class Step(NamedTuple):
    state: int
    action: int
    outcome: int


def short_world(seed):
    """Return a world whose episodes take three steps and whose every step answers the policy."""
    rng = np.random.default_rng(seed)
    logits, psi = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((6, N_ACTIONS, 2), (2,)))
    base, alive = torch.from_numpy(rng.random((6, N_ACTIONS))), torch.arange(6)[:, None] < END

    def respond(pi):
        probs = torch.softmax(logits + 2.0 * psi * pi[:, :, None], -1)
        return Dynamics(SUCCESSORS, probs, (base - 0.7 * pi) * alive, absorbing=~alive[:, 0])

    return PerformativeMDP(respond, np.eye(6)[0], GAMMA, n_actions=N_ACTIONS)


def trajectories(state=0) -> Iterator[list[Step]]:
    """Yield every episode from ``state`` on."""
    if state == END:
        yield []
        return
    # From 3 and 4 both outcomes lead to the end; they are two episodes with the same states.
    for action in range(N_ACTIONS):
        for outcome in range(2):
            for rest in trajectories(int(SUCCESSORS[state, outcome])):
                yield [Step(state, action, outcome), *rest]


class Scores:
    """Gradients with respect to the logits, of everything a score-function estimator is made of."""

    def __init__(self, problem, pi):
        theta = torch.log(torch.from_numpy(pi)).requires_grad_()
        table = torch.softmax(theta, -1)
        answer = problem.response(table)
        self.probs, self.rewards = answer.probs.detach().numpy(), answer.rewards.detach().numpy()
        self.pi = pi

        def gradients(tensor):
            flat = [torch.autograd.grad(entry, theta, retain_graph=True)[0].numpy() for entry in tensor.ravel()]
            return np.array(flat).reshape(*tensor.shape, *pi.shape)

        self.log_pi = gradients(torch.log(table))
        self.log_P = gradients(torch.log(answer.probs))
        self.r = gradients(answer.rewards)

    def probability(self, trajectory):
        return float(np.prod([self.pi[s, a] * self.probs[s, a, k] for s, a, k in trajectory]))

    def expectation(self, estimator):
        """Return the expected sum over ``t`` of ``gamma^t estimator(step, return from t on, return from t+1 on)``."""
        total = np.zeros_like(self.pi)
        for trajectory in trajectories():
            returns = np.zeros(len(trajectory) + 1)
            for t in reversed(range(len(trajectory))):
                s, a, _ = trajectory[t]
                returns[t] = self.rewards[s, a] + GAMMA * returns[t + 1]
            terms = (GAMMA**t * estimator(step, returns[t], returns[t + 1]) for t, step in enumerate(trajectory))
            total += self.probability(trajectory) * sum(terms)
        return total


@pytest.fixture(params=range(6))
def world(request):
    problem = short_world(request.param)
    pi = random_table((6, N_ACTIONS), request.param)
    return problem, pi, Scores(problem, pi), np.random.default_rng(request.param)


def test_the_trajectories_are_all_there_are(world):
    *_, scores, _ = world
    assert sum(scores.probability(trajectory) for trajectory in trajectories()) == pytest.approx(1.0, abs=1e-12)


def test_reinforce_is_unbiased_for_the_myopic_gradient_without_a_baseline(world):
    problem, pi, scores, _ = world
    expected = scores.expectation(lambda step, G, after: scores.log_pi[step.state, step.action] * G)
    myopic = exact.performative_gradient(problem, np.log(pi), performative_coef=0.0)
    np.testing.assert_allclose(expected, myopic, atol=1e-12)


def test_reinforce_stays_unbiased_with_any_baseline_of_the_state(world):
    problem, pi, scores, rng = world
    b = rng.normal(size=6)
    expected = scores.expectation(lambda step, G, after: scores.log_pi[step.state, step.action] * (G - b[step.state]))
    myopic = exact.performative_gradient(problem, np.log(pi), performative_coef=0.0)
    np.testing.assert_allclose(expected, myopic, atol=1e-12)


def test_a_baseline_that_knows_the_action_is_biased(world):
    problem, pi, scores, rng = world
    b = rng.normal(size=(6, N_ACTIONS))
    expected = scores.expectation(
        lambda step, G, after: scores.log_pi[step.state, step.action] * (G - b[step.state, step.action])
    )
    myopic = exact.performative_gradient(problem, np.log(pi), performative_coef=0.0)
    assert np.abs(expected - myopic.numpy()).max() > 1e-3


def test_the_performative_estimator_is_unbiased_with_any_baselines(world):
    problem, pi, scores, rng = world
    b, c = rng.normal(size=6), rng.normal(size=(6, N_ACTIONS))

    def estimator(step, G, after):
        s, a, k = step
        return scores.log_pi[s, a] * (G - b[s]) + scores.r[s, a] + scores.log_P[s, a, k] * (GAMMA * after - c[s, a])

    performative = exact.performative_gradient(problem, np.log(pi))
    np.testing.assert_allclose(scores.expectation(estimator), performative, atol=1e-12)
    assert float((performative - exact.performative_gradient(problem, np.log(pi), 0.0)).abs().max()) > 1e-3


def test_weighting_the_transition_score_by_the_advantage_gives_nothing(world):
    problem, pi, scores, _ = world
    A = exact.advantages(problem, pi).numpy()
    expected = scores.expectation(lambda step, G, after: scores.log_P[step] * A[step.state, step.action])
    np.testing.assert_allclose(expected, 0.0, atol=1e-13)
    sizes = [np.abs(scores.log_P[s, a]).max() * abs(A[s, a]) for s in range(3) for a in range(N_ACTIONS)]
    assert min(sizes) > 1e-6  # nothing on average, not for want of terms


@examples
@given(seeds)
def test_weighting_the_transition_score_by_the_next_value_gives_the_dynamics_term(seed):
    problem = short_world(seed)
    pi = random_table((6, N_ACTIONS), seed)
    scores = Scores(problem, pi)
    V = exact.state_values(problem, pi).numpy()
    b = np.random.default_rng(seed).normal(size=(6, N_ACTIONS))

    def estimator(step, G, after):
        weight = GAMMA * V[SUCCESSORS[step.state, step.outcome]] - b[step.state, step.action]
        return scores.log_P[step] * weight

    def reward_term(step, G, after):
        return scores.r[step.state, step.action]

    answer = exact.performative_gradient(problem, np.log(pi)) - exact.performative_gradient(problem, np.log(pi), 0.0)
    dynamics = answer.numpy() - scores.expectation(reward_term)
    np.testing.assert_allclose(scores.expectation(estimator), dynamics, atol=1e-12)
    assert np.abs(dynamics).max() > 1e-5
