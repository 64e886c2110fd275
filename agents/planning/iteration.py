"""Policy iteration and value iteration: dynamic programming, redeployed where the world answers.

Both choose in every state the action with the largest

    A(s,a)  +  alpha (1-gamma)/d(s) * dJ(s,a),       dJ = the response terms of the performative policy gradient

where ``A`` is judged in the world as it stands. With ``alpha = 0``, or where nothing answers, these are the classical
methods (Howard 1960; Bellman 1957), which end at an optimal policy of the world as it stands: a performatively stable
one. Where the world answers they may go round in circles; then they stop and say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.planning.ascent import Iterate, value_scale
from agents.planning.result import PlanningResult
from perf_envs import PerformativeMDP
from perf_envs.exact import GradientTerms, gradient_terms
from perf_envs.tensor_checks import policy_or_uniform
from perf_envs.validation import check_count, check_number

#: Actions that differ by less than this, relative to the terms that their worth consists of, are equally good.
_TIE = 1e-12


def policy_iteration(
    problem: PerformativeMDP,
    *,
    performative_coef: float = 1.0,
    n_iterations: int = 1000,
    initial_policy: object | None = None,
    tolerance: float = 1e-6,
) -> PlanningResult:
    """Evaluate the policy in the world that answers it, be greedy in every state, deploy, repeat.

    Args:
        problem: the world; ``PerformativeMDP.fixed(dynamics)`` for one that stands still.
        performative_coef: 1 counts in full how the world will answer, to first order; 0 takes it as it stands.
        n_iterations: improvements at most.
        initial_policy: start, ``[S, A]``; the uniform policy by default.
        tolerance: gap, relative to the scale of the values, at which it has converged. The gap is the largest gain of
            an action in any state, over ``1-gamma``: in a world that stands still no policy is better by more.

    Returns:
        The last policy if it has converged, else the best policy met.
    """
    search = _Search.start(problem, performative_coef, initial_policy, tolerance)
    visited: set[bytes] = set()
    for _ in range(check_count("n_iterations", n_iterations)):
        terms = search.deploy()
        greedy, gap = search.improve(terms, terms.evaluation.advantages())
        search.note(terms, gap)
        if gap <= search.floor or search.pi.numpy().tobytes() in visited:
            break
        visited.add(search.pi.numpy().tobytes())
        search.pi = greedy
    return search.result("policy_iteration").warn_unless_converged()


def value_iteration(
    problem: PerformativeMDP,
    *,
    performative_coef: float = 1.0,
    n_iterations: int = 10_000,
    initial_policy: object | None = None,
    tolerance: float = 1e-6,
) -> PlanningResult:
    """One Bellman backup per deployment: be greedy for the values so far in the world that answers the last policy.

    Args:
        problem: the world; ``PerformativeMDP.fixed(dynamics)`` for one that stands still.
        performative_coef: 1 counts in full how the world will answer, to first order; 0 takes it as it stands.
        n_iterations: backups at most.
        initial_policy: what is deployed before the first backup, ``[S, A]``; the uniform policy by default. Its values
            are where the backups start.
        tolerance: as in :func:`policy_iteration`.
    """
    search = _Search.start(problem, performative_coef, initial_policy, tolerance)
    values: Tensor | None = None
    for _ in range(check_count("n_iterations", n_iterations)):
        terms = search.deploy()
        search.note(terms, search.improve(terms, terms.evaluation.advantages())[1])
        if search.last.gap <= search.floor:
            break
        dynamics = terms.evaluation.dynamics
        q = dynamics.rewards + problem.gamma * dynamics.expected_next(
            terms.evaluation.state_values if values is None else values
        )
        search.pi, _ = search.improve(terms, q - (search.pi * q).sum(-1, keepdim=True))
        values = (search.pi * q).sum(-1)
    return search.result("value_iteration").warn_unless_converged()


@dataclass
class _Search:
    """The policy deployed, and what is known of all policies met."""

    problem: PerformativeMDP
    performative_coef: float
    floor: float
    pi: Tensor
    met: list[Iterate] = field(default_factory=list)

    @classmethod
    def start(
        cls, problem: PerformativeMDP, performative_coef: float, initial_policy: object | None, tolerance: float
    ) -> _Search:
        return cls(
            problem,
            check_number("performative_coef", performative_coef, at_least=0.0, at_most=1.0),
            check_number("tolerance", tolerance, at_least=0.0) * value_scale(problem),
            policy_or_uniform(initial_policy, problem.n_states, problem.n_actions, "initial_policy"),
        )

    @property
    def last(self) -> Iterate:
        return self.met[-1]

    def deploy(self) -> GradientTerms:
        """Let the world answer the policy."""
        return gradient_terms(self.problem, self.pi, with_response=self.performative_coef != 0.0)

    def improve(self, terms: GradientTerms, advantages: Tensor) -> tuple[Tensor, float]:
        """Return the best action of every state (the incumbent where it is as good as any), and the gap."""
        density = terms.occupancy[:, None] / (1.0 - self.problem.gamma)
        answer = torch.where(density > 0.0, terms.response / density, 0.0)
        worth = advantages + self.performative_coef * answer
        gain = worth.max(-1).values - (self.pi * worth).sum(-1)
        chosen = F.one_hot(worth.argmax(-1), worth.shape[1]).to(torch.float64)
        size = terms.evaluation.advantage_terms() + self.performative_coef * answer.abs()
        stays = gain <= _TIE * size.max(-1).values
        return torch.where(stays[:, None], self.pi, chosen), float(gain.max()) / (1.0 - self.problem.gamma)

    def note(self, terms: GradientTerms, gap: float) -> None:
        self.met.append(Iterate(self.pi, float(self.problem.rho @ terms.evaluation.state_values), gap))

    def result(self, method: str) -> PlanningResult:
        """Return the last policy if the search has converged, else the best one met."""
        converged = self.last.gap <= self.floor
        chosen = self.last if converged else max(self.met, key=lambda iterate: iterate.value)
        return PlanningResult(
            policy=chosen.policy,
            value=chosen.value,
            history=torch.tensor([iterate.value for iterate in self.met], dtype=torch.float64),
            n_iter=len(self.met),
            converged=converged,
            method=method,
            gap=chosen.gap,
        )
