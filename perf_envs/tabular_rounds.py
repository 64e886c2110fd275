"""The rounds of tabular worlds: dynamics in force, and how a world learns which policy is deployed."""

from __future__ import annotations

from array import array

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.dynamics import Dynamics, Shift
from perf_envs.fit import Fit, add_counts
from perf_envs.policies import Table
from perf_envs.problem import PerformativeMDP
from perf_envs.rounds import Deployment, Rounds
from perf_envs.sampling import StepSampler

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Weight of the previous estimate, in observations per state, when the deployed policy is re-estimated from counts.
_PRIOR_OBSERVATIONS = 1.0
#: Steps of many agents that are noted before they are counted.
_LONGEST_LOG = 1 << 14


class TabularRounds(Rounds[Dynamics]):
    """The deployment state of a tabular world: the dynamics in force, the round, the policy it believes in.

    Args:
        problem: the performative Markov decision process.
        deployment: ``"observed"`` re-estimates the policy from the last ``round_length`` actions and answers by itself;
            ``"declared"`` moves only when :meth:`deploy` is called.
        round_length: steps in an observed round, of each agent where several share the world (:meth:`share`).
        adaptation_rate: share ``w`` in (0, 1] of the world that answers a deployment at once; the rest stays as it was.

    Attributes:
        dynamics: the dynamics in force.
        sampler: the same, ready to be drawn from.
        round: number of deployments so far.
        policy: the policy the world believes is deployed.
    """

    def __init__(
        self,
        problem: PerformativeMDP,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        adaptation_rate: float = 1.0,
    ) -> None:
        self.problem = problem
        super().__init__(problem.unshifted().detach(), deployment, round_length, adaptation_rate)

    def restart(self, seed: int = 0) -> None:
        """Go back to round 0: the unshifted world, nothing observed; ``seed`` is that of answers that are random."""
        self.policy: Table = self.problem.policies.uniform()
        n_states, n_actions = self.policy.probs.shape
        # Python's own array, seen by numpy through `_counts`: adding to one item of it costs a fifth.
        self._action_counts = array("d", bytes(8 * n_states * n_actions))
        self._log: list[Ints] = []
        self._idle_log: list[Ints] = []
        self._logged = 0
        self.fit = Fit(n_actions + 1)
        super().restart(seed)

    def deploy(self, policy: object, response: Dynamics | None = None) -> Shift:
        """Hand a policy to the world and start the next round; return how far the world moved.

        Args:
            policy: a :class:`perf_envs.policies.Table`, or probabilities ``[S, A]``.
            response: the world's response to it, if the caller has it from ``problem.response`` already; a world that
                responds at random draws one of its own.
        """
        table = self.problem.policies.read(policy)
        if response is None or self.problem.is_random:
            # A failed deployment leaves no trace, so chance comes from the number of the round, not from a stream.
            rng = np.random.default_rng([self._seed, self.round])
            with torch.no_grad():
                response = self.problem.draw(table, rng).detach()
        shift = self._begin_round(response)
        self.policy = table
        return shift

    def redeploy(self) -> Shift:
        """Hand the policy deployed last to the world again: the next round starts; return how far the world moved."""
        return self.deploy(self.policy)

    def observe(self, state: int, action: int) -> None:
        """Take note of one step; in observed mode the last step of a round makes the world answer."""
        if self.watching:
            self._action_counts[state * self.problem.n_actions + action] += 1.0
            self._count_steps(1)

    def observe_many(self, states: Ints, actions: Ints, idle: Ints | None = None) -> None:
        """Take note of steps made side by side, as ``[n]`` arrays, except by those whose indices are in ``idle``."""
        if not self.watching:
            return
        pairs = states * self.problem.n_actions
        pairs += actions
        # Counted when somebody asks: one long count is several times faster than many short ones.
        self._log.append(pairs)
        n_steps = len(pairs)
        self._logged += n_steps
        if idle is not None and len(idle):
            self._idle_log.append(pairs[idle])
            n_steps -= len(idle)
        if self._logged >= _LONGEST_LOG:
            self._read_log()
        self._count_steps(n_steps)

    def estimate(self) -> Floats:
        """Return the policy estimated from the actions seen in this round, smoothed towards the one believed so far."""
        visits: Floats = self._counts.sum(-1, keepdims=True)
        smoothed: Floats = (self._counts + _PRIOR_OBSERVATIONS * self.policy.probs) / (visits + _PRIOR_OBSERVATIONS)
        return smoothed

    def _answer_estimate(self) -> None:
        self.deploy(self.estimate())

    def _make_sampler(self, dynamics: Dynamics) -> StepSampler:
        return StepSampler(dynamics)

    @property
    def _counts(self) -> Floats:
        """How often each action was seen in each state in this round, ``[S, A]``; a view, to write through."""
        if self._log:
            self._read_log()
        return np.frombuffer(self._action_counts).reshape(self.policy.probs.shape)

    def _read_log(self) -> None:
        """Count what has been seen since it was counted last."""
        counts = np.frombuffer(self._action_counts)
        counts += np.bincount(np.concatenate(self._log), minlength=len(counts))
        if self._idle_log:
            counts -= np.bincount(np.concatenate(self._idle_log), minlength=len(counts))
        self._log, self._idle_log, self._logged = [], [], 0

    def _forget(self) -> None:
        self._counts[:] = 0.0

    def _compare(self) -> None:
        add_counts(self.fit, self._counts, self.policy.probs)

    def _describe_misfit(self) -> str | None:
        worst, n_steps = self.fit.worst(), self.fit.n_steps
        if worst is None:
            return None
        played, expected = self.fit.played[worst], self.fit.expected[worst]
        if worst < self.problem.n_actions:
            return f"action {worst} was played in {played:.0f} of {n_steps} steps, and should be in {expected:.0f}"
        return (
            f"the actions of {n_steps} steps have a mean probability of {played / n_steps:.3g} under the policies "
            f"deployed, and should have {expected / n_steps:.3g}"
        )
