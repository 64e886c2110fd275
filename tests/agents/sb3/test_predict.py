import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import get_device

from tests.agents.sb3.algorithms import ACTION_ENVS, every_algorithm


@pytest.mark.parametrize("kind", ACTION_ENVS)
@every_algorithm
def test_one_observation_or_many(case, kind):
    if kind not in case.actions:
        pytest.skip("it does not take these actions")
    env = ACTION_ENVS[kind]()
    model = case.make("MlpPolicy", env)
    one, state = model.predict(env.observation_space.sample())
    assert state is None
    assert env.action_space.contains(one) or env.action_space.contains(one.item())
    many, _ = model.predict(np.stack([env.observation_space.sample() for _ in range(7)]))
    assert many.shape == (7, *env.action_space.shape)
    if kind == "Box":
        assert (np.abs(many) <= 1.0).all()


@every_algorithm
def test_deterministic_answers_are_the_most_likely_ones(case):
    model = case.make("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2))
    observations = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    probabilities = model.policy.get_distribution(torch.as_tensor(observations)).distribution.probs
    chosen, _ = model.predict(observations, deterministic=True)
    np.testing.assert_array_equal(chosen, probabilities.argmax(-1).numpy())
    drawn = {tuple(model.predict(observations)[0]) for _ in range(3)}
    assert len(drawn) == 3


@every_algorithm
def test_the_environments_own_observations_can_be_answered(case):
    venv = make_vec_env("CartPole-v1", n_envs=3, seed=0)
    model = case.make("MlpPolicy", venv)
    actions, _ = model.predict(venv.reset())
    _, rewards, _, _ = venv.step(actions)
    np.testing.assert_array_equal(rewards, 1.0)


@every_algorithm
def test_observations_of_a_wrong_shape_are_refused(case):
    model = case.make("MlpPolicy", "CartPole-v1")
    with pytest.raises(ValueError, match="observation shape"):
        model.predict(np.zeros(3, dtype=np.float32))


@every_algorithm
def test_it_runs_where_it_is_told_to(case):
    for device in ("auto", "cpu"):
        model = case.make("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2), device=device)
        assert model.device.type == get_device(device).type
        model.learn(32)
        assert all(part.device.type == model.device.type for part in model.policy.parameters())
        model.predict(np.zeros(4, dtype=np.float32))
