"""A world to learn by hand in: tables of states and actions, and rollouts written step by step."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger

from agents import SoftmaxPolicy


class Table(gym.Env):
    """Random states, and a reward for every state and action; episodes end by chance, or are cut at 9 steps."""

    def __init__(self, n_states=3, n_actions=4, end=0.1, rewards=None):
        self.observation_space = gym.spaces.Discrete(n_states)
        self.action_space = gym.spaces.Discrete(n_actions)
        self.end = end
        self.rewards = np.arange(n_states * n_actions).reshape(n_states, n_actions) if rewards is None else rewards

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.state = 0, int(self.np_random.integers(self.observation_space.n))
        return self.state, {}

    def step(self, action):
        reward = float(self.rewards[self.state, action] + self.np_random.normal())
        self.steps, self.state = self.steps + 1, int(self.np_random.integers(self.observation_space.n))
        return self.state, reward, bool(self.np_random.random() < self.end), self.steps == 9, {}


@pytest.fixture
def table_env():
    return Table


@pytest.fixture
def filled():
    """Return a model whose rollout holds each state and action ``counts [S, A]`` times, with given advantages."""

    def fill(algorithm, pi, counts, advantages, env=None, **arguments):
        counts = np.asarray(counts)
        env = Table(*counts.shape) if env is None else env
        arguments = {"n_steps": int(counts.sum()), "seed": 0, "device": "cpu"} | arguments
        model = algorithm(SoftmaxPolicy, env, **arguments)
        with torch.no_grad():
            model.policy.action_net.weight.copy_(torch.log(torch.as_tensor(pi)).T)
        rows = np.repeat(np.argwhere(counts >= 0), counts.ravel(), axis=0)
        model.set_logger(Logger(folder=None, output_formats=[]))
        model._last_episode_starts = np.ones(1, dtype=bool)
        write_rollout(model, rows, np.log(np.asarray(pi)), np.asarray(advantages))
        return model

    return fill


def write_rollout(model, rows, log_pi, advantages):
    buffer = model.rollout_buffer
    buffer.reset()
    for state, action in rows:
        log_prob = torch.tensor([log_pi[state, action]])
        buffer.add(np.array([state]), np.array([[action]]), np.zeros(1), np.zeros(1), torch.zeros(1), log_prob)
    buffer.advantages[:] = advantages[rows[:, 0], rows[:, 1]][:, None]


@pytest.fixture
def table_of():
    """Return the policy table of a model with a table of logits."""

    def table(model):
        return torch.softmax(model.policy.action_net.weight.detach().T.double(), -1).numpy()

    return table
