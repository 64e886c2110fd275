"""A training loop that knows nothing of this project but the environment: policy gradients on a table, by hand."""

import sys

import gymnasium as gym
import numpy as np
import torch

import perf_envs
from perf_envs.wrappers import RecordRoundsVector


def train(folder, name="By hand", n_rounds=6, n_envs=8):
    """Train in the market, and leave a run folder."""
    env = gym.make_vec("PerformativePricing-v0", n_envs, "vector_entry_point", round_length=40)
    env = RecordRoundsVector(env, folder, name=name)
    logits = torch.zeros(env.problem.n_states, env.problem.n_actions, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    observations, _ = env.reset(seed=0)
    for _ in range(40 * n_rounds):
        policy = torch.distributions.Categorical(logits=logits[torch.from_numpy(observations)])
        actions = policy.sample()
        observations, rewards, *_ = env.step(actions.numpy())
        loss = -(policy.log_prob(actions) * torch.from_numpy(rewards - np.mean(rewards))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    env.close()


if __name__ == "__main__":
    print(perf_envs.__file__)
    train(sys.argv[1])
