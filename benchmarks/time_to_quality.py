"""How long PePG takes to come within 5 % of the optimum of default pricing.

    python benchmarks/time_to_quality.py [--seeds 10] [--share 0.95]

Trains PePG with the settings that ``train`` ships from every seed and evaluates the deployed policy exactly
along the way. Printed per seed: seconds (wall clock and processor time, evaluations not counted) until the performative
value first passed the share of the best known one, and until it stayed above, the value at the end, and the time of the
whole training.
"""

import argparse
from time import perf_counter, process_time

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from agents import PePG, make_vec_env
from agents.common.deploying import performative_problem
from agents.common.reading import read_policy
from perf_envs import exact
from train.algorithms import find_algorithm
from train.settings import hyperparameters, resolve_settings

WORLD = "PerformativePricing-v0"
N_EVALUATIONS = 120


class Clock(BaseCallback):
    """Evaluates the policy at regular points of the training; the time it takes to do so is not counted."""

    def __init__(self, problem, n_steps):
        super().__init__()
        self.problem, self.every, self.rows = problem, n_steps / N_EVALUATIONS, []
        self.due, self.excluded = 0.0, np.zeros(2)
        self.start = self.now()

    def now(self):
        """Return wall clock and processor time."""
        return np.array([perf_counter(), process_time()])

    def _on_rollout_start(self):
        if self.num_timesteps >= self.due:
            self.due += self.every
            self.evaluate()

    def _on_training_end(self):
        self.evaluate()

    def _on_step(self):
        return True

    def evaluate(self):
        """Note the time, the steps and the performative value."""
        before = self.now()
        table = read_policy(self.model, self.training_env).probs
        with torch.no_grad():
            value = float(exact.performative_value(self.problem, table))
        self.rows.append((*(before - self.start - self.excluded), self.num_timesteps, value))
        self.excluded += self.now() - before


def train(seed, n_envs, n_timesteps, policy, arguments):
    venv = make_vec_env(WORLD, n_envs, seed)
    problem = performative_problem(venv)
    model = PePG(policy, venv, seed=seed, **arguments)
    clock = Clock(problem, n_timesteps)
    model.learn(n_timesteps, callback=clock)
    return np.array(clock.rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.95)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small: a second thread costs more than it brings
    settings = resolve_settings("pepg", WORLD)
    n_envs, n_timesteps, policy = (settings[name] for name in ("n_envs", "n_timesteps", "policy"))
    settings = hyperparameters(find_algorithm("pepg"), settings)
    best = exact.best_known(performative_problem(make_vec_env(WORLD))).value
    goal = asked.share * best
    print(f"{WORLD}: best known {best:.6f}, goal {goal:.4f}; {n_timesteps} steps of {n_envs} agents, {settings}")
    head = f"{'seed':>4}{'first wall s':>14}{'first cpu s':>13}{'steps':>9}"
    print(f"{head}{'stays wall s':>14}{'end J':>9}{'all wall s':>12}")
    first = []
    for seed in range(asked.seeds):
        rows = train(seed, n_envs, n_timesteps, policy, settings)
        above = rows[:, 3] >= goal
        reached = rows[above.argmax()] if above.any() else np.full(4, np.inf)
        below = np.flatnonzero(~above)
        stays = rows[below[-1] + 1, 0] if above[-1] else np.inf
        first.append(reached[0])
        print(
            f"{seed:>4}{reached[0]:>14.2f}{reached[1]:>13.2f}{reached[2]:>9.0f}{stays:>14.2f}{rows[-1, 3]:>9.4f}"
            f"{rows[-1, 0]:>12.2f}",
            flush=True,
        )
    print(f"reached within 60 s: {sum(time <= 60.0 for time in first)} of {len(first)}; slowest {max(first):.2f} s")


if __name__ == "__main__":
    main()
