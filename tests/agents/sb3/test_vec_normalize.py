import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize, sync_envs_normalization

from agents import DeployCallback
from agents import make_vec_env as make_world
from agents.common.deploying import performative_problem
from tests.agents.sb3.algorithms import every_algorithm


def normalised(n_envs=2, **arguments):
    return VecNormalize(make_vec_env("CartPole-v1", n_envs=n_envs, seed=0), **arguments)


@pytest.mark.parametrize("arguments", [{}, {"norm_obs": False}, {"norm_reward": False}])
@every_algorithm
def test_it_trains_on_normalised_observations_and_rewards(case, arguments):
    venv = normalised(**arguments)
    model = case.make("MlpPolicy", venv).learn(100)
    assert model.get_vec_normalize_env() is venv
    if venv.norm_obs:
        assert venv.obs_rms.count > 100
    venv.step(np.zeros(2, dtype=np.int64))
    assert np.array_equal(venv.get_original_reward(), venv.normalize_reward(venv.get_original_reward())) != (
        venv.norm_reward
    )


@every_algorithm
def test_statistics_can_be_saved_and_handed_to_an_evaluation(case, tmp_path):
    venv = normalised()
    model = case.make("MlpPolicy", venv).learn(100)
    venv.save(tmp_path / "vecnormalize.pkl")
    model.save(tmp_path / "model")
    loaded_env = VecNormalize.load(tmp_path / "vecnormalize.pkl", make_vec_env("CartPole-v1", n_envs=2, seed=0))
    loaded = case.build.load(tmp_path / "model", env=loaded_env, device="cpu")
    assert loaded.get_vec_normalize_env() is loaded_env
    evaluation = normalised(1, training=False, norm_reward=False)
    sync_envs_normalization(venv, evaluation)
    np.testing.assert_array_equal(evaluation.obs_rms.mean, venv.obs_rms.mean)
    reward, _ = evaluate_policy(loaded, evaluation, n_eval_episodes=2, warn=False)
    assert reward > 0.0


@every_algorithm
def test_a_world_is_told_the_policy_over_normalised_observations(case):
    if "Box" not in case.actions:
        pytest.skip("it does not take these actions")
    season = {"horizon": 8}  # ends with the rollouts: GRPO would begin a new one in any case
    venv = VecNormalize(make_world("LinearPricing-v0", n_envs=4, seed=0, env_kwargs=season), norm_reward=False)
    model = case.make("MlpPolicy", venv)
    model.learn(3 * 4 * model.n_steps, callback=DeployCallback())
    _, callback = model._setup_learn(10**6, callback=DeployCallback(), reset_num_timesteps=False)
    callback.on_training_start({}, {})
    told = venv.normalize_obs(venv.get_attr("query_observations")[0])
    problem = performative_problem(venv)
    mean, std = problem.policies.read(model, told).array
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    believed = venv.get_attr("rounds")[0].mean_price
    np.testing.assert_allclose(believed, problem.mean_price(mean, std), rtol=1e-6)
