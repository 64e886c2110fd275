"""Finite samples: trajectories drawn from a world through its Gymnasium API, and the model they stand for.

The papers (Mandal et al. 2023, their section on finite samples; Rank et al. 2024) retrain on the empirical Lagrangian

    L(d, h) = -Omega(d) + rho.h + 1/M sum_i d(s_i, a_i) / ((1 - gamma) dbar(s_i, a_i)) (r_i - h(s_i) + gamma h(s'_i))

whose saddle point ``max_d min_h`` is the new occupancy; ``(1 - gamma) dbar`` is the distribution the pairs of the
samples come from. With ``dbar`` estimated from the same samples (as Rank et al. do), ``1/M sum_i`` over the samples of
one pair leaves the mean reward and the shares of its next states, so that

    L(d, h) = -Omega(d) + rho.h + sum_{s,a} d(s,a) (r^(s,a) - h(s) + gamma sum_s' P^(s'|s,a) h(s'))

is the exact Lagrangian of the *empirical* decision problem, and its saddle point is the solution of that problem's
occupancy program: solved as such, to a checked residual. Since only conditional frequencies enter, samples need not be
discounted. Their coverage assumption ``d <= B dbar`` says that a pair without samples carries no mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from agents.retraining.model import Bools, Floats, Ints, TabularModel
from perf_envs import PerformativeEnv, PerformativeMDP, PerformativeVectorEnv
from perf_envs.sampling import cumulative, draw
from perf_envs.validation import check_choice, check_count

UNVISITED = ("error", "avoid")
#: Steps after which an episode is cut, as in the published experiments.
EPISODE_STEPS = 100


@dataclass(frozen=True, eq=False)
class Samples:
    """Transitions of one round, ``[n]`` each: state, action, reward, next state, and whether that ended the episode."""

    states: Ints
    actions: Ints
    rewards: Floats
    next_states: Ints
    terminated: Bools

    def __len__(self) -> int:
        return len(self.states)


class _Trajectories(PerformativeVectorEnv):
    """Many agents in the world of any performative Markov decision process."""

    world_class = PerformativeEnv


class SampledWorld:
    """A performative world in which deployed policies are played.

    Args:
        problem: the world.
        n_samples: transitions to draw per round.
        adaptation_rate: share of the world that answers a deployment at once.
        seed: of starts, actions and outcomes.

    Raises:
        ValueError: ``n_samples`` is not a positive number, or ``adaptation_rate`` is outside (0, 1].
    """

    def __init__(self, problem: PerformativeMDP, n_samples: int, adaptation_rate: float = 1.0, seed: int = 0) -> None:
        self.n_samples = check_count("n_samples", n_samples)
        # Few enough agents that each of them gets to the end of an episode.
        n_agents = min(max(self.n_samples // EPISODE_STEPS, 1), 1000)
        self.env = _Trajectories(
            n_agents,
            max_episode_steps=EPISODE_STEPS,
            autoreset_mode="SameStep",
            problem=problem,
            deployment="declared",
            adaptation_rate=adaptation_rate,
        )
        self._states, _ = self.env.reset(seed=seed)
        # Another stream than the world's, which is default_rng(seed): actions must not foretell outcomes.
        self._rng = np.random.default_rng((seed, 1))
        self.n_steps = 0

    def play(self, policy: Floats) -> Samples:
        """Deploy a policy ``[S, A]``, play it, and return exactly ``n_samples`` transitions of the round."""
        self.env.deploy(policy)
        thresholds = cumulative(policy)
        steps = []
        for _ in range(-(-self.n_samples // self.env.num_envs)):
            states = self._states
            actions = draw(thresholds[states], self._rng.random(len(states)))
            self._states, rewards, terminated, truncated, infos = self.env.step(actions)
            following = self._states
            if (terminated | truncated).any():
                following = np.where(infos["_final_obs"], infos["final_obs"], following)
            steps.append((states, actions, rewards, following, terminated))
        self.n_steps += len(steps) * self.env.num_envs
        columns = (np.concatenate(column)[: self.n_samples] for column in zip(*steps, strict=True))
        return Samples(*columns)


def empirical_model(
    rounds: Sequence[Samples],
    rho: Floats,
    n_actions: int,
    weights: Sequence[float] | None = None,
    unvisited: str = "error",
) -> TabularModel:
    """Return the decision problem that samples stand for.

    A round contributes to a pair the frequencies it has seen there, by its weight; rounds that have not visited a pair
    do not speak of it. A state that was reached but never acted in counts as absorbing.

    Args:
        rounds: the samples, oldest first.
        rho: start distribution ``[S]``.
        n_actions: number of actions ``A``.
        weights: of the rounds; by default equal.
        unvisited: what to do about a state in which some action was never sampled: ``"error"``, or ``"avoid"`` to give
            the pair no mass, as the papers' coverage assumption ``d <= B dbar`` does. States that the samples and the
            start distribution do not reach need no samples.

    Raises:
        ValueError: there are no samples; or a pair at a reached state was not visited and ``unvisited="error"``.
    """
    check_choice("unvisited", unvisited, UNVISITED)
    if not rounds or not all(len(samples) for samples in rounds):
        raise ValueError("samples must hold at least one transition per round, got none")
    weights = [1.0] * len(rounds) if weights is None else weights
    n_states = len(rho)
    n_pairs = n_states * n_actions
    total, rewards = np.zeros(n_pairs), np.zeros(n_pairs)
    transitions = sp.csr_array((n_pairs, n_states))
    absorbing, reached = np.zeros(n_states, dtype=np.bool_), rho > 0.0
    for samples, weight in zip(rounds, weights, strict=True):
        pairs = samples.states * n_actions + samples.actions
        counts = np.bincount(pairs, minlength=n_pairs)
        share = weight / np.maximum(counts, 1)
        total += weight * (counts > 0)
        rewards += share * np.bincount(pairs, weights=samples.rewards, minlength=n_pairs)
        transitions = transitions + sp.csr_array((share[pairs], (pairs, samples.next_states)), transitions.shape)
        absorbing[samples.next_states[samples.terminated]] = True
        reached[samples.next_states] = True
    available = (total > 0.0).reshape(n_states, n_actions)
    reached &= ~absorbing
    if unvisited == "error":
        _check_coverage(available, reached, sum(map(len, rounds)))
    absorbing |= reached & ~available.any(-1)
    normalised = np.maximum(total, np.finfo(np.float64).tiny)
    transitions = sp.csr_array(transitions.multiply((1.0 / normalised)[:, None]))
    return TabularModel(transitions, (rewards / normalised).reshape(n_states, n_actions), available, absorbing)


def _check_coverage(available: Bools, reached: Bools, n_samples: int) -> None:
    missing = np.argwhere(reached[:, None] & ~available)
    if len(missing):
        state, action = missing[0]
        raise ValueError(
            f"{len(missing)} state-action pairs at reached states were not visited in {n_samples} samples, the first "
            f"at state {state}, action {action}: draw more samples (n_samples), deploy policies that give every action "
            "a positive probability (initial_policy, a larger regularization), or pass unvisited='avoid'"
        )
