"""How many transitions a round of samples has, whatever the number of agents that draw them."""

import numpy as np
import pytest

from agents.retraining import SampledWorld
from tests.agents.retraining.worlds import SOFTMAX
from tests.perf_envs.worlds import make_world, random_policy


@pytest.mark.parametrize("n_samples", [1, 99, 100, 199, 305, 1001])
def test_a_round_has_exactly_as_many_samples_as_asked_for(n_samples):
    problem = make_world(SOFTMAX, n_states=4, n_actions=2, gamma=0.8).problem
    world = SampledWorld(problem, n_samples)
    for rounds in (1, 2):
        drawn = world.play(random_policy(problem, rounds))
        columns = (drawn.states, drawn.actions, drawn.rewards, drawn.next_states, drawn.terminated)
        assert {len(column) for column in columns} == {len(drawn)} == {n_samples}
        # One agent for every hundred samples; the last step of all of them may be more than is needed.
        n_agents = max(n_samples // 100, 1)
        assert world.n_steps == rounds * n_agents * int(np.ceil(n_samples / n_agents))
