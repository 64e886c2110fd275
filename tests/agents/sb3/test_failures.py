"""What goes wrong in an environment comes out clearly and leaves the last saved model as it was."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from tests.agents.sb3.algorithms import every_algorithm


class Failing(gym.Env):
    """Works for 40 steps; then it raises, pays NaN, or its process ends."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, how):
        self.how, self.steps = how, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action):
        self.steps += 1
        reward = 1.0
        if self.steps > 40:
            if self.how == "raise":
                raise ZeroDivisionError("the environment broke")
            if self.how == "exit":
                raise SystemExit(0)
            reward = float("nan")
        return np.full(2, 0.5, dtype=np.float32), reward, False, self.steps % 10 == 0, {}


def train(case, venv, folder):
    model = case.make("MlpPolicy", venv, n_steps=16)
    try:
        model.learn(1000, callback=CheckpointCallback(16, str(folder), name_prefix="model"))
    finally:
        saved = case.build.load(folder / "model_32_steps", device="cpu")
        assert all(torch.isfinite(part).all() for part in saved.policy.parameters())
        assert all(torch.isfinite(part).all() for part in model.policy.parameters())
        saved.predict(np.zeros(2, dtype=np.float32))


@every_algorithm
def test_an_exception_of_the_environment_comes_out_as_it_is(case, tmp_path):
    with pytest.raises(ZeroDivisionError, match="the environment broke"):
        train(case, DummyVecEnv([lambda: Failing("raise")]), tmp_path)


@every_algorithm
def test_rewards_that_are_no_numbers_are_refused(case, tmp_path):
    with pytest.raises(ValueError, match=r"(?i)nan"):
        train(case, DummyVecEnv([lambda: Failing("nan")]), tmp_path)


@every_algorithm
def test_a_sub_environment_whose_process_ends_is_told(case, tmp_path):
    venv = SubprocVecEnv([lambda: Failing("exit")], start_method="fork")
    try:
        with pytest.raises((RuntimeError, EOFError, ConnectionError), match="process"):
            train(case, venv, tmp_path)
    finally:
        for process in venv.processes:
            process.join(5)
