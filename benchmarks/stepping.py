"""Speed of stepping, as ratios to peers measured in the same run, on one core.

    python benchmarks/stepping.py [--repeats 21]

Measured are CPU seconds of this process, so that other programs count less. All that is compared takes turns, a short
slice each; a ratio is the median over the turns of peer's time / own time, with the first and ninth decile. Above 1 is
faster than the peer. Actions are drawn beforehand.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch start their threads

import argparse
import itertools
from time import process_time

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecMonitor

import perf_envs
from agents import SB3VecEnv, make_vec_env
from perf_envs import WORLDS, PerformativeEnv

#: Worlds with finitely many states and actions.
TABULAR = [env_id for env_id in WORLDS if isinstance(gym.make(env_id).unwrapped, PerformativeEnv)]
GRID = "PerformativeGridWorld-v0"
N_VECTOR, N_SB3 = 4096, 1024


def native(env_id=GRID, num_envs=N_VECTOR, **kwargs):
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)


def repeated(step):
    """Return a function that times ``count`` calls of ``step``, in seconds per call."""

    def seconds(count):
        start = process_time()
        for _ in range(count):
            step()
        return (process_time() - start) / count

    return seconds


def vector_steps(env):
    """Step a vector environment; with autoreset disabled, resetting what has finished is part of the step."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = itertools.cycle(rng.integers(env.single_action_space.n, size=(64, env.num_envs)))
    disabled = env.metadata["autoreset_mode"] is AutoresetMode.DISABLED

    def step():
        *_, terminated, truncated, _ = env.step(next(actions))
        if disabled and (finished := terminated | truncated).any():
            env.reset(options={"reset_mask": finished})

    return repeated(step)


def sb3_steps(venv):
    venv.seed(0)
    venv.reset()
    rng = np.random.default_rng(0)
    actions = itertools.cycle(rng.integers(venv.action_space.n, size=(64, venv.num_envs)))
    return repeated(lambda: venv.step(next(actions)))


def scalar_steps(env):
    env.reset(seed=0)
    actions = itertools.cycle(np.random.default_rng(0).integers(env.action_space.n, size=4096).tolist())

    def seconds(count):
        start = process_time()
        for _ in range(count):
            _, _, terminated, truncated, _ = env.step(next(actions))
            if terminated or truncated:
                env.reset()
        return (process_time() - start) / count

    return seconds


def compare(title, rows, counts, repeats):
    """Let the rows take turns and print their time per step and the ratio of the first row's time to theirs.

    Args:
        title: printed above the table.
        rows: functions ``count -> seconds per step`` by name, the peer first.
        counts: steps in a slice, one number or one per row.
        repeats: number of turns.
    """
    counts = dict.fromkeys(rows, counts) if isinstance(counts, int) else dict(zip(rows, counts, strict=True))
    for name, measure in rows.items():
        measure(counts[name])  # warms up
    times = np.array([[measure(counts[name]) for name, measure in rows.items()] for _ in range(repeats)])
    ratios = times[:, :1] / times
    print(f"\n{title}\n{'':<62}{'us/step':>10}{'ratio':>9}{'decile':>9}{'decile':>9}")
    for name, seconds, ratio in zip(rows, times.T, ratios.T, strict=True):
        low, high = np.quantile(ratio, [0.1, 0.9])
        print(f"{name:<62}{1e6 * np.median(seconds):>10.1f}{np.median(ratio):>9.2f}{low:>9.2f}{high:>9.2f}", flush=True)


def vector_envs(repeats):
    rows = {"CartPoleVectorEnv of Gymnasium": gym.make_vec("CartPole-v1", N_VECTOR, "vector_entry_point")}
    for mode in AutoresetMode:
        rows[f"gridworld, {mode.value}"] = native(autoreset_mode=mode)
    # Each round 1000 actions in total, as few as one agent alone has: the world answers at every step.
    rows["gridworld, round_length=1: an answer at every step"] = native(round_length=1)
    for env_id in TABULAR:
        rows[f"{env_id}, deployments declared"] = native(env_id, deployment="declared")
    counts = [50] * len(rows)
    counts[4] = 3
    measures = {name: vector_steps(env) for name, env in rows.items()}
    compare(f"Vector environments, {N_VECTOR} sub-environments", measures, counts, repeats)


def sync_vector_env(repeats):
    rows = {"SyncVectorEnv of the scalar gridworld": gym.make_vec(GRID, N_VECTOR, "sync"), "native gridworld": native()}
    measures = {name: vector_steps(env) for name, env in rows.items()}
    compare(f"Native against synchronous, {N_VECTOR} sub-environments", measures, [2, 50], max(3, repeats // 3))


def scalar_envs(repeats):
    rows = {"FrozenLake-v1": gym.make("FrozenLake-v1")}
    for env_id in TABULAR:
        for deployment in ("observed", "declared"):
            rows[f"{env_id}, {deployment}"] = gym.make(env_id, deployment=deployment)
    compare("Scalar environments", {name: scalar_steps(env) for name, env in rows.items()}, 4000, repeats)


def sb3(repeats):
    for env_id in TABULAR:

        def adapted(env_id=env_id):
            return SB3VecEnv(native(env_id, N_SB3, autoreset_mode=AutoresetMode.SAME_STEP))

        rows = {
            "native step": vector_steps(native(env_id, N_SB3, autoreset_mode=AutoresetMode.SAME_STEP)),
            "SB3VecEnv": sb3_steps(adapted()),
            "make_vec_env: SB3VecEnv, monitored": sb3_steps(make_vec_env(env_id, N_SB3, seed=0)),
            "SB3VecEnv with VecMonitor of Stable-Baselines3": sb3_steps(VecMonitor(adapted())),
        }
        compare(f"Stable-Baselines3, {env_id}, {N_SB3} sub-environments", rows, 100, repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21, help="turns (default: 21)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"perf_envs {perf_envs.__version__}, gymnasium {gym.__version__}, {repeats} turns")
    for part in (vector_envs, scalar_envs, sb3, sync_vector_env):
        part(repeats)


if __name__ == "__main__":
    main()
