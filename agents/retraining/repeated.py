"""Repeated retraining, in worlds that answer at once and in worlds that move gradually."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from agents.retraining.driver import Rounds, retrain
from agents.retraining.model import Floats, TabularModel
from agents.retraining.program import OccupancyProgram, OccupancySolution
from agents.retraining.result import RetrainingResult
from perf_envs import PerformativeMDP
from perf_envs.exact.values import check_problem
from perf_envs.validation import check_count, check_number


def repeated_retraining(
    problem: PerformativeMDP,
    regularization: float = 1.0,
    n_iterations: int = 10,
    initial_policy: object | None = None,
    *,
    regularizer: str = "l2",
    adaptation_rate: float = 1.0,
    n_samples: int | None = None,
    unvisited: str = "error",
    tolerance: float = 1e-3,
    seed: int = 0,
) -> RetrainingResult:
    """Deploy, solve the occupancy program of the world that has answered, deploy its policy, and so on.

    Repeated policy optimisation of Mandal, Triantafyllou and Radanovic (2023), their Algorithm 1 with exact dynamics,
    and with ``n_samples`` its finite-sample form (see :mod:`agents.retraining.samples`). In a gradual world this is the
    RR of Rank et al. (2024): a retraining after every deployment.

    Args:
        problem: the world.
        regularization: weight ``lambda`` on the *unnormalised* occupancy, as in the paper; 0 is the linear program.
        n_iterations: retrainings.
        initial_policy: first policy deployed, ``[S, A]``; the uniform one by default.
        regularizer: ``"l2"`` for ``lambda/2 |d|^2``, ``"entropy"`` for ``lambda sum d log d``.
        adaptation_rate: share ``w`` in (0, 1] of the world that answers a deployment at once.
        n_samples: transitions drawn per deployment; ``None`` for exact dynamics.
        unvisited: ``"error"`` or ``"avoid"``: what to do about state-action pairs without samples.
        tolerance: relative change of the planned occupancy at which the method has settled.
        seed: of the samples.

    Raises:
        ValueError: an argument is out of range, or samples miss state-action pairs.

    Warns:
        UserWarning: with exact dynamics, the occupancy still changed by more than ``tolerance`` at the end.
    """
    program = _program(problem, regularization, regularizer)
    rounds = Rounds(problem, adaptation_rate, n_samples, unvisited, seed)
    return _solve_each_time(rounds, program, n_iterations, initial_policy, tolerance, "repeated_retraining")


def repeated_gradient_ascent(
    problem: PerformativeMDP,
    regularization: float = 1.0,
    n_iterations: int = 100,
    initial_policy: object | None = None,
    *,
    learning_rate: float = 0.1,
    adaptation_rate: float = 1.0,
    n_samples: int | None = None,
    unvisited: str = "error",
    tolerance: float = 1e-3,
    seed: int = 0,
) -> RetrainingResult:
    """Make one projected gradient step per deployment instead of solving the program.

    RGA of Mandal, Triantafyllou and Radanovic (2023):

        d_t+1 = Proj( (1 - eta lambda) d_t + eta r_t )

    onto the occupancies of the world as it stands: again an occupancy program, with the target in place of the rewards
    and weight 1. The step is *up* the regularised value.

    Args:
        problem: the world.
        regularization: weight ``lambda`` of the L2 regulariser on the unnormalised occupancy.
        n_iterations: steps.
        initial_policy: first policy deployed, ``[S, A]``; the uniform one by default.
        learning_rate: step size ``eta > 0``.
        adaptation_rate: share ``w`` in (0, 1] of the world that answers a deployment at once.
        n_samples: transitions drawn per deployment; ``None`` for exact dynamics.
        unvisited: ``"error"`` or ``"avoid"``: what to do about state-action pairs without samples.
        tolerance: relative change of the planned occupancy at which the method has settled.
        seed: of the samples.

    Raises:
        ValueError: an argument is out of range, or samples miss state-action pairs.

    Warns:
        UserWarning: with exact dynamics, the occupancy still changed by more than ``tolerance`` at the end.
    """
    rate = check_number("learning_rate", learning_rate, above=0.0)
    program = _program(problem, regularization, "l2")
    projection = OccupancyProgram(problem.rho, problem.gamma, 1.0)
    weight = 1.0 - rate * program.regularization

    def step(planned: Tensor, world: TabularModel) -> OccupancySolution:
        return projection.solve(world, weight * planned.numpy() + rate * world.rewards)

    return retrain(
        Rounds(problem, adaptation_rate, n_samples, unvisited, seed),
        program,
        step,
        n_iterations,
        initial_policy,
        tolerance,
        "repeated_gradient_ascent",
    )


def delayed_repeated_retraining(
    problem: PerformativeMDP,
    regularization: float = 1.0,
    n_iterations: int = 10,
    initial_policy: object | None = None,
    *,
    k: int = 3,
    regularizer: str = "l2",
    adaptation_rate: float = 1.0,
    n_samples: int | None = None,
    unvisited: str = "error",
    tolerance: float = 1e-3,
    seed: int = 0,
) -> RetrainingResult:
    """Deploy the same policy ``k`` times and retrain on the last of these rounds, when the world has nearly settled.

    DRR of Rank et al. (2024). After ``k`` deployments of one policy the world has moved ``1 - (1 - w)^k`` of the way.

    Args:
        problem: the world.
        regularization: weight ``lambda`` on the unnormalised occupancy.
        n_iterations: retrainings, of ``k`` deployments each.
        initial_policy: first policy deployed, ``[S, A]``; the uniform one by default.
        k: deployments per retraining, at least 1; 1 is :func:`repeated_retraining`.
        regularizer: ``"l2"`` for ``lambda/2 |d|^2``, ``"entropy"`` for ``lambda sum d log d``.
        adaptation_rate: share ``w`` in (0, 1] of the world that answers a deployment at once.
        n_samples: transitions drawn per deployment; ``None`` for exact dynamics.
        unvisited: ``"error"`` or ``"avoid"``: what to do about state-action pairs without samples.
        tolerance: relative change of the planned occupancy at which the method has settled.
        seed: of the samples.

    Raises:
        ValueError: an argument is out of range, or samples miss state-action pairs.

    Warns:
        UserWarning: with exact dynamics, the occupancy still changed by more than ``tolerance`` at the end.
    """
    weights = round_weights(k)
    program = _program(problem, regularization, regularizer)
    rounds = Rounds(problem, adaptation_rate, n_samples, unvisited, seed, weights)
    return _solve_each_time(rounds, program, n_iterations, initial_policy, tolerance, "delayed_repeated_retraining")


def mixed_delayed_repeated_retraining(
    problem: PerformativeMDP,
    regularization: float = 1.0,
    n_iterations: int = 10,
    initial_policy: object | None = None,
    *,
    k: int = 3,
    v: float = 1.1,
    regularizer: str = "l2",
    adaptation_rate: float = 1.0,
    n_samples: int | None = None,
    unvisited: str = "error",
    tolerance: float = 1e-3,
    seed: int = 0,
) -> RetrainingResult:
    """Deploy the same policy ``k`` times and retrain on all of these rounds, the later ones with more weight.

    MDRR of Rank et al. (2024), with the weights of their theorem (:func:`round_weights`). Their Algorithm 6 brings the
    weights about by discarding samples of the older rounds; here every sample is used, with the weight of its round.
    With exact dynamics the rounds' transitions and rewards are averaged with the same weights.

    Args:
        problem: the world.
        regularization: weight ``lambda`` on the unnormalised occupancy.
        n_iterations: retrainings, of ``k`` deployments each.
        initial_policy: first policy deployed, ``[S, A]``; the uniform one by default.
        k: deployments per retraining, at least 1.
        v: how much more a round weighs than the one before it, ``> 1``.
        regularizer: ``"l2"`` for ``lambda/2 |d|^2``, ``"entropy"`` for ``lambda sum d log d``.
        adaptation_rate: share ``w`` in (0, 1] of the world that answers a deployment at once.
        n_samples: transitions drawn per deployment; ``None`` for exact dynamics.
        unvisited: ``"error"`` or ``"avoid"``: what to do about state-action pairs without samples.
        tolerance: relative change of the planned occupancy at which the method has settled.
        seed: of the samples.

    Raises:
        ValueError: an argument is out of range, or samples miss state-action pairs.

    Warns:
        UserWarning: with exact dynamics, the occupancy still changed by more than ``tolerance`` at the end.
    """
    program = _program(problem, regularization, regularizer)
    weights = round_weights(k, check_number("v", v, above=1.0))  # None would be the last round alone
    rounds = Rounds(problem, adaptation_rate, n_samples, unvisited, seed, weights)
    method = "mixed_delayed_repeated_retraining"
    return _solve_each_time(rounds, program, n_iterations, initial_policy, tolerance, method)


def round_weights(k: int, v: float | None = None) -> Floats:
    """Return the weights of the rounds ``t = 1 .. k`` between two retrainings, which sum to 1, ``[k]``.

    ``(v - 1) / (v^k - 1) v^(t-1)`` with ``v > 1``; all on the last round with ``None``.
    """
    ages = np.arange(check_count("k", k), dtype=np.float64)
    if v is None:
        return np.asarray(ages == len(ages) - 1, dtype=np.float64)
    powers: Floats = check_number("v", v, above=1.0) ** ages
    weights: Floats = powers / powers.sum()
    return weights


def _solve_each_time(
    rounds: Rounds,
    program: OccupancyProgram,
    n_iterations: int,
    initial_policy: object | None,
    tolerance: float,
    method: str,
) -> RetrainingResult:
    """Retrain by solving the program of what is known of the world, whatever was planned before."""
    return retrain(
        rounds, program, lambda planned, world: program.solve(world), n_iterations, initial_policy, tolerance, method
    )


def _program(problem: PerformativeMDP, regularization: float, regularizer: str) -> OccupancyProgram:
    check_problem(problem)
    return OccupancyProgram(problem.rho, problem.gamma, regularization, regularizer)
