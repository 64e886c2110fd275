"""Training steps per second of PePG against Stable-Baselines3's A2C, on one core.

    python benchmarks/training.py [--repeats 5] [--worlds PerformativePricing-v0 ...]

Two comparisons, per world:

- *at their defaults*: A2C on 8 copies of the scalar world in a ``DummyVecEnv``, as its documentation has it, against
  PePG on the native vector environment, with the settings of ``train`` and with more agents side by side. A2C
  is measured without deployments (the world answers by itself, every 1000 steps) and with one per rollout, as PePG has.
- *side by side*: both on the same native vector environment, with the same network, length of rollouts and number of
  deployments (``DeployCallback`` for A2C).

Everything is measured in turn, several times over, after a warm-up; ratios are between medians of processor time, so
that other work on the machine matters little.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch start their threads

import argparse
from time import perf_counter, process_time

import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env as make_copies

from agents import DeployCallback, PePG, make_vec_env
from agents.common.deploying import performative_problem
from train.settings import resolve_settings

WORLDS = ("PerformativePricing-v0", "PerformativeGridWorld-v0")
#: Rollouts in one measurement.
ROUNDS = 40


class Contestant:
    """A model in training, and how fast it is."""

    def __init__(self, name, model, callback=None):
        self.name, self.model, self.callback = name, model, callback
        self.steps = model.n_steps * model.n_envs * ROUNDS
        self.cpu, self.wall = [], []
        model.learn(self.steps // 4, callback=callback)  # warms up

    def measure(self):
        """Train on, and note the steps per second."""
        wall, cpu = perf_counter(), process_time()
        self.model.learn(self.steps, callback=self.callback)
        self.cpu.append(self.steps / (process_time() - cpu))
        self.wall.append(self.steps / (perf_counter() - wall))


def a2c(venv, **arguments):
    gamma = performative_problem(venv).gamma
    return A2C("MlpPolicy", venv, gamma=gamma, seed=0, device="cpu", **arguments)


def pepg(venv, **arguments):
    return PePG("MlpPolicy", venv, seed=0, device="cpu", **arguments)


def settings(world):
    shipped = resolve_settings("pepg", world)
    return shipped["n_envs"], shipped["n_steps"]


def at_defaults(world):
    n_envs, n_steps = settings(world)
    yield Contestant("A2C, 8 copies, no deployments", a2c(make_copies(world, 8, seed=0)))
    yield Contestant("A2C, 8 copies, one per rollout", a2c(make_copies(world, 8, seed=0)), DeployCallback())
    for agents, steps in dict.fromkeys(((n_envs, n_steps), (256, n_steps), (256, 16), (512, 16))):
        yield Contestant(f"PePG, {agents} agents x {steps} steps", pepg(make_vec_env(world, agents, 0), n_steps=steps))


def side_by_side(world):
    for agents, steps in ((64, 5), (64, 16), (256, 16)):
        native = f"{agents} agents x {steps} steps"
        yield Contestant(f"A2C, {native}", a2c(make_vec_env(world, agents, 0), n_steps=steps), DeployCallback())
        yield Contestant(f"PePG, {native}", pepg(make_vec_env(world, agents, 0), n_steps=steps))


def measure(contestants, repeats):
    for _ in range(repeats):
        for contestant in contestants:
            contestant.measure()


def report(title, pairs):
    print(f"\n{title}")
    print(f"{'':<36}{'steps/s (cpu)':>15}{'lowest':>10}{'highest':>10}{'steps/s (wall)':>16}{'ratio':>8}")
    for contestant, peer in pairs:
        rate = np.median(contestant.cpu)
        ratio = f"{rate / np.median(peer.cpu):.2f}" if peer is not None else ""
        low, high, wall = min(contestant.cpu), max(contestant.cpu), np.median(contestant.wall)
        print(f"{contestant.name:<36}{rate:>15,.0f}{low:>10,.0f}{high:>10,.0f}{wall:>16,.0f}{ratio:>8}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for world in arguments.worlds:
        contestants = list(at_defaults(world))
        measure(contestants, arguments.repeats)
        report(
            f"{world}, at their defaults (ratio to A2C without deployments)", [(c, contestants[0]) for c in contestants]
        )
        contestants = list(side_by_side(world))
        measure(contestants, arguments.repeats)
        pairs = [(c, contestants[i - 1] if i % 2 else None) for i, c in enumerate(contestants)]
        report(f"{world}, side by side, one deployment per rollout (ratio to A2C above)", pairs)


if __name__ == "__main__":
    main()
