"""Performative policy gradient on a known response map: ground truth for a world, from one call.

The performative value has many local maxima. Following the full gradient from a random policy finds good ones in worlds
whose answer is mild and poor ones where followers punish a half-formed policy; phasing the answer in does the opposite.
So both schedules are tried from several starts on a short budget, and only the most promising runs are carried on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agents.planning.ascent import Run, Schedule, Step, adam_step, fixed_step
from agents.planning.result import PlanningResult
from perf_envs import PerformativeMDP
from perf_envs.validation import as_policy, check_choice, check_count, check_number

#: Weight of the entropy while it is kept, in units of the range of the rewards.
ENTROPY = 0.01

#: The answer is phased in over the first half, entropy is kept until it is in: first learn to act, then to be answered.
RAMP = Schedule(
    performative_coef=lambda progress: min(1.0, 2.0 * progress),
    entropy_coef=lambda progress: ENTROPY * min(1.0, max(0.0, (0.8 - progress) / 0.3)),
)
#: The full gradient from the start, entropy given up by half of the run.
FULL = Schedule(
    performative_coef=lambda progress: 1.0,
    entropy_coef=lambda progress: ENTROPY * max(0.0, 1.0 - 2.0 * progress),
)
#: Plain ascent on the performative value, to the end.
POLISH = Schedule(performative_coef=lambda progress: 1.0, entropy_coef=lambda progress: 0.0)


def pepg(
    problem: PerformativeMDP,
    *,
    n_iterations: int = 400,
    n_starts: int = 4,
    step: str = "adam",
    learning_rate: float | None = None,
    initial_policy: object | None = None,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> PlanningResult:
    """Find the performatively optimal policy of a world with a known, differentiable response map.

    Args:
        problem: the world.
        n_iterations: gradient steps of the runs that are carried to the end; the first trials are an eighth as long.
        n_starts: start policies: the uniform one (or ``initial_policy``) and random ones. Each is tried with both
            schedules.
        step: ``"adam"``, or ``"fixed"`` for plain gradient steps.
        learning_rate: step size; 0.1 for Adam and 1.0 for fixed steps by default.
        initial_policy: first start, ``[S, A]`` with positive entries.
        tolerance: first-order gap, relative to the size of the value, at which a run has converged.
        seed: of the random starts.

    Returns:
        The best policy found and the spread of the starts.

    Raises:
        ValueError: an argument is out of range, or the response map is not differentiable or gives NaN.
    """
    check_count("n_iterations", n_iterations, at_least=8)
    starts = _starts(problem, check_count("n_starts", n_starts), initial_policy, seed)
    make_step = _step_rule(step, learning_rate)
    short = max(n_iterations // 8, 1)
    trials = [(Run(problem, logits), schedule, logits) for logits in starts for schedule in (RAMP, FULL)]
    for run, schedule, _ in trials:
        run.advance(short, schedule, make_step())
    trials.sort(key=lambda trial: -trial[0].value)
    finalists = []
    for trial, schedule, logits in trials[: max(2, len(trials) // 4)]:
        run = Run(problem, logits)
        run.advance(n_iterations, schedule, make_step())
        finalists += [run, trial]
    best = max(finalists, key=lambda run: run.value)
    polished = Run(problem, torch.log(best.policy))
    polished.advance(n_iterations, POLISH, make_step(), tolerance * max(1.0, abs(best.value)))
    best_run = max((polished, best), key=lambda run: run.value)
    runs = [trial for trial, _, _ in trials]
    return PlanningResult(
        policy=best_run.policy,
        value=best_run.value,
        history=torch.tensor(best.history + polished.history, dtype=torch.float64),
        n_iter=sum(len(run.history) for run in {*runs, *finalists, polished}),
        converged=best_run.gap <= tolerance * max(1.0, abs(best_run.value)),
        method="pepg",
        gap=best_run.gap,
        start_values=torch.tensor(
            sorted((run.value for run in {*runs, *finalists}), reverse=True), dtype=torch.float64
        ),
    )


def _starts(problem: PerformativeMDP, n_starts: int, initial_policy: object | None, seed: int) -> list[Tensor]:
    shape = (problem.n_states, problem.n_actions)
    generator = torch.Generator().manual_seed(seed)
    first = torch.zeros(shape, dtype=torch.float64)
    if initial_policy is not None:
        policy = as_policy(initial_policy, *shape, name="initial_policy")
        if bool((policy <= 0.0).any()):
            raise ValueError("initial_policy must have positive entries: a softmax cannot leave a probability of 0")
        first = torch.log(policy)
    others = [2.0 * torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(n_starts - 1)]
    return [first, *others]


def _step_rule(step: str, learning_rate: float | None) -> Callable[[], Step]:
    check_choice("step", step, ("adam", "fixed"))
    rate = check_number("learning_rate", learning_rate, above=0.0) if learning_rate is not None else None
    if step == "adam":
        return lambda: adam_step(0.1 if rate is None else rate)
    return lambda: fixed_step(1.0 if rate is None else rate)
