"""Values, advantages and occupancies of a policy, exact and differentiable.

    V(s)   = sum_a pi(a|s) Q(s, a) + lambda H(pi(.|s))          (entropy only at non-absorbing states)
    Q(s,a) = r(s, a) + gamma sum_s' P(s'|s, a) V(s')
    A(s,a) = Q(s, a) - lambda log pi(a|s) - V(s),               sum_a pi(a|s) A(s, a) = 0
    d(s)   = (1 - gamma) sum_t gamma^t Pr(s_t = s),             sum_s d(s) = 1
    J(pi)  = rho . V(pi; pi)

Every function takes a :class:`PerformativeMDP` (the world answers ``pi``) or :class:`Dynamics` (the world stands still;
its ``gamma`` and ``rho`` are used), and a policy table ``[S, A]``. All results are float64 tensors. In a world that
answers at random they are averages over its realisations (:attr:`PerformativeMDP.realisations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perf_envs.dynamics import Dynamics
from perf_envs.exact.linear import ChainSolver
from perf_envs.problem import PerformativeMDP

Model = PerformativeMDP | Dynamics

#: How far from 0 advantages may add up, relative to the largest, before they are computed with more care.
_ADDS_UP, _CORRECTIONS = 1e-10, 2
#: How many times their range values may be large before their mean is taken off.
_OUTWEIGHS = 1e3


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A policy in given dynamics: one factorisation, everything else derived from it.

    Attributes:
        dynamics: the dynamics the policy runs in.
        pi: policy table ``[S, A]``.
        gamma: discount.
        entropy_coef: weight ``lambda`` of the entropy in the reward.
        solver: the factorised chain of ``pi``.
        state_values: ``V [S]``.
    """

    dynamics: Dynamics
    pi: Tensor
    gamma: float
    entropy_coef: float
    solver: ChainSolver
    state_values: Tensor

    def action_values(self) -> Tensor:
        """Return ``Q [S, A]``."""
        return self.dynamics.rewards + self.gamma * self.dynamics.expected_next(self.state_values)

    def plain_state_values(self) -> Tensor:
        """Return ``V [S]`` without the entropy in the reward, from the same factorisation."""
        if self.entropy_coef == 0.0:
            return self.state_values
        return self.solver.values((self.pi * self.dynamics.rewards).sum(-1))

    def discounted_entropy(self, rho: Tensor) -> float:
        """Return ``E sum_t gamma^t H(pi(.|s_t))`` from the start distribution, in nats: what ``lambda`` multiplies."""
        return float(rho @ self.solver.values(entropy(self.pi) * ~self.dynamics.absorbing))

    def advantages(self) -> Tensor:
        """Return ``A [S, A]``, the soft advantage when ``entropy_coef`` is not zero."""
        result = self.action_values() - self.state_values[:, None] - self._soft()
        # They must add up to 0. Where the values are so large that rounding shows, they are computed with more care.
        off = (self.pi * result).sum(-1).detach().abs().max()
        return result if off <= _ADDS_UP * result.detach().abs().max() else self.refined_advantages()

    def refined_advantages(self) -> Tensor:
        """Return ``A [S, A]`` with errors the size of rounding in :meth:`advantage_terms`, however large the values.

        A constant in the rewards makes values large, ``1 / (1 - gamma)`` times itself, and cancels in the advantages.
        Here it does before it is rounded: ``A = r - (1-gamma) V(s) + gamma sum_s' P (V(s') - V(s))``, and what
        ``sum_a pi A`` shows to be missing in ``V`` is solved for once more.
        """
        result = self._above(self.state_values, self.dynamics.rewards) - self._soft()
        for _ in range(_CORRECTIONS):
            result = self._above(self.solver.values((self.pi * result).sum(-1)), result)
        return result

    def levelled_values(self) -> Tensor:
        """Return ``V [S]``, less its mean where that outweighs all differences and would leave them to rounding."""
        values = self.state_values
        if bool(values.detach().abs().max() <= _OUTWEIGHS * (values.detach().max() - values.detach().min())):
            return values
        missing = (self.pi * (self._above(values, self.dynamics.rewards) - self._soft())).sum(-1)
        return values - values.mean() + self.solver.values(missing)

    def advantage_terms(self) -> Tensor:
        """Return ``|r - (1-gamma) V(s)| + gamma sum_s' P |V(s') - V(s)|``, ``[S, A]``: what advantages consist of."""
        values = self.state_values.detach()
        change = self.dynamics.expectation(self.dynamics.changes(values).abs())
        return (self.dynamics.rewards - (1.0 - self.gamma) * values[:, None]).abs() + self.gamma * change

    def gain(self, other: Tensor, rho: Tensor) -> float:
        """Return ``rho . (V(other) - V(pi))`` in these dynamics, to the accuracy of the advantages.

        By the performance-difference lemma, ``sum_s visits_other(s) sum_a (other - pi)(a|s) A(s,a)``: the difference of
        two large values would be rounded as they are.
        """
        gains = ((other - self.pi) * self.refined_advantages()).sum(-1)
        return float(rho @ evaluate(self.dynamics, other, gamma=self.gamma).solver.values(gains))

    def _above(self, values: Tensor, rewards: Tensor) -> Tensor:
        """Return ``r + gamma sum_s' P v(s') - v(s)``, from differences."""
        change = self.dynamics.expectation(self.dynamics.changes(values))
        return (rewards - (1.0 - self.gamma) * values[:, None]) + self.gamma * change

    def _soft(self) -> Tensor | float:
        if self.entropy_coef == 0.0:
            return 0.0
        return self.entropy_coef * _log(self.pi) * (~self.dynamics.absorbing)[:, None]

    def occupancy(self, rho: Tensor) -> Tensor:
        """Return the normalised discounted state distribution ``d [S]`` from the start distribution ``rho``."""
        return (1.0 - self.gamma) * self.solver.visits(rho)


def evaluate(dynamics: Dynamics, pi: Tensor, entropy_coef: float = 0.0, gamma: float | None = None) -> Evaluation:
    """Evaluate ``pi`` in ``dynamics``; ``gamma`` defaults to the dynamics' own."""
    gamma = _discount(dynamics, gamma)
    successors, probs = dynamics.policy_chain(pi)
    solver = ChainSolver(None if dynamics.is_dense else successors, probs, gamma)
    rewards = (pi * dynamics.rewards).sum(-1)
    if entropy_coef != 0.0:
        rewards = rewards + entropy_coef * entropy(pi) * ~dynamics.absorbing
    return Evaluation(dynamics, pi, gamma, entropy_coef, solver, solver.values(rewards))


def entropy(pi: Tensor) -> Tensor:
    """Return ``H(pi(.|s))`` in nats as ``[S]``; ``0 log 0 = 0``."""
    return -(pi * _log(pi)).sum(-1)


def state_values(model: Model, pi: object, entropy_coef: float = 0.0) -> Tensor:
    """Return ``V [S]`` of ``pi``, in the world's answer to it (problem) or in fixed dynamics."""
    return mean([evaluation.state_values for evaluation in _evaluations(model, pi, entropy_coef)])


def action_values(model: Model, pi: object, entropy_coef: float = 0.0) -> Tensor:
    """Return ``Q [S, A]`` of ``pi``."""
    return mean([evaluation.action_values() for evaluation in _evaluations(model, pi, entropy_coef)])


def advantages(model: Model, pi: object, entropy_coef: float = 0.0) -> Tensor:
    """Return ``A [S, A]`` of ``pi``."""
    return mean([evaluation.advantages() for evaluation in _evaluations(model, pi, entropy_coef)])


def occupancy(model: Model, pi: object) -> Tensor:
    """Return the normalised discounted state distribution ``d [S]`` of ``pi``; absorbing states count, it sums to 1."""
    if not isinstance(model, Dynamics):
        check_problem(model)
    rho = model.rho
    if rho is None:
        raise ValueError("occupancy needs a start distribution: these dynamics carry no rho")
    return mean([evaluation.occupancy(rho) for evaluation in _evaluations(model, pi, 0.0)])


def performative_value(problem: PerformativeMDP, pi: object, entropy_coef: float = 0.0) -> Tensor:
    """Return ``J(pi) = rho . V(pi; pi)``, a scalar differentiable in ``pi``, through the world's answer too."""
    return decoupled_value(problem, pi, pi, entropy_coef)


def decoupled_value(problem: PerformativeMDP, pi: object, deployed: object, entropy_coef: float = 0.0) -> Tensor:
    """Return ``rho . V(pi; deployed)``: the value of running ``pi`` in the world that answers ``deployed``."""
    check_problem(problem)
    answers = [one.response(deployed) for one in problem.realisations]
    values = [evaluate(answer, answer.check_policy(pi), entropy_coef).state_values for answer in answers]
    return problem.rho @ mean(values)


def mean(quantities: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape: over the realisations of a world that answers at random."""
    return quantities[0] if len(quantities) == 1 else torch.stack(list(quantities)).mean(0)


def check_problem(problem: object) -> None:
    """Raise ``ValueError`` unless this is a :class:`PerformativeMDP`; an easy mistake is to pass its world."""
    if not isinstance(problem, PerformativeMDP):
        raise ValueError(f"problem must be a PerformativeMDP (env.unwrapped.problem), got {type(problem).__name__}")


def check_dynamics(dynamics: object) -> None:
    """Raise ``ValueError`` unless these are :class:`Dynamics`."""
    if not isinstance(dynamics, Dynamics):
        raise ValueError(f"dynamics must be Dynamics (problem.response(pi)), got {type(dynamics).__name__}")


def _evaluations(model: Model, pi: object, entropy_coef: float) -> list[Evaluation]:
    """Evaluate ``pi`` in fixed dynamics, or in the answer of every realisation of a problem."""
    if isinstance(model, Dynamics):
        answers = [model]
    else:
        check_problem(model)
        answers = [one.response(pi) for one in model.realisations]
    return [evaluate(answer, answer.check_policy(pi), entropy_coef) for answer in answers]


def _discount(dynamics: Dynamics, gamma: float | None) -> float:
    gamma = dynamics.gamma if gamma is None else gamma
    if gamma is None:
        raise ValueError("these dynamics carry no gamma: take them from a problem or set Dynamics(gamma=...)")
    return gamma


def _log(pi: Tensor) -> Tensor:
    """Return ``log pi`` with 0 where ``pi`` is 0, so that ``pi log pi`` and its gradient stay finite there."""
    return torch.log(torch.where(pi > 0.0, pi, torch.ones_like(pi)))
