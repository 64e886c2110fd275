import numpy as np
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents import DeployCallback
from agents import make_vec_env as make_world
from agents.common.reading import read_policy
from tests.agents.sb3.algorithms import every_algorithm
from tests.precision import SINGLE


class Noisy(BaseFeaturesExtractor):
    """Features that differ between training and evaluation."""

    def __init__(self, observation_space):
        super().__init__(observation_space, features_dim=8)
        size = getattr(observation_space, "n", None) or observation_space.shape[0]
        self.layers = nn.Sequential(nn.Linear(int(size), 8), nn.BatchNorm1d(8), nn.Dropout(0.5))

    def forward(self, observations):
        return self.layers(observations.flatten(1))


NOISY = {"policy_kwargs": {"features_extractor_class": Noisy}}


def statistics(model):
    norm = model.policy.features_extractor.layers[1]
    return norm.running_mean.clone(), norm.running_var.clone()


@every_algorithm
def test_training_updates_batch_statistics_and_asking_does_not(case):
    model = case.make("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2), **NOISY)
    start = statistics(model)
    model.learn(64)
    trained = statistics(model)
    assert not torch.equal(start[0], trained[0])
    assert not torch.equal(start[1], trained[1])
    observations = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    answers = [model.predict(observations, deterministic=True)[0] for _ in range(5)]
    assert all(np.array_equal(answers[0], answer) for answer in answers)
    assert torch.equal(statistics(model)[0], trained[0])
    assert not model.policy.training


@every_algorithm
def test_collecting_leaves_batch_statistics_alone(case):
    model = case.make("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2), **NOISY)
    start = statistics(model)
    _, callback = model._setup_learn(64)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    assert torch.equal(statistics(model)[0], start[0])
    assert not model.policy.training


@every_algorithm
def test_the_policy_deployed_is_the_one_evaluated(case):
    venv = make_world("PerformativePricing-v0", n_envs=4, seed=0)
    model = case.make("MlpPolicy", venv, **NOISY)
    model.learn(model.n_steps * 4, callback=DeployCallback())  # ends in training mode
    first, second = (read_policy(model, venv).array for _ in range(2))
    np.testing.assert_array_equal(first, second)
    _, callback = model._setup_learn(10**6, callback=DeployCallback())
    callback.on_training_start({}, {})
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    np.testing.assert_allclose(venv.get_attr("rounds")[0].policy.probs, first, atol=SINGLE)
