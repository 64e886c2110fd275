"""Statement 9: values are not concave, neither in the policy table nor in softmax logits."""

import numpy as np
import pytest

from agents.planning import natural_policy_gradient
from perf_envs import exact
from perf_envs.worlds.theory import nonconcavity_witness

#: Linear equations of five states, condition number (1 + gamma) / (1 - gamma) <= 199: a relative 2e-13, and some.
SOLVED = 1e-12


def value(problem, pi):
    return float(exact.performative_value(problem, pi))


def table(right, up):
    """Return the policy that goes right in state 0 and up in state 1 with these probabilities."""
    pi = np.full((5, 2), 0.5)
    pi[0], pi[1] = [1 - right, right], [up, 1 - up]
    return pi


@pytest.mark.parametrize(("reward", "gamma"), [(1.0, 0.9), (16.0, 0.5), (0.25, 0.99)])
def test_two_policies_are_worth_more_on_average_than_the_policy_between_them(reward, gamma):
    problem = nonconcavity_witness(reward, gamma)
    bold, shy, between = table(3 / 4, 3 / 4), table(1 / 4, 1 / 4), table(1 / 2, 1 / 2)
    assert value(problem, bold) == pytest.approx(9 / 16 * reward, rel=SOLVED)
    assert value(problem, shy) == pytest.approx(1 / 16 * reward, rel=SOLVED)
    np.testing.assert_array_equal(0.5 * (bold + shy), between)
    assert value(problem, between) == pytest.approx(1 / 4 * reward, rel=SOLVED)
    # The same policy lies between the two in logits.
    logits = 0.5 * (np.log(bold) + np.log(shy))
    halfway = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(halfway, between, atol=1e-15)
    assert 0.5 * (value(problem, bold) + value(problem, shy)) > value(problem, halfway)


def test_the_value_of_the_witness_is_the_product_of_two_probabilities():
    problem, rng = nonconcavity_witness(reward=3.0), np.random.default_rng(0)
    for right, up in rng.random((20, 2)):
        assert value(problem, table(right, up)) == pytest.approx(3.0 * right * up, rel=SOLVED)


def test_the_witness_does_not_answer_but_can_be_differentiated():
    problem, pi = nonconcavity_witness(), table(0.3, 0.6)
    terms = exact.gradient_terms(problem, pi)
    assert float(terms.response.abs().max()) == 0.0
    assert float(terms.policy.abs().max()) > 0.1


def test_nonconcave_as_it_is_natural_gradient_ascent_finds_its_optimum():
    result = natural_policy_gradient(nonconcavity_witness(), initial_policy=table(1 / 4, 1 / 4), learning_rate=1.0)
    assert result.converged
    assert result.value == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("argument", "value"), [("reward", 0.0), ("gamma", 1.0)])
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be"):
        nonconcavity_witness(**{argument: value})
