"""How often planning finds the global optimum of small random worlds: ``python benchmarks/global_optimum.py [N2 N3]``.

The peer is a grid search over all policies of 2-state (3-state) 2-action softmax worlds, refined around its best points
and written in plain numpy: it shares no code with the planner. A planner succeeds within 1e-3 of it (values times
1 - gamma).
"""

from __future__ import annotations

import itertools
import sys
import time
import warnings

import gymnasium as gym
import numpy as np
import torch

import perf_envs  # noqa: F401
from agents.planning import gradient_ascent, pepg

TOLERANCE = 1e-3


def grid_search(problem, points):
    """Return the largest performative value over a grid of policies, refined three times around the best ten points."""
    response = problem.response_map
    logits, psi, rewards = response.base_logits.numpy(), response.psi.numpy(), response.base_rewards.numpy()
    n_states = len(psi)

    def values(first):  # probability of action 0 in each state, [n, S]
        pi = np.stack([first, 1.0 - first], axis=-1)
        tilted = logits + response.kappa * pi[..., None] * psi
        P = np.exp(tilted - tilted.max(-1, keepdims=True))
        P /= P.sum(-1, keepdims=True)
        r = (pi * (rewards + response.xi * pi)).sum(-1)
        chain = np.einsum("nsa,nsat->nst", pi, P)
        V = np.linalg.solve(np.eye(n_states) - problem.gamma * chain, r[..., None])[..., 0]
        return V @ problem.rho.numpy()

    axis = np.linspace(0.0, 1.0, points)
    candidates = np.array(list(itertools.product(axis, repeat=n_states)))
    width = 1.0 / (points - 1)
    for _ in range(4):
        J = values(candidates)
        best = candidates[np.argsort(-J)[:10]]
        around = np.array(list(itertools.product(np.linspace(-width, width, 9), repeat=n_states)))
        candidates = np.clip((best[:, None] + around).reshape(-1, n_states), 0.0, 1.0)
        width /= 4.0
    return float(values(candidates).max())


def study(n_states, n_instances, points):
    """Print the share of successes on ``n_instances`` random worlds, spread over the strengths of the answer."""
    strengths = list(itertools.product((1.0, 3.0), (1.0, -1.0, 0.5)))
    hits = {"pepg": 0, "myopic": 0}
    seconds, worst = 0.0, 0.0
    for instance in range(n_instances):
        kappa, xi = strengths[instance % len(strengths)]
        env = gym.make(
            "SoftmaxPeMDP-v0",
            n_states=n_states,
            n_actions=2,
            kappa=kappa,
            xi=xi,
            instance_seed=1000 * n_states + instance,
        )
        problem = env.unwrapped.problem
        optimum = grid_search(problem, points)
        start = time.perf_counter()
        found = pepg(problem).value
        seconds += time.perf_counter() - start
        regret = (1.0 - problem.gamma) * (optimum - found)
        worst = max(worst, regret)
        hits["pepg"] += regret <= TOLERANCE
        myopic = float(gradient_ascent(problem, performative_coef=0.0).history[-1])
        hits["myopic"] += (1.0 - problem.gamma) * (optimum - myopic) <= TOLERANCE
    shares = "   ".join(f"{name} {100.0 * count / n_instances:6.2f} %" for name, count in hits.items())
    print(f"{n_states} states, {n_instances} worlds:   {shares}")
    print(f"    worst regret of pepg {worst:.1e}; {seconds / n_instances:.2f} s each")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    counts = [int(argument) for argument in sys.argv[1:]] or [200, 100]
    for n_states, n_instances, points in zip((2, 3), counts, (101, 41), strict=True):
        study(n_states, n_instances, points)
