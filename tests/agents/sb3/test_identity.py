import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from tests.agents.sb3.algorithms import ACTION_ENVS, every_algorithm


@pytest.mark.parametrize("kind", ["Discrete", "MultiDiscrete", "Box"])
@every_algorithm
def test_it_learns_to_repeat_what_it_sees(case, kind):
    if kind not in case.actions:
        pytest.skip("it does not take these actions")
    arguments, n_steps = case.learns
    venv = make_vec_env(ACTION_ENVS[kind], n_envs=4, seed=0)
    model = case.make("MlpPolicy", venv, **arguments)
    model.learn(n_steps)
    mean, _ = evaluate_policy(model, make_vec_env(ACTION_ENVS[kind], seed=1), n_eval_episodes=4)
    assert mean > 90.0  # of 100 steps
