"""How the cost of a round and its gradient grows with the world: ``python benchmarks/scaling.py``.

Prints seconds and peak memory per size, and the slope of the seconds in a log-log plot. Each size runs in a process of
its own, so that the peak memory is its own.
"""

import multiprocessing
import resource
import time

import gymnasium as gym
import numpy as np
import torch

import perf_envs  # noqa: F401
from perf_envs import exact

SIDES = (8, 16, 32, 64, 100)
STATES = (1_000, 10_000, 100_000)


def random_grid(side):
    """Return a grid with the published mix of cells and the goal in the last corner."""
    cells = np.random.default_rng(0).choice([-0.01, -0.02, -0.5], p=[0.7, 0.12, 0.18], size=(side, side))
    cells[-1, -1] = 1.0
    return cells


def measure(env_id, arguments, repeats):
    """Return states, median seconds of a deployment and of a gradient at new policies, and peak memory in MB."""
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    world = gym.make(env_id, **arguments).unwrapped
    problem, generator = world.problem, torch.Generator().manual_seed(0)
    rounds, gradients = [], []
    logits = torch.zeros(problem.n_states, problem.n_actions, dtype=torch.float64)
    for _ in range(repeats):
        logits = logits + 0.3 * torch.randn(logits.shape, dtype=torch.float64, generator=generator)
        start = time.perf_counter()
        world.deploy(torch.softmax(logits, -1))
        rounds.append(time.perf_counter() - start)
        logits = logits + 0.3 * torch.randn(logits.shape, dtype=torch.float64, generator=generator)
        start = time.perf_counter()
        exact.performative_gradient(problem, logits)
        gradients.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return problem.n_states, float(np.median(rounds)), float(np.median(gradients)), peak / 1024


def study(title, jobs):
    """Measure the jobs one after the other and print a table with the slope."""
    print(f"{title}\n{'states':>8}  {'round s':>9}  {'gradient s':>10}  {'MB':>7}")
    rows = []
    for job in jobs:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, job))
        states, seconds, gradient, memory = rows[-1]
        print(f"{states:8d}  {seconds:9.4f}  {gradient:10.4f}  {memory:7.0f}", flush=True)
    sizes = np.array(rows)
    slope = np.polyfit(np.log(sizes[:, 0]), np.log(sizes[:, 1] + sizes[:, 2]), 1)[0]
    print(f"log-log slope of round plus gradient: {slope:.2f}\n")


if __name__ == "__main__":
    study(
        "PerformativeGridWorld-v0, 50 followers",
        [("PerformativeGridWorld-v0", {"grid": random_grid(side)}, max(3, 300 // side)) for side in SIDES],
    )
    study(
        "SoftmaxPeMDP-v0, 4 actions, 10 successors",
        [("SoftmaxPeMDP-v0", {"n_states": states, "n_successors": 10}, 5) for states in STATES],
    )
