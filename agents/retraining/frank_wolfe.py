"""Zeroth-order Frank-Wolfe: the performative value climbed by value queries alone (Chen and Huang 2025).

    g_t     = S (A - 1) / (2 N delta) sum_i ( J(pi_t + delta u_i) - J(pi_t - delta u_i) ) u_i
    q_t     = argmax_{q in Pi_Delta} <g_t, q>
    pi_t+1  = pi_t + beta_t (q_t - pi_t)

(arXiv 2510.04430, their 0-FW). The directions ``u_i`` are uniform on the unit sphere of the tables whose rows sum to 0,
and ``Pi_Delta = {pi : pi(a|s) >= Delta}`` keeps away from the border, so that with ``delta < Delta`` every policy that
is tried is one. ``J`` is the value regularised with the entropy of the policy. Every query is a deployment.

The paper's guarantee is for the iterate with the smallest Frank-Wolfe gap. Estimated gaps say little about that with
few directions, so the iterate whose queries returned the most on average is chosen instead; the gaps are reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.retraining.model import Floats
from perf_envs import PerformativeMDP
from perf_envs.exact import performative_value
from perf_envs.exact.values import check_problem
from perf_envs.tensor_checks import as_policy
from perf_envs.validation import check_count, check_number

#: From a policy ``[S, A]``, its performative value, which may be an estimate.
ValueQuery = Callable[[Tensor], float]


@dataclass(frozen=True, eq=False)
class FrankWolfeResult:
    """The outcome of zeroth-order Frank-Wolfe.

    Attributes:
        policy: the policy around which the queried values were largest on average, ``[S, A]``.
        value: its performative value ``J``, without entropy.
        history: ``J`` of every policy met, ``[n + 1]``; for the record, the method does not see it.
        policies: every policy met, ``[n + 1, S, A]``.
        gaps: estimated Frank-Wolfe gaps ``<g_t, q_t - pi_t>``, ``[n]``.
        deployments: policies deployed (value queries) until each of them was ready, ``[n + 1]``.
        n_iter: steps ``n``.
        method: name of the method.
    """

    policy: Tensor
    value: float
    history: Tensor
    policies: Tensor
    gaps: Tensor
    deployments: Tensor
    n_iter: int
    method: str = "zeroth_order_frank_wolfe"


def zeroth_order_frank_wolfe(
    problem: PerformativeMDP,
    *,
    n_iterations: int = 100,
    n_directions: int = 20,
    border: float = 0.01,
    radius: float | None = None,
    step_size: float | None = None,
    entropy_coef: float = 0.0,
    initial_policy: object | None = None,
    value_query: ValueQuery | None = None,
    seed: int = 0,
) -> FrankWolfeResult:
    """Climb the performative value by Frank-Wolfe steps on gradients estimated from values at perturbed policies.

    Args:
        problem: the world; only its values are queried, never its gradients or dynamics.
        n_iterations: steps.
        n_directions: random directions ``N`` per step; each costs two queries.
        border: least probability ``Delta`` of an action, in (0, 1 / A).
        radius: length ``delta`` of the perturbations, in (0, Delta); half of ``Delta`` by default.
        step_size: ``beta`` in (0, 1], constant as in the paper's theorem; by default ``2 / (t + 2)``, the usual choice.
        entropy_coef: weight of the policy's entropy in the value, in units of reward.
        initial_policy: start, ``[S, A]``, moved into ``Pi_Delta`` if it is not there; the uniform policy by default.
        value_query: values of policies ``[S, A]``, for instance from samples; exact ones by default.
        seed: of the directions.

    Raises:
        ValueError: an argument is out of range, or a query does not return a finite number.
    """
    check_problem(problem)
    shape = (problem.n_states, problem.n_actions)
    if problem.n_actions < 2:
        raise ValueError("problem must have at least 2 actions: with one there is nothing to choose")
    n_iterations, n_directions = check_count("n_iterations", n_iterations), check_count("n_directions", n_directions)
    border = check_number("border", border, above=0.0, below=1.0 / shape[1])
    radius = 0.5 * border if radius is None else check_number("radius", radius, above=0.0, below=border)
    if step_size is not None:
        check_number("step_size", step_size, above=0.0, at_most=1.0)
    query = _exact_query(problem, check_number("entropy_coef", entropy_coef, at_least=0.0))
    queries = _Queries(query if value_query is None else value_query, n_directions, radius)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    pi = np.full(shape, 1.0 / shape[1])
    if initial_policy is not None:
        pi = inside(as_policy(initial_policy, *shape, name="initial_policy").detach().numpy(), border)
    policies, gaps, means, deployments = [pi], [], [], [0]
    for step in range(n_iterations):
        gradient, mean = queries.gradient(pi, rng)
        means.append(mean)
        direction = best_vertex(gradient, border) - pi
        gaps.append(float((gradient * direction).sum()))
        pi = pi + (2.0 / (step + 2.0) if step_size is None else step_size) * direction
        policies.append(pi)
        deployments.append(2 * n_directions * (step + 1))
    tables = torch.from_numpy(np.stack(policies))
    with torch.no_grad():
        values = torch.stack([performative_value(problem, table) for table in tables])
    chosen = int(np.argmax(means))
    return FrankWolfeResult(
        tables[chosen],
        float(values[chosen]),
        values,
        tables,
        torch.tensor(gaps, dtype=torch.float64),
        torch.tensor(deployments),
        n_iterations,
    )


def best_vertex(gradient: Floats, border: float) -> Floats:
    """Return the policy in ``Pi_Delta`` with the largest product with a gradient ``[S, A]``: one vertex per state."""
    n_states, n_actions = gradient.shape
    vertex: Floats = np.full(gradient.shape, border)
    vertex[np.arange(n_states), gradient.argmax(-1)] = 1.0 - (n_actions - 1) * border
    return vertex


def inside(pi: Floats, border: float) -> Floats:
    """Return a policy in ``Pi_Delta``: mixed with the uniform one, no more than is needed."""
    n_actions = pi.shape[1]
    low = float(pi.min())
    share = 0.0 if low >= border else (border - low) / (1.0 / n_actions - low)
    mixed: Floats = (1.0 - share) * pi + share / n_actions
    return mixed


def sphere_direction(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return a uniform direction among the tables ``[S, A]`` of norm 1 whose rows sum to 0."""
    normal = rng.standard_normal(shape)
    centred = normal - normal.mean(-1, keepdims=True)
    direction: Floats = centred / np.linalg.norm(centred)
    return direction


def gradient_scale(n_states: int, n_actions: int, n_directions: int, radius: float) -> float:
    """Return the factor that turns a sum of ``n_directions`` differences times directions into a gradient."""
    return n_states * (n_actions - 1) / (2.0 * n_directions * radius)


class _Queries:
    """Gradients from values at perturbed policies."""

    def __init__(self, query: ValueQuery, n_directions: int, radius: float) -> None:
        self.query, self.n_directions, self.radius = query, n_directions, radius

    def gradient(self, pi: Floats, rng: np.random.Generator) -> tuple[Floats, float]:
        """Return the two-point estimate of the gradient at a policy, ``[S, A]``, and the mean of the values queried."""
        total: Floats = np.zeros_like(pi)
        values = []
        for _ in range(self.n_directions):
            direction = sphere_direction((pi.shape[0], pi.shape[1]), rng)
            step = self.radius * direction
            ahead, behind = self.value(pi + step), self.value(pi - step)
            total += (ahead - behind) * direction
            values += [ahead, behind]
        return gradient_scale(pi.shape[0], pi.shape[1], self.n_directions, self.radius) * total, float(np.mean(values))

    def value(self, pi: Floats) -> float:
        value = float(self.query(torch.from_numpy(pi)))
        if not np.isfinite(value):
            raise ValueError(f"value_query must return a finite number, got {value}")
        return value


def _exact_query(problem: PerformativeMDP, entropy_coef: float) -> ValueQuery:
    def query(pi: Tensor) -> float:
        with torch.no_grad():
            return float(performative_value(problem, pi, entropy_coef))

    return query
