import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.common.guards import Guarded, check_rewards


class GuardedA2C(Guarded, A2C):
    """Any on-policy algorithm of Stable-Baselines3 can be guarded by deriving from both."""


class GuardedPPO(Guarded, PPO):
    """One with checks of its own."""


class Broken(gym.Env):
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, index):
        self.index, self.steps = index, 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action):
        self.steps += 1
        reward = float("inf") if (self.index, self.steps) == (1, 3) else 0.0
        return np.zeros(2, dtype=np.float32), reward, False, False, {}


def test_a_reward_that_is_not_finite_is_found_before_anything_is_learnt():
    model = GuardedA2C("MlpPolicy", DummyVecEnv([lambda index=index: Broken(index) for index in range(2)]), n_steps=5)
    before = [part.clone() for part in model.policy.parameters()]
    with pytest.raises(ValueError, match="inf from sub-environment 1 at step 2"):
        model.learn(100)
    assert all((old == new).all() for old, new in zip(before, model.policy.parameters(), strict=True))


def test_good_rewards_pass():
    check_rewards(np.zeros((3, 2), dtype=np.float32))
    GuardedPPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=8).learn(32)


@pytest.mark.parametrize(
    ("build", "arguments", "names"),
    [
        (GuardedA2C, {"n_steps": 1}, r"n_steps \* n_envs"),
        (GuardedPPO, {"n_steps": 1}, r"n_steps \* n_envs|buffer_size"),
        (GuardedPPO, {"batch_size": 1}, "batch_size"),
    ],
)
def test_arguments_are_refused_by_value_errors(build, arguments, names):
    with pytest.raises(ValueError, match=names):
        build("MlpPolicy", "CartPole-v1", **arguments)
