"""Published data, and worlds that several tests use."""

import numpy as np
import torch

from perf_envs import Dynamics, PerformativeMDP
from perf_envs.worlds.gridworld.grids import perturbed_grids
from tests.perf_envs.worlds import DATA, make_world

GRID, PRICING, SOFTMAX = "PerformativeGridWorld-v0", "PerformativePricing-v0", "SoftmaxPeMDP-v0"
GRIDS = np.load(DATA / "mandal_grids.npz")
_PUBLISHED = np.load(DATA / "mandal_repeated_retraining.npz")
#: Ten iterations of the published code: 5 followers, beta 5, lambda 1. Index 0 is the start.
PUBLISHED = {name.split("_nf5")[0]: _PUBLISHED[name] for name in _PUBLISHED.files}
#: All states but the goal: the published programs leave the goal's occupancy free.
LIVE = slice(0, 63)


def published_world():
    """Return the world of the published run."""
    return make_world(GRID, beta=5.0, n_followers=5).problem


def still(transitions, rewards, rho, gamma=0.9, **fields):
    """Return a world that does not answer, from dense transitions and rewards."""
    dynamics = Dynamics.from_dense(transitions, rewards, **fields)
    return PerformativeMDP(lambda pi: dynamics, rho, gamma, n_actions=dynamics.n_actions)


class PublishedFollowers:
    """The followers of the published code, whose value iteration stops as soon as a sweep changes less than 1e-5."""

    def __init__(self, n_followers=5, beta=5.0, gamma=0.9, cost=0.05, tolerance=1e-5):
        self.beta, self.gamma, self.cost, self.tolerance = beta, gamma, cost, tolerance
        base = GRIDS["base_grid"]
        goals = base > 0
        self.goals, self.moves = goals.ravel(), GRIDS["next_state"]
        self.grids = perturbed_grids(base, goals, n_followers, 0.3).reshape(n_followers, -1)
        self.landing = base.ravel()

    def values(self, seen, pi):
        """Return one follower's ``Q [S, 5]``, not quite converged."""
        U = np.zeros(len(self.moves))
        while True:
            Q = self.backup(seen, pi, U)
            change, U = np.abs(Q.max(1) - U).max(), Q.max(1)
            if change < self.tolerance:
                return self.backup(seen, pi, U)

    def backup(self, seen, pi, U):
        worth = seen[self.moves] + self.gamma * U[self.moves]
        Q = np.column_stack([worth - self.cost, (pi * worth).sum(1)])
        Q[self.goals] = 0.0
        return Q

    def __call__(self, pi):
        table = pi.detach().numpy()
        Q = np.mean([self.values(seen, table) for seen in self.grids], axis=0)
        sigma = np.exp(self.beta * Q)
        sigma /= sigma.sum(1, keepdims=True)
        n_states = len(self.moves)
        states = np.arange(n_states)
        P, r = np.zeros((n_states, 4, n_states)), np.zeros((n_states, 4))
        for action in range(4):
            for move in range(5):
                to = self.moves[:, action if move == 4 else move]
                P[states, action, to] += sigma[:, move]
                r[:, action] += sigma[:, move] * self.landing[to]
        P[self.goals], r[self.goals] = 0.0, 0.0
        P[self.goals, :, self.goals] = 1.0
        return Dynamics.from_dense(P, r, absorbing=torch.from_numpy(self.goals))
