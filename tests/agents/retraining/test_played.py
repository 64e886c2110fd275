"""What playing a policy returns: as many transitions as asked for, each in the order it was made."""

import numpy as np
import pytest

from agents.retraining import SampledWorld
from tests.agents.retraining.worlds import PRICING, SOFTMAX
from tests.perf_envs.worlds import dense, make_world, random_policy


@pytest.mark.parametrize(("n_samples", "n_agents"), [(1, 1), (99, 1), (199, 1), (299, 2), (1001, 10)])
def test_a_round_has_exactly_the_samples_asked_for(n_samples, n_agents):
    """Agents step together: what they make beyond the number is counted as played, and not handed over."""
    problem = make_world(SOFTMAX, n_states=4, n_actions=2).problem
    world = SampledWorld(problem, n_samples)
    assert world.env.num_envs == n_agents
    for round_ in (1, 2):
        drawn = world.play(random_policy(problem, round_))
        columns = (drawn.states, drawn.actions, drawn.rewards, drawn.next_states, drawn.terminated)
        assert [len(column) for column in columns] == [n_samples] * 5
        assert world.n_steps == round_ * n_agents * -(-n_samples // n_agents)


def test_every_transition_is_possible_and_pays_what_the_world_says():
    """Pricing pays on a sale alone, so reward, action and next state tell on each other."""
    problem = make_world(PRICING, horizon=4, inventory=3, n_prices=4).problem
    policy = random_policy(problem, 0)
    world = SampledWorld(problem, 600)
    drawn = world.play(policy)
    answer = problem.response(policy)
    P, _ = dense(answer)
    assert (P[drawn.states, drawn.actions, drawn.next_states] > 0.0).all()
    prices = np.linspace(0.5, 4.0, 4)[drawn.actions]
    np.testing.assert_allclose(drawn.rewards[drawn.rewards > 0.0], prices[drawn.rewards > 0.0])
    ends = answer.absorbing.numpy()
    np.testing.assert_array_equal(drawn.terminated, ends[drawn.next_states])
    assert not ends[drawn.states].any()
    # One agent after the other within a step: each goes on where it was, or starts anew after an end.
    n_agents = world.env.num_envs
    goes_on = ~drawn.terminated[:-n_agents]
    np.testing.assert_array_equal(drawn.states[n_agents:][goes_on], drawn.next_states[:-n_agents][goes_on])
    assert (drawn.states[n_agents:][~goes_on] == np.flatnonzero(problem.rho)[0]).all()


def test_episodes_are_cut_at_a_hundred_steps_and_a_cut_is_no_end():
    problem = make_world(SOFTMAX, n_states=30, n_actions=2).problem
    world = SampledWorld(problem, 1000)
    drawn = world.play(random_policy(problem, 0))
    assert not drawn.terminated.any()
    n_agents = world.env.num_envs
    goes_on = (drawn.next_states[:-n_agents] == drawn.states[n_agents:]).reshape(-1, n_agents)
    assert goes_on.all()  # a hundred steps each: the first cut is the last step
    again = world.play(random_policy(problem, 0))
    assert (drawn.next_states[-n_agents:] != again.states[:n_agents]).any()
