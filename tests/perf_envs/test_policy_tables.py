"""A policy as a table, asked for its probabilities or for what it would do without chance."""

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO

from perf_envs import policy_table
from tests.perf_envs.worlds import make_world


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_a_stochastic_model_can_be_asked_for_its_likeliest_actions(algorithm):
    env = make_world("PerformativePricing-v0", horizon=4, inventory=3)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu")
    probabilities = policy_table(model, env.query_observations, env.n_actions)
    certain = policy_table(model, env.query_observations, env.n_actions, deterministic=True)
    assert probabilities.max() < 1.0
    np.testing.assert_array_equal(certain, np.eye(env.n_actions)[probabilities.argmax(-1)])
