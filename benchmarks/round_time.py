"""Time of one round of the default gridworld, and of the performative gradient, on one core.

    python benchmarks/round_time.py

A round is one deployment of a new policy: fifty followers solve their best response and the world takes on the new
dynamics. Beside it, in the same run: the gradient of the performative value by the theorem, and the same best responses
by value iteration in numpy, vectorised over states and looped over followers. All are measured in turn, each on a
random policy of its own, so that none profits from the answer found for another (except where it says "near").
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch start their threads

from time import perf_counter

import gymnasium as gym
import numpy as np
import torch

import perf_envs
from perf_envs import exact

N_POLICIES = 40
#: Seconds a round took with the code published with Mandal et al. 2023. A reference figure, not measured here.
PUBLISHED_ROUND = 8.4
TOLERANCE = 1e-10


def value_iteration(world, pi):
    """Return the followers' mean best-response action values ``[S, 5]``, follower by follower."""
    goals = world.goals.ravel()
    following = world.dynamics.successors.numpy()[:, 0, :4]  # with any own move, follower's move m leads to m's cell
    total = np.zeros((world.n_states, 5))
    for grid in world.follower_grids:
        landing = np.where(goals[:, None], 0.0, grid.ravel()[following])
        values = np.zeros(world.n_states)
        while True:
            worth = landing + world.gamma * values[following]
            q = np.column_stack([worth - world.problem.response_map.intervention_cost, (pi * worth).sum(-1)])
            q[goals] = 0.0
            updated = q.max(-1)
            if np.abs(updated - values).max() < TOLERANCE:
                break
            values = updated
        total += q
    return total / len(world.follower_grids)


def measured(function, *arguments):
    start = perf_counter()
    result = function(*arguments)
    return perf_counter() - start, result


def main():
    torch.set_num_threads(1)
    world = gym.make("PerformativeGridWorld-v0", deployment="declared").unwrapped
    rng = np.random.default_rng(0)

    def logits():
        return torch.from_numpy(rng.standard_normal((world.n_states, world.n_actions)))

    seconds = {"round": [], "near": [], "gradient": [], "peer": []}
    worst = 0.0
    for index in range(N_POLICIES + 2):
        times = {}
        new = logits()
        times["round"], _ = measured(world.deploy, torch.softmax(new, -1))
        times["near"], _ = measured(world.deploy, torch.softmax(new + 0.05 * logits(), -1))
        times["gradient"], _ = measured(exact.performative_gradient, world.problem, logits())
        pi = torch.softmax(logits(), -1)
        times["peer"], q = measured(value_iteration, world, pi.numpy())
        worst = max(worst, float(np.abs(q - world.problem.response_map.mean_best_response(pi).numpy()).max()))
        if index >= 2:  # the first two warm up
            for name, value in times.items():
                seconds[name].append(value)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    lines = [
        ("round: deploy a new policy, 50 followers", median["round"]),
        ("round: deploy a policy near the last one", median["near"]),
        ("performative gradient at a new policy", median["gradient"]),
        ("best responses by numpy value iteration", median["peer"]),
        ("published code (reference figure)", PUBLISHED_ROUND),
    ]
    print(f"perf_envs {perf_envs.__version__}: medians over {N_POLICIES} random policies, one core")
    print(f"{'':<42}{'ms':>10}{'/ round':>10}")
    for name, value in lines:
        print(f"{name:<42}{1e3 * value:>10.2f}{value / median['round']:>10.2f}")
    print(f"largest difference between the best responses: {worst:.1e} (tolerance of the peer: {TOLERANCE:.0e})")


if __name__ == "__main__":
    main()
