"""Performative policy gradient on a known response map: ground truth for a world, from one call.

The performative value has many local maxima. Following the full gradient from a random policy finds good ones in worlds
whose answer is mild and poor ones where followers punish a half-formed policy; phasing the answer in does the opposite.
So by default both schedules are tried from several starts on a short budget, and only the most promising runs are
carried on. The best is polished, and left for a better one as long as switching single states over leads to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from agents.planning.ascent import Coefficient, Objective, Run, Step, start_logits, step_rule, value_scale
from agents.planning.result import PlanningResult
from agents.planning.switching import switch_states
from perf_envs import PerformativeMDP
from perf_envs.validation import check_count, check_number

#: Weight of the entropy while it is kept, in units of the range of the rewards.
ENTROPY = 0.003

#: The answer is phased in over the first half, entropy is kept until it is in: first learn to act, then to be answered.
RAMP = Objective(
    performative_coef=lambda progress: min(1.0, 2.0 * progress),
    entropy_coef=lambda progress: ENTROPY * min(1.0, max(0.0, (0.8 - progress) / 0.3)),
)
#: The full gradient from the start, entropy given up by half of the run.
FULL = Objective(
    performative_coef=lambda progress: 1.0,
    entropy_coef=lambda progress: ENTROPY * max(0.0, 1.0 - 2.0 * progress),
)
_POLISH_STAGES = 10
#: Attempts to leave the local maximum found for a better one.
_ESCAPES = 5


def pepg(
    problem: PerformativeMDP,
    *,
    performative_coef: float | Coefficient | None = None,
    entropy_coef: float | Coefficient | None = None,
    n_iterations: int = 200,
    n_starts: int | None = None,
    step: str = "natural",
    learning_rate: float | None = None,
    initial_policy: object | None = None,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> PlanningResult:
    """Find the performatively optimal policy of a world with a known, differentiable response map.

    Args:
        problem: the world.
        performative_coef: weight of the world's answer as a function of the run's progress from 0 to 1, at which it
            must be 1: another end has another maximum (:func:`gradient_ascent` goes there). With ``None`` two
            schedules are tried, the full answer from the start and phased in over the first half.
        entropy_coef: weight of the entropy in units of the range of the rewards, a number or a function of the
            progress. Where it does not end at 0, policies are ranked by the entropy-regularised value, which is
            maximised. With ``None`` a little entropy is kept for the first part of the runs.
        n_iterations: gradient steps of the runs that are carried to the end; the first trials are a quarter as long.
        n_starts: start policies: the uniform one (or ``initial_policy``) and random ones, each tried with every
            schedule; by default 4, and up to 16 in small worlds.
        step: ``"natural"`` (within a trust region), ``"adam"``, or ``"fixed"`` for plain gradient steps.
        learning_rate: step size; by default one that fits the rule and the world.
        initial_policy: first start, ``[S, A]`` with positive entries.
        tolerance: first-order gap, relative to the scale of the values, at which a run has converged.
        seed: of the random starts.

    Returns:
        The best policy found and the spread of the starts.

    Raises:
        ValueError: an argument is out of range, or the response map is not differentiable or gives NaN.
    """
    check_count("n_iterations", n_iterations, at_least=8)
    floor = check_number("tolerance", tolerance, at_least=0.0) * value_scale(problem)
    if n_starts is None:
        n_starts = min(16, max(4, 256 // (problem.n_states * problem.n_actions)))
    starts = _starts(problem, check_count("n_starts", n_starts), initial_policy, seed)
    schedules = _schedules(performative_coef, entropy_coef)
    goal = Objective.constant(1.0, schedules[0].entropy_coef(1.0))
    trials = [(logits, schedule) for logits in starts for schedule in schedules]

    def run(logits: Tensor, objective: Objective, length: int) -> Run:
        return Run(problem, logits).advance(length, objective, step_rule(problem, step, learning_rate))

    def polish(policy: Tensor) -> Run:
        return _polish(
            problem, goal, policy, n_iterations, floor, lambda shrink: step_rule(problem, step, learning_rate, shrink)
        )

    tried = [run(logits, schedule, n_iterations // 4) for logits, schedule in trials]
    order = sorted(range(len(trials)), key=lambda index: -tried[index].best.score)
    carried = [run(*trials[index], n_iterations) for index in order[: max(2, len(trials) // 4)]]
    best = max((*tried, *carried), key=lambda candidate: candidate.best.score)
    polished = [polish(best.best.policy)]
    # Entropy in the objective makes the maximum mix actions: one that is certain cannot lead out of it.
    for _ in range(_ESCAPES if goal.entropy_coef(1.0) == 0.0 else 0):
        policy = polished[-1].best.policy
        switched = switch_states(problem, policy, n_evaluations=4 * n_iterations)
        if torch.equal(switched, policy):
            break
        polished.append(polish(switched))
    runs = [*tried, *carried, *polished]
    # Where the objective of a run was still regularised its gap means something else: the last runs decide.
    winner = max((iterate for run in polished for iterate in (run.last, run.best)), key=lambda iterate: iterate.score)
    return PlanningResult(
        policy=winner.policy,
        value=winner.value,
        history=torch.tensor(sum((run.history for run in polished), best.history), dtype=torch.float64),
        n_iter=sum(len(run.history) for run in runs),
        converged=winner.gap <= floor,
        method="pepg",
        gap=winner.gap,
        start_values=torch.tensor(sorted((run.best.value for run in runs), reverse=True), dtype=torch.float64),
    ).warn_unless_converged()


def _schedules(
    performative_coef: float | Coefficient | None, entropy_coef: float | Coefficient | None
) -> tuple[Objective, ...]:
    """Return what is ascended from every start: the weights asked for, or two that serve all worlds between them."""
    both: tuple[Objective, ...] = (RAMP, FULL)
    if entropy_coef is not None:
        both = tuple(replace(schedule, entropy_coef=_coefficient("entropy_coef", entropy_coef)) for schedule in both)
    if performative_coef is None:
        return both
    alpha = _coefficient("performative_coef", performative_coef)
    if alpha(1.0) != 1.0:
        raise ValueError(
            f"performative_coef must end at 1, the performative optimum, got {alpha(1.0)}: gradient_ascent takes others"
        )
    return (replace(both[1], performative_coef=alpha),)


def _coefficient(name: str, value: float | Coefficient) -> Coefficient:
    """Return a checked function of the progress."""
    if callable(value):
        function = value
        return lambda progress: check_number(name, function(progress), at_least=0.0)
    number = check_number(name, value, at_least=0.0)
    return lambda progress: number


def _polish(
    problem: PerformativeMDP,
    goal: Objective,
    policy: Tensor,
    n_iterations: int,
    floor: float,
    rule: Callable[[float], Step],
) -> Run:
    """Ascend the performative value alone, with ever shorter steps.

    Where a response map has kinks (followers who change their mind) steps of any one length end up jumping across one.
    """
    run = Run(problem, torch.log(policy.clamp_min(1e-30)))
    for stage in range(_POLISH_STAGES):
        # From the best policy so far. A probability that has underflowed to 0 has no logit: put it back within reach.
        run.logits = torch.log(run.best.policy.clamp_min(1e-30))
        if run.advance(max(n_iterations // _POLISH_STAGES, 1), goal, rule(0.5**stage), floor).converged:
            break
    return run


def _starts(problem: PerformativeMDP, n_starts: int, initial_policy: object | None, seed: int) -> list[Tensor]:
    first = start_logits(problem, initial_policy)
    generator = torch.Generator().manual_seed(seed)
    others = [2.0 * torch.randn(first.shape, dtype=torch.float64, generator=generator) for _ in range(n_starts - 1)]
    return [first, *others]
