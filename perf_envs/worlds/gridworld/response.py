"""Followers who may override the agent's moves (Mandal, Triantafyllou and Radanovic, ICML 2023).

Follower ``i`` sees its own perturbed grid with landing rewards ``R_i[s, m]``, moves ``m`` in {left, right, up, down},
and solves, for the deployed policy ``pi`` and intervention cost ``c``,

    Q_i(s, m)    = R_i(s, m) + gamma V_i(n(s, m)) - c            intervene with move m
    Q_i(s, stay) = sum_m pi(m|s) (R_i(s, m) + gamma V_i(n(s, m)))   let the agent move
    V_i          = max_b Q_i(., b)

Together they answer with ``sigma = softmax(beta * mean_i Q_i)`` over the five interventions, and the agent's move is
replaced with probability ``sigma(m|s)`` by ``m``.

The best responses are found by policy iteration over all followers at once, started from the answer given last: one
block-diagonal factorisation per improvement, the last of which also serves the gradient (implicit-function theorem).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from perf_envs.dynamics import Dynamics
from perf_envs.problem import ResponseMap
from perf_envs.validation import check_number
from perf_envs.worlds.gridworld.banded import BandedFactors
from perf_envs.worlds.gridworld.blocks import BlockFactors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_MOVES = 4
#: Index of the fifth intervention: let the agent's own move stand.
NO_INTERVENTION = 4
#: Value iteration runs until a sweep changes values by this share of the largest: then the first factorisation, which
#: costs as much as a few dozen sweeps, is usually the last. The more states, the more choices hang in the balance: a
#: share that falls with the square of their number costs little more than the best one from 64 to 1024 states.
_SWEPT, _LEAST_SWEPT, _MAX_SWEEPS, _SWEEPS_PER_CHECK = 0.4, 1e-6, 200, 5
_MAX_IMPROVEMENTS = 1000
#: Up to this bandwidth (the columns of the grid) a band solver is faster than a general sparse one.
_WIDEST_BAND = 32
#: Relative differences of values below this are rounding: no reason to replace a choice (else ties could cycle).
_ROUNDING = 1e-13
#: Values this many roundings apart count as tied when ties are settled; wide enough that rounding cannot undo it.
_TIES_PER_ROUNDING = 10.0


class FollowerResponse(ResponseMap):
    """The answer of ``F`` followers to the deployed policy of the agent on a grid.

    Args:
        next_state: ``[S, 4]`` cell reached by each move; a goal leads to itself.
        landing_reward: ``[S]`` what the agent is paid for landing on a cell.
        follower_landing_reward: ``[F, S]`` the same as each follower sees it.
        goals: bool ``[S]`` absorbing cells.
        beta: inverse temperature of the followers' joint choice, > 0.
        gamma: the followers' discount, in (0, 1).
        intervention_cost: what an intervention costs the follower, >= 0.
    """

    n_actions = N_MOVES

    def __init__(
        self,
        next_state: Ints,
        landing_reward: Floats,
        follower_landing_reward: Floats,
        goals: NDArray[np.bool_],
        *,
        beta: float,
        gamma: float,
        intervention_cost: float,
    ) -> None:
        self.beta = check_number("beta", beta, above=0.0)
        self.gamma = check_number("gamma", gamma, above=0.0, below=1.0)
        self.intervention_cost = check_number("intervention_cost", intervention_cost, at_least=0.0)
        self.n_states = len(next_state)
        self.next_state, self.goals = next_state, goals
        self._live = ~goals
        states = np.arange(self.n_states)[:, None]
        self._bandwidth = int(np.abs(next_state - states).max())
        #: Where a move stands in its column of a band matrix.
        self._depth: Ints = 2 * self._bandwidth + states - next_state
        # Where the next value iteration starts; a guess that saves time and cannot change an answer.
        self._last_values: Floats = np.zeros((self.n_states, len(follower_landing_reward)))
        # [4, S, F], followers last: every operation below runs along contiguous memory.
        rewards = follower_landing_reward.T[next_state.T]
        self._rewards: Floats = np.ascontiguousarray(np.where(goals[None, :, None], 0.0, rewards))
        self._single_rewards = self._rewards.astype(np.float32)
        moves = torch.from_numpy(next_state)
        # Outcome k < 4: a follower moves the agent by k; outcome 4: the agent's own move stands.
        self._successors = torch.cat(
            [moves[:, None, :].expand(-1, N_MOVES, -1), moves[:, :, None]], dim=-1
        ).contiguous()
        paid = torch.from_numpy(np.where(goals[:, None], 0.0, landing_reward[next_state]))
        self._outcome_rewards = torch.cat(
            [paid[:, None, :].expand(-1, N_MOVES, -1), paid[:, :, None]], dim=-1
        ).contiguous()
        self._absorbing = torch.from_numpy(goals)
        self._own_move = torch.eye(N_MOVES + 1, dtype=torch.float64)[NO_INTERVENTION]

    def respond(self, pi: Tensor) -> Dynamics:
        """Return the dynamics in which the followers answer ``pi``."""
        return self.intervene(torch.softmax(self.beta * self.mean_best_response(pi), dim=-1))

    def unshifted(self) -> Dynamics:
        """Return the world in which nobody intervenes."""
        return self.intervene(self._own_move.expand(self.n_states, -1))

    def intervene(self, interventions: Tensor) -> Dynamics:
        """Return the dynamics under given intervention probabilities ``[S, 5]`` (the last: no intervention)."""
        return Dynamics.from_outcomes(
            self._successors,
            interventions[:, None, :].expand(-1, N_MOVES, -1),
            self._outcome_rewards,
            absorbing=self._absorbing,
            latents={"interventions": interventions},
        )

    def mean_best_response(self, pi: Tensor) -> Tensor:
        """Return the followers' average optimal action values ``[S, 5]`` against ``pi``, differentiable in ``pi``."""
        mean_q: Tensor = _MeanBestResponse.apply(pi, self)  # type: ignore[no-untyped-call]
        return mean_q

    # -- best responses of all followers at once ------------------------------------------------------------------

    def _move_values(self, values: Floats) -> Floats:
        """Return ``R_i(s, m) + gamma V_i(n(s, m))`` as ``[4, S, F]`` from ``V [S, F]``."""
        result: Floats = values.take(self.next_state.T, axis=0)
        result *= self.gamma
        result += self._rewards
        return result

    def _best_response(self, pi: Floats) -> _BestResponse:
        """Solve every follower's decision problem by policy iteration, from the answer given last."""
        weights = np.ascontiguousarray(pi.T)[:, :, None]
        choice = self._first_choice(weights)
        changed, factors = np.ones(choice.shape[1], dtype=np.bool_), None
        for _ in range(_MAX_IMPROVEMENTS):
            values, factors = self._evaluate(weights, choice, changed, factors)
            move_values = self._move_values(values)
            improved = self._improve(weights, move_values, choice)
            changed = (improved != choice).any(0)
            if not changed.any():
                break
            choice = improved
        else:
            raise RuntimeError(f"the followers' best responses did not settle in {_MAX_IMPROVEMENTS} improvements")
        # Which of several best choices was reached depends on the start, and rounding with it. Settling ties by a rule
        # makes the answer a function of the policy alone, to the last bit.
        own, canonical = self._settle_ties(weights, move_values)
        changed = (canonical != choice).any(0)
        if changed.any():
            values, factors = self._evaluate(weights, canonical, changed, factors)
            move_values = self._move_values(values)
            own = (weights * move_values).sum(0)
        self._last_values = values
        return _BestResponse(move_values, own, canonical == NO_INTERVENTION, factors)

    def _first_choice(self, weights: Floats) -> Ints:
        """Return interventions to start from: greedy after sweeps of value iteration from the last answer."""
        swept = max(_LEAST_SWEPT, _SWEPT / self.n_states**2)
        # Single precision, and values discounted before they are spread over the moves: sweeps cost what memory costs.
        own_weights, moves = weights[:, :, 0].astype(np.float32), self.next_state.T
        values = self.gamma * self._last_values.astype(np.float32)
        for sweep in range(1, _MAX_SWEEPS + 1):
            move_values = values.take(moves, axis=0)
            move_values += self._single_rewards
            best = move_values.max(0)
            best -= self.intervention_cost
            np.maximum(best, np.einsum("ms,msf->sf", own_weights, move_values), out=best)
            best[self.goals] = 0.0
            best *= self.gamma
            if sweep % _SWEEPS_PER_CHECK == 0 and np.abs(best - values).max() <= swept * np.abs(best).max():
                break
            values = best
        return self._settle_ties(weights, move_values)[1]

    def _improve(self, weights: Floats, move_values: Floats, choice: Ints) -> Ints:
        """Return the greedy interventions ``[S, F]``, or ``choice`` where nothing is better by more than rounding."""
        own = (weights * move_values).sum(0)
        move = move_values.argmax(0)
        forced = np.take_along_axis(move_values, move[None], 0)[0] - self.intervention_cost
        chosen = np.take_along_axis(move_values, np.minimum(choice, N_MOVES - 1)[None], 0)[0]
        current = np.where(choice == NO_INTERVENTION, own, chosen - self.intervention_cost)
        greedy = np.where(forced > own, move, NO_INTERVENTION)
        better = np.maximum(forced, own) > current + _rounding(move_values)
        return np.where(better, greedy, choice)

    def _settle_ties(self, weights: Floats, move_values: NDArray[np.floating[Any]]) -> tuple[Floats, Ints]:
        """Return own-move values and best interventions, ties going to "no intervention", then to the first move."""
        own = (weights * move_values).sum(0)
        best = move_values.max(0)
        tie = _TIES_PER_ROUNDING * _rounding(move_values)
        first_best = (move_values >= best - tie).argmax(0)
        return own, np.where(best - self.intervention_cost > own + tie, first_best, NO_INTERVENTION)

    def _evaluate(
        self, weights: Floats, choice: Ints, changed: NDArray[np.bool_], factors: Any | None
    ) -> tuple[Floats, Any]:
        """Return each follower's values ``[S, F]`` under its ``choice [S, F]``, and the factorisation used.

        The factors of followers whose choice has not ``changed [F]`` since the last evaluation may be used again.
        """
        n_states, n_followers = choice.shape
        lets_go = choice == NO_INTERVENTION
        chain = np.where(lets_go, weights, choice == np.arange(N_MOVES)[:, None, None])
        chain[:, self.goals] = 0.0
        rewards = (chain * self._rewards).sum(0) - self.intervention_cost * (~lets_go & self._live[:, None])
        factors = self._factorise(chain, changed, factors)
        return factors.solve(rewards.T.ravel()).reshape(n_followers, n_states).T, factors

    def _factorise(self, chain: Floats, changed: NDArray[np.bool_], factors: Any | None) -> Any:
        """Return the factors of ``I - gamma P_i``, a block per follower, from probabilities of moves ``[4, S, F]``."""
        _, n_states, n_followers = chain.shape
        if self._bandwidth <= _WIDEST_BAND:
            band = np.zeros((n_followers, n_states, 3 * self._bandwidth + 1))
            band[:, :, 2 * self._bandwidth] = 1.0
            for reached, depth, weight in zip(self.next_state.T, self._depth.T, self.gamma * chain, strict=True):
                band[:, reached, depth] -= weight.T
            return BandedFactors(band.reshape(n_followers * n_states, -1), self._bandwidth)
        blocks = BlockFactors(self.next_state, n_followers) if factors is None else factors
        return blocks.update(self.gamma * chain[:, :, changed], changed)


def _rounding(values: NDArray[np.floating[Any]]) -> float:
    return _ROUNDING * float(np.abs(values).max())


class _BestResponse(NamedTuple):
    """Every follower's solved decision problem."""

    move_values: Floats
    """``R_i(s, m) + gamma V_i(n(s, m))``, ``[4, S, F]``."""
    own_move_value: Floats
    """``Q_i(s, stay)``, ``[S, F]``."""
    lets_go: NDArray[np.bool_]
    """Whether the follower lets the agent move, ``[S, F]``."""
    factors: Any
    """Factorisation of ``I - gamma P_i`` under the best responses, one block per follower."""


class _MeanBestResponse(torch.autograd.Function):
    """Average optimal action values of the followers, with the gradient by the implicit-function theorem.

    At the optimum the chosen actions do not change to first order, so ``V_i`` solves a linear system in which ``pi``
    stands wherever follower ``i`` lets the agent move; its adjoint reuses the forward factorisation.
    """

    @staticmethod
    def forward(ctx: Any, pi: Tensor, response: FollowerResponse) -> Tensor:
        solution = response._best_response(pi.detach().numpy())
        ctx.response, ctx.solution = response, solution
        ctx.save_for_backward(pi)
        forced = solution.move_values.mean(-1) - response.intervention_cost
        mean_q = np.concatenate([forced, solution.own_move_value.mean(-1)[None]]).T
        mean_q[response.goals] = 0.0
        return torch.from_numpy(np.ascontiguousarray(mean_q))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        response: FollowerResponse = ctx.response
        move_values, _, lets_go, factors = ctx.solution
        (pi,) = ctx.saved_tensors
        n_states, n_followers = lets_go.shape
        cotangent = grad.numpy() * response._live[:, None] / n_followers
        # How much each V_i(s') matters to the mean: through the forced moves and through the agent's own.
        moves = response.gamma * (cotangent[:, :N_MOVES] + cotangent[:, NO_INTERVENTION, None] * pi.detach().numpy())
        on_values = np.bincount(response.next_state.ravel(), weights=moves.ravel(), minlength=n_states)
        adjoint = factors.solve(np.tile(on_values, n_followers), "T").reshape(n_followers, n_states).T
        weight = cotangent[:, NO_INTERVENTION, None] + adjoint * (lets_go & response._live[:, None])
        return torch.from_numpy(np.einsum("msf,sf->sm", move_values, weight)), None
