"""All planners on all registered worlds: ``python benchmarks/planners.py`` writes ``docs/planners.md``."""

import time
import warnings
from pathlib import Path

import gymnasium as gym
import torch

from agents.planning import (
    conservative_policy_iteration,
    gradient_ascent,
    log_barrier,
    natural_policy_gradient,
    pepg,
    policy_iteration,
    value_iteration,
)
from perf_envs import WORLDS, PerformativeEnv, exact

#: Worlds with finitely many states and actions.
TABULAR = [env_id for env_id in WORLDS if isinstance(gym.make(env_id).unwrapped, PerformativeEnv)]
PAGE = Path(__file__).parent.parent / "docs" / "planners.md"

PLANNERS = {
    "`pepg`": pepg,
    "`gradient_ascent`": gradient_ascent,
    "`gradient_ascent`, myopic": lambda problem: gradient_ascent(problem, performative_coef=0.0),
    "`natural_policy_gradient`": natural_policy_gradient,
    "`natural_policy_gradient`, myopic": lambda problem: natural_policy_gradient(problem, performative_coef=0.0),
    "`log_barrier`": log_barrier,
    "`conservative_policy_iteration`": conservative_policy_iteration,
    "`conservative_policy_iteration`, myopic": lambda problem: conservative_policy_iteration(
        problem, performative_coef=0.0
    ),
    "`policy_iteration`": policy_iteration,
    "`policy_iteration`, myopic": lambda problem: policy_iteration(problem, performative_coef=0.0),
    "`value_iteration`": lambda problem: value_iteration(problem, n_iterations=1000),
    "`value_iteration`, myopic": lambda problem: value_iteration(problem, performative_coef=0.0, n_iterations=1000),
}
#: Numbers of starts whose cost is compared.
STARTS = (1, 4, 16)

HEADER = """# Planners on the registered worlds

Performative value `J` of what each planner returns at its default settings, and the seconds it took on one core, made
by `python benchmarks/planners.py`. Myopic planners (`performative_coef=0`) look for a stable policy, and so do best
responses (`exact.stable_policy`). Policy and value iteration are made for worlds that stand still: in one that answers
they may go round in circles, and then return the best policy met.

"""

STARTS_HEADER = """

## The price of many starts

`J` and gradients computed by `pepg` from several starts: losers are dropped after a short trial, so that many starts
cost much less than their number.

"""


def row(label, plan, problems):
    """Return one line of the table."""
    cells = []
    for problem in problems:
        start = time.perf_counter()
        value = plan(problem)
        cells.append(f"{value:.6f} ({time.perf_counter() - start:.1f} s)")
    return f"| {label} | {' | '.join(cells)} |"


def iterate_best_responses(problem):
    """Return ``J`` of the policy at which best-response iteration stopped or was found to go round."""
    return float(exact.performative_value(problem, exact.stable_policy(problem).policy))


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # planners that stop before they converge say so
    problems = [gym.make(world).unwrapped.problem for world in TABULAR]
    lines = [f"| planner | {' | '.join(TABULAR)} |", "|---" * (1 + len(problems)) + "|"]
    for label, planner in PLANNERS.items():
        lines.append(row(label, lambda problem, planner=planner: planner(problem).value, problems))
        print(lines[-1], flush=True)
    lines.append(row("best responses", iterate_best_responses, problems))
    lines.append("| best known | " + " | ".join(f"{exact.best_known(p).value:.6f}" for p in problems) + " |")
    PAGE.write_text(HEADER + "\n".join(lines) + STARTS_HEADER + "\n".join(price_of_starts(problems)) + "\n")


def price_of_starts(problems):
    """Return a table of what more starts cost and bring."""
    lines = [f"| starts | {' | '.join(TABULAR)} |", "|---" * (1 + len(problems)) + "|"]
    single = [None] * len(problems)
    for n_starts in STARTS:
        cells = []
        for index, problem in enumerate(problems):
            result = pepg(problem, n_starts=n_starts)
            single[index] = single[index] or result.n_iter
            cells.append(f"{result.value:.6f} ({result.n_iter}, x {result.n_iter / single[index]:.1f})")
        lines.append(f"| {n_starts} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    main()
