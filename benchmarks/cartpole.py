"""Learning curves of the deep agents on CartPole-v1, and what they earn on default pricing.

    python benchmarks/cartpole.py --jobs 2 --curves docs/deep_agents.svg

Every algorithm is trained with its default arguments on every seed, one core per run. CartPole: 8 environments,
300 000 steps, then 100 fresh episodes with deterministic actions, as in Stable-Baselines3. Pricing: 200 000 steps, then
the exact performative value of the learnt policy; the policy is deployed at the start of every rollout. PPO of
Stable-Baselines3 and TRPO of sb3-contrib run along as peers, with rollouts, minibatches and learning rate as ours.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch start their threads

import argparse
import functools
from pathlib import Path
from time import perf_counter

import joblib
import matplotlib.pyplot as plt
import numpy as np
import torch
from sb3_contrib import TRPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env as make_dummy_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from agents import (
    GRPO,
    MDPO,
    NPG,
    REINFORCE,
    DeployCallback,
    PerformativeNPG,
    PerformativePPO,
    PPOPenalty,
    make_vec_env,
)
from perf_envs import exact, policy_table

PEER = {"n_steps": 256, "batch_size": 256}
MYOPIC = {
    "REINFORCE": REINFORCE,
    "REINFORCE, no baseline": functools.partial(REINFORCE, baseline=False),
    "PPOPenalty": PPOPenalty,
    "MDPO": MDPO,
    "NPG": NPG,
    "GRPO": GRPO,
    "PPO (Stable-Baselines3)": functools.partial(PPO, learning_rate=1e-3, **PEER),
    "TRPO (sb3-contrib)": functools.partial(TRPO, **PEER),
}
PERFORMATIVE = {"PerformativePPO": PerformativePPO, "PerformativeNPG": PerformativeNPG}
PRICING = MYOPIC | {"GRPO, process": functools.partial(GRPO, supervision="process")} | PERFORMATIVE


class Curve(BaseCallback):
    """Keeps the mean return of the last 100 episodes, rollout by rollout."""

    def __init__(self):
        super().__init__()
        self.points = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if self.model.ep_info_buffer:
            self.points.append((self.num_timesteps, np.mean([episode["r"] for episode in self.model.ep_info_buffer])))


def cartpole(name, seed, steps):
    torch.set_num_threads(1)
    curve, start = Curve(), perf_counter()
    model = MYOPIC[name]("MlpPolicy", make_dummy_vec_env("CartPole-v1", 8, seed=seed), seed=seed, device="cpu")
    model.learn(steps, callback=curve)
    seconds = perf_counter() - start
    fresh = make_dummy_vec_env("CartPole-v1", 10, seed=10_000 + seed)
    return float(evaluate_policy(model, fresh, n_eval_episodes=100)[0]), seconds, np.array(curve.points)


def pricing(name, seed, steps):
    torch.set_num_threads(1)
    knows = name in PERFORMATIVE
    venv = make_vec_env("PerformativePricing-v0", n_envs=64 if knows else 8, seed=seed)
    model = PRICING[name]("MlpPolicy", venv, seed=seed, device="cpu")
    model.learn(steps, callback=None if knows else DeployCallback())
    problem = venv.get_attr("problem")[0]
    pi = policy_table(model, np.arange(problem.n_states), problem.n_actions)
    return exact.performative_value(problem, pi).item()


def draw(curves, path, steps):
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    grid = np.linspace(0, steps, 101)[1:]
    for name, runs in curves.items():
        lines = [np.interp(grid, run[:, 0], run[:, 1]) for run in runs]
        style = {"color": "0.6", "linestyle": "--" if "PPO" in name else ":"} if "(" in name else {}
        axes.plot(grid / 1000, np.mean(lines, axis=0), label=name, linewidth=1.5, **style)
    axes.axhline(475, color="0.8", linewidth=0.8, zorder=0)
    axes.set(xlabel="thousand steps", ylabel="return (last 100 episodes)", title="CartPole-v1", ylim=(0, 510))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.rcParams["svg.hashsalt"] = "deep_agents"
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def table(title, rows, columns):
    if not rows:
        return
    print(f"\n{title}\n{'':<26}" + "".join(f"{column:>12}" for column in columns))
    for name, values in rows:
        print(f"{name:<26}" + "".join(f"{value:>12.2f}" for value in values), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algos", nargs="*", default=list(PRICING), choices=list(PRICING))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cartpole-steps", type=int, default=300_000)
    parser.add_argument("--pricing-steps", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--curves", type=Path, help="where to draw the learning curves (.svg or .png)")
    given = parser.parse_args()
    both = joblib.Parallel(n_jobs=given.jobs)
    seeds = [f"seed {seed}" for seed in given.seeds]

    names = [name for name in given.algos if name in MYOPIC] if given.cartpole_steps else []
    jobs = [(name, seed) for name in names for seed in given.seeds]
    runs = dict(zip(jobs, both(joblib.delayed(cartpole)(*job, given.cartpole_steps) for job in jobs), strict=True))
    rows = []
    for name in names:
        returns, seconds, _ = zip(*(runs[name, seed] for seed in given.seeds), strict=True)
        rows.append((name, [*returns, np.mean(returns), np.mean(seconds)]))
    table(f"CartPole-v1, return after {given.cartpole_steps} steps", rows, [*seeds, "mean", "seconds"])
    if given.curves and names:
        draw(
            {name: [runs[name, seed][2] for seed in given.seeds] for name in names}, given.curves, given.cartpole_steps
        )

    names = given.algos if given.pricing_steps else []
    jobs = [(name, seed) for name in names for seed in given.seeds]
    values = dict(zip(jobs, both(joblib.delayed(pricing)(*job, given.pricing_steps) for job in jobs), strict=True))
    problem = make_vec_env("PerformativePricing-v0").get_attr("problem")[0]
    uniform = np.full((problem.n_states, problem.n_actions), 1.0 / problem.n_actions)
    rows = [(name, [*(found := [values[name, seed] for seed in given.seeds]), np.mean(found)]) for name in names]
    if names:
        rows.append(("uniform random", [exact.performative_value(problem, uniform).item()] * (len(seeds) + 1)))
    table(f"Default pricing, exact value after {given.pricing_steps} steps", rows, [*seeds, "mean"])


if __name__ == "__main__":
    main()
