"""A world of one's own, in one file."""

import torch

from perf_envs import Dynamics, PerformativeEnv, PerformativeMDP, register_world


class Crowd(PerformativeEnv):
    """Two places: the more often you go, the less it pays."""

    def __init__(self, shyness=1.0, **kwargs):
        def respond(pi):
            rewards = torch.stack([1.0 - shyness * pi[:, 0], 0.6 - 0.2 * shyness * pi[:, 1]], -1)
            probs = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]], dtype=torch.float64)
            return Dynamics.from_dense(probs, rewards)

        super().__init__(PerformativeMDP(respond, [0.5, 0.5], 0.9, n_actions=2), **kwargs)


register_world("Crowd-v0", Crowd, max_episode_steps=50, variants={"bold": {"shyness": 0.2}})
