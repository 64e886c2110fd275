"""Worlds and policies that several tests use."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from perf_envs import Dynamics, PerformativeEnv, PerformativeMDP, PerformativeVectorEnv
from tests.worlds import TABULAR_WORLDS

DATA = Path(__file__).parent.parent / "data"
IDS = list(TABULAR_WORLDS)


def make_world(world_id, **kwargs):
    """Return the registered world without wrappers."""
    return gym.make(world_id, **kwargs).unwrapped


def random_pemdp(seed, max_states=20):
    """Return a random dense world with 2 to ``max_states`` states."""
    rng = np.random.default_rng(seed)
    return make_world(
        "SoftmaxPeMDP-v0",
        n_states=int(rng.integers(2, max_states + 1)),
        n_actions=int(rng.integers(2, 6)),
        kappa=float(rng.uniform(-3, 3)),
        xi=float(rng.uniform(-1, 1)),
        gamma=float(rng.uniform(0.5, 0.97)),
        instance_seed=seed,
    ).problem


def random_policy(problem, seed, concentration=1.0):
    """Return a policy table ``[S, A]`` drawn from a Dirichlet distribution."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(problem.n_actions, concentration), size=problem.n_states)


def random_logits(problem, seed):
    """Return standard normal logits ``[S, A]``."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((problem.n_states, problem.n_actions)))


def dense(dynamics):
    """Return ``P [S, A, S]`` and ``r [S, A]``, summed up here from the successor lists."""
    probs, rewards = dynamics.probs.detach().numpy(), dynamics.rewards.detach().numpy()
    successors = np.broadcast_to(
        dynamics.successors.numpy()[:, None, :] if dynamics.successors.dim() == 2 else dynamics.successors.numpy(),
        probs.shape,
    )
    P = np.zeros((*probs.shape[:2], len(probs)))
    for s, a, k in np.ndindex(probs.shape):
        P[s, a, successors[s, a, k]] += probs[s, a, k]
    return P, rewards


class Corridor(PerformativeEnv):
    """Four cells in a row, entered at the left, left at the right: no chance, so that trajectories can be compared."""

    def __init__(self, **kwargs):
        successors = torch.tensor([[[0], [1]], [[0], [2]], [[1], [3]], [[3], [3]]])
        rewards = torch.tensor([[-1.0, 0.0], [-1.0, 0.5], [-1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
        still = Dynamics(
            successors,
            torch.ones(4, 2, 1, dtype=torch.float64),
            rewards,
            absorbing=torch.tensor([False, False, False, True]),
        )
        super().__init__(PerformativeMDP(lambda pi: still, [1.0, 0.0, 0.0, 0.0], 0.9, n_actions=2), **kwargs)

    def _describe(self, state, action, outcome):
        return {"right": action == 1}


class CorridorVectorEnv(PerformativeVectorEnv):
    world_class = Corridor
