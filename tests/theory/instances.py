"""Random instances for the statements of docs/theory.md, and the plain linear algebra they are checked with."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from perf_envs import Dynamics, PerformativeMDP
from perf_envs.problem import ConstantResponse

seeds = st.integers(0, 2**32 - 1)
examples = settings(max_examples=25, deadline=None, derandomize=True)


@dataclass(frozen=True)
class MDP:
    """Fixed dynamics as numpy arrays: ``P [S, A, S]``, ``r [S, A]`` in [0, 1], ``rho [S]`` positive."""

    P: np.ndarray
    r: np.ndarray
    rho: np.ndarray
    gamma: float

    def resolvent(self, pi):
        """Return ``(I - gamma P_pi)^-1``."""
        return np.linalg.inv(np.eye(len(self.r)) - self.gamma * np.einsum("sa,sat->st", pi, self.P))

    def values(self, pi):
        return self.resolvent(pi) @ (pi * self.r).sum(-1)

    def J(self, pi):
        return float(self.rho @ self.values(pi))

    def advantages(self, pi):
        V = self.values(pi)
        return self.r + self.gamma * self.P @ V - V[:, None]

    def occupancy(self, pi, rho=None):
        return (1 - self.gamma) * (self.rho if rho is None else rho) @ self.resolvent(pi)

    def optimal_values(self):
        """Return ``V*`` by value iteration, to rounding."""
        V = np.zeros(len(self.r))
        for _ in range(100_000):
            new = (self.r + self.gamma * self.P @ V).max(-1)
            if np.abs(new - V).max() < 1e-14:
                break
            V = new
        return new

    def optimal_policy(self):
        q = self.r + self.gamma * self.P @ self.optimal_values()
        return np.eye(q.shape[1])[q.argmax(-1)]

    def problem(self):
        """Return the same world for the code under test."""
        return PerformativeMDP(ConstantResponse(Dynamics.from_dense(self.P, self.r)), self.rho, self.gamma)


def random_mdp(seed, max_states=8, max_actions=5, max_gamma=0.95):
    """Return a random MDP; small Dirichlet parameters make some of them nearly deterministic."""
    rng = np.random.default_rng(seed)
    n_states, n_actions = int(rng.integers(2, max_states + 1)), int(rng.integers(2, max_actions + 1))
    P = rng.dirichlet(np.full(n_states, rng.choice([0.1, 1.0])), size=(n_states, n_actions))
    rho = 0.9 * rng.dirichlet(np.ones(n_states)) + 0.1 / n_states
    return MDP(P, rng.random((n_states, n_actions)), rho, float(rng.uniform(0.5, max_gamma)))


def random_table(shape, seed, concentration=1.0):
    """Return a policy table whose probabilities are all positive."""
    table = np.random.default_rng(seed).dirichlet(np.full(shape[1], concentration), size=shape[0])
    return 0.99 * table + 0.01 / shape[1]


def answered(problem, pi):
    """Return the world's answer to ``pi`` as an :class:`MDP`."""
    P, r = (tensor.detach().numpy() for tensor in problem.response(torch.as_tensor(pi)).dense())
    return MDP(P, r, problem.rho.numpy(), problem.gamma)
