"""Policies whose networks act in another way than they learn (dropout, batch statistics) are deployed as they act."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents import DeployCallback, PePG, PerformativePPO, make_vec_env

LAYERS = {"dropout": lambda: nn.Dropout(0.5), "batch statistics": lambda: nn.BatchNorm1d(16)}


class TwoModes(BaseFeaturesExtractor):
    """A layer, and another one that knows whether it is in training."""

    def __init__(self, observation_space, layer):
        super().__init__(observation_space, features_dim=16)
        width = gym.spaces.flatdim(observation_space)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(width, 16), LAYERS[layer](), nn.Tanh())

    def forward(self, observations):
        return self.layers(observations.float())


class Compare(BaseCallback):
    """At the start of every rollout, compares what was deployed with what acts from now on."""

    def __init__(self):
        super().__init__()
        self.rounds, self.modes_differ = 0, False

    def _asked(self):
        """Return what the policy does, as the world sees it, and what the world believes."""
        policy, world = self.model.policy, self.training_env.get_attr("rounds")[0]
        observations, _ = policy.obs_to_tensor(self.training_env.get_attr("query_observations")[0])
        with torch.no_grad():
            distribution = policy.get_distribution(observations).distribution
        if hasattr(distribution, "probs"):
            return distribution.probs.double().numpy(), np.asarray(world.policy)
        price = world.problem.mean_price(distribution.mean.double(), distribution.stddev.double())
        return price.numpy(), world.mean_price

    def _on_rollout_start(self):
        acting, deployed = self._asked()
        np.testing.assert_allclose(deployed, acting, rtol=1e-5, atol=1e-6)
        state = {name: value.clone() for name, value in self.model.policy.state_dict().items()}
        self.model.policy.set_training_mode(True)
        self.modes_differ |= np.abs(self._asked()[0] - acting).max() > 1e-2
        self.model.policy.load_state_dict(state)  # statistics have moved by asking
        self.model.policy.set_training_mode(False)
        self.rounds += 1

    def _on_step(self):
        return True


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("world_id", ["PerformativePricing-v0", "LinearPricing-v0"])
@pytest.mark.parametrize(
    ("algorithm", "callbacks"),
    [(PePG, []), (PerformativePPO, []), (PPO, [DeployCallback])],
    ids=["PePG", "P-PPO", "PPO"],
)
def test_the_deployed_policy_is_the_one_that_acts(algorithm, callbacks, world_id, layer):
    kwargs = {"features_extractor_class": TwoModes, "features_extractor_kwargs": {"layer": layer}}
    venv = make_vec_env(world_id, n_envs=8, seed=0)
    extra = {} if algorithm is PePG else {"batch_size": 32}
    model = algorithm(
        "MlpPolicy", venv, n_steps=8, learning_rate=3e-2, policy_kwargs=kwargs, seed=0, device="cpu", **extra
    )
    compare = Compare()
    model.learn(4 * 64, callback=[*(make() for make in callbacks), compare])
    assert compare.rounds == 4
    assert compare.modes_differ  # so that it matters
