import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from tests.agents.sb3.algorithms import every_algorithm


class Mixed(gym.Env):
    """Observations of several kinds at once, of which only ``told`` says which action pays."""

    def __init__(self, image=True):
        parts = {
            "told": spaces.Discrete(2),
            "vector": spaces.Box(-1.0, 1.0, (3,), np.float32),
            "flags": spaces.MultiBinary(2),
        }
        if image:
            parts["image"] = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        self.observation_space = spaces.Dict(parts)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step = 0
        return self._observe(), {}

    def _observe(self):
        self._told = int(self.np_random.integers(2))
        parts = {
            "told": self._told,
            "vector": self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32),
            "flags": np.array([1, 0], dtype=np.int8),
            "image": np.full((36, 36, 1), self._step, dtype=np.uint8),
        }
        return {name: parts[name] for name in self.observation_space.spaces}

    def step(self, action):
        self._step += 1
        reward = float(action == self._told)
        return self._observe(), reward, False, self._step == 16, {}


SMALL = {"features_extractor_kwargs": {"cnn_output_dim": 8}}


@every_algorithm
def test_it_trains_on_dictionaries_of_every_kind_of_observation(case):
    model = case.make("MultiInputPolicy", make_vec_env(Mixed, n_envs=2), policy_kwargs=SMALL)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(64)
    after = model.policy.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(after[name], before[name]) for name in after if "features_extractor" in name)


@every_algorithm
def test_it_learns_from_the_part_that_matters(case):
    arguments, n_steps = case.learns
    model = case.make("MultiInputPolicy", make_vec_env(lambda: Mixed(image=False), n_envs=4, seed=0), **arguments)
    model.learn(n_steps)
    mean, _ = evaluate_policy(model, make_vec_env(lambda: Mixed(image=False), seed=1), n_eval_episodes=5)
    assert mean > 15.0  # of 16 steps


@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
@every_algorithm
def test_other_policies_are_refused(case, policy):
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        case.make(policy, Mixed())


@every_algorithm
def test_some_of_the_observations_can_be_normalised(case):
    venv = VecNormalize(make_vec_env(Mixed, n_envs=2), norm_obs_keys=["vector"])
    model = case.make("MultiInputPolicy", venv, policy_kwargs=SMALL).learn(64)
    assert set(venv.obs_rms) == {"vector"}
    assert venv.obs_rms["vector"].count > 64
    observation = venv.observation_space.sample()
    assert model.predict(observation)[0] in (0, 1)
