"""Deployments: what a performative world remembers between steps, and how it learns which policy is deployed."""

from __future__ import annotations

import inspect
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perf_envs.asking import ask_to_predict, asking, detached
from perf_envs.dynamics import Dynamics, Shift
from perf_envs.fit import Fit, add_counts
from perf_envs.problem import PerformativeMDP
from perf_envs.rounds import Deployment, Rounds
from perf_envs.sampling import StepSampler
from perf_envs.validation import as_policy, check_numbered_from_zero

__all__ = ["Deployment", "World", "policy_table"]

Table = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Weight of the previous estimate, in observations per state, when the deployed policy is re-estimated from counts.
_PRIOR_OBSERVATIONS = 1.0
#: What a policy may be.
_FORMS = (
    "an array [states, actions], a callable observation -> probabilities, or a model with Stable-Baselines3's predict"
)
_MEMORY = "policy must depend on the observation alone, since the world asks it at every state"
#: Steps of many agents that are noted before they are counted.
_LONGEST_LOG = 1 << 14


class World(Rounds[Dynamics]):
    """The part of a performative environment that remembers: the dynamics in force, the round, the estimated policy.

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
        policy: the policy the world believes is deployed, ``[S, A]``.
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
        shape = (self.problem.n_states, self.problem.n_actions)
        self.policy: Table = np.full(shape, 1.0 / shape[1])
        # Python's own array, seen by numpy through `_counts`: adding to one item of it costs a fifth.
        self._tally = array("d", bytes(8 * shape[0] * shape[1]))
        self._log: list[Ints] = []
        self._idle_log: list[Ints] = []
        self._logged = 0
        self.fit = Fit(shape[1] + 1)
        super().restart(seed)

    def deploy(self, policy: object, answer: Dynamics | None = None) -> Shift:
        """Hand a policy table ``[S, A]`` to the world and start the next round; return how far the world moved.

        Args:
            policy: the table.
            answer: the world's answer to it, if the caller has it from ``problem.response`` already; a world that
                answers at random draws one of its own.
        """
        table = as_policy(policy, self.problem.n_states, self.problem.n_actions, "policy").detach()
        if answer is None or self.problem.is_random:
            # A failed deployment leaves no trace, so chance comes from the number of the round, not from a stream.
            rng = np.random.default_rng([self._seed, self.round])
            with torch.no_grad():
                answer = self.problem.draw(table, rng).detach()
        shift = self._begin_round(answer)
        self.policy = table.numpy().copy()
        return shift

    def redeploy(self) -> Shift:
        """Hand the policy deployed last to the world again: the next round starts; return how far the world moved."""
        return self.deploy(self.policy)

    def observe(self, state: int, action: int) -> None:
        """Take note of one step; in observed mode the last step of a round makes the world answer."""
        if self.watching:
            self._tally[state * self.problem.n_actions + action] += 1.0
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

    def estimate(self) -> Table:
        """Return the policy estimated from the actions seen in this round, smoothed towards the one believed so far."""
        visits: Table = self._counts.sum(-1, keepdims=True)
        smoothed: Table = (self._counts + _PRIOR_OBSERVATIONS * self.policy) / (visits + _PRIOR_OBSERVATIONS)
        return smoothed

    def _answer_estimate(self) -> None:
        self.deploy(self.estimate())

    def _make_sampler(self, dynamics: Dynamics) -> StepSampler:
        return StepSampler(dynamics)

    @property
    def _counts(self) -> Table:
        """How often each action was seen in each state in this round, ``[S, A]``; a view, to write through."""
        if self._log:
            self._read_log()
        return np.frombuffer(self._tally).reshape(self.policy.shape)

    def _read_log(self) -> None:
        """Count what has been seen since it was counted last."""
        counts = np.frombuffer(self._tally)
        counts += np.bincount(np.concatenate(self._log), minlength=len(counts))
        if self._idle_log:
            counts -= np.bincount(np.concatenate(self._idle_log), minlength=len(counts))
        self._log, self._idle_log, self._logged = [], [], 0

    def _forget(self) -> None:
        self._counts[:] = 0.0

    def _compare(self) -> None:
        add_counts(self.fit, self._counts, self.policy)

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


def policy_table(policy: Any, observations: Any, n_actions: int, deterministic: bool = False) -> Table:
    """Return the table ``[S, A]`` of a policy in any of the forms users have it in.

    Args:
        policy: an array or tensor ``[S, A]``; a Stable-Baselines3 model or policy, asked for its action probabilities
            (or, for value-based ones, its greedy action); anything else whose ``predict`` returns an action for every
            observation; or a callable ``observation -> probabilities [A]``.
        observations: the observation of every state, ``[S, ...]`` or a dictionary of such arrays.
        n_actions: number of actions ``A``.
        deterministic: ask models for their deterministic action instead of their probabilities.

    Raises:
        ValueError: ``policy`` is none of these, it has a memory, it fails when it is asked or is for states or actions
            that are not numbered from 0, or what it returns is not a policy table.
    """
    network = getattr(policy, "policy", policy)
    for part in ("observation_space", "action_space"):
        check_numbered_from_zero(f"{part} of the policy", getattr(policy, part, None))
    if hasattr(network, "get_distribution") and not deterministic:
        table = _network_probabilities(network, observations)
    elif hasattr(policy, "predict"):
        table = _one_hot(predicted(policy, observations, _FORMS), n_actions)
    elif isinstance(policy, Callable) and not isinstance(policy, torch.Tensor):  # type: ignore[arg-type]
        table = [_probabilities(policy, observation, n_actions) for observation in each_observation(observations)]
    else:
        table = policy
    n_states = sum(1 for _ in each_observation(observations))
    return as_policy(table, n_states, n_actions, "policy").detach().cpu().numpy()


def predicted(policy: Any, observations: Any, forms: str) -> NDArray[Any]:
    """Return the deterministic actions of a model at a batch of observations, ``[n, ...]``.

    Args:
        policy: anything with ``predict``.
        observations: ``[n, ...]``, or a dictionary of such arrays.
        forms: what a policy may be, for the error.

    Raises:
        ValueError: the policy has a memory, or cannot be asked.
    """
    check_memoryless(policy)
    with asking(policy, forms):
        actions, memory = ask_to_predict(policy, observations)
    if memory is not None:
        raise ValueError(f"{_MEMORY}, got {type(policy).__name__}, whose predict returns a state as well")
    return actions


def check_memoryless(policy: Any) -> None:
    """Raise ``ValueError`` if the distribution of a policy needs more than the observation."""
    network = getattr(policy, "policy", policy)
    if not hasattr(network, "get_distribution"):
        return
    empty, kinds = inspect.Parameter.empty, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(network.get_distribution).parameters.values())
    needed = [one.name for one in parameters[1:] if one.default is empty and one.kind not in kinds]
    if needed:
        raise ValueError(
            f"{_MEMORY}, got {type(network).__name__}, which needs {' and '.join(needed)} as well; let the world "
            "observe what it plays (deployment='observed', without DeployCallback)"
        )


def _one_hot(actions: NDArray[Any], n_actions: int) -> Table:
    if actions.ndim != 1 or actions.dtype.kind not in "iu" or not ((actions >= 0) & (actions < n_actions)).all():
        raise ValueError(f"actions of the policy must be one of 0..{n_actions - 1} per state, got {actions!r}")
    table: Table = np.eye(n_actions)[actions]
    return table


def each_observation(observations: Any) -> Iterator[Any]:
    """Yield the observations of a batch, an array ``[S, ...]`` or a dictionary of such arrays, one by one."""
    if not isinstance(observations, Mapping):
        yield from observations
        return
    for row in zip(*observations.values(), strict=True):
        yield dict(zip(observations, row, strict=True))


def _probabilities(policy: Any, observation: Any, n_actions: int) -> Any:
    """Return what a callable answers as a detached array in its own precision, which decides how it is checked."""
    with asking(policy, _FORMS, f"observation {observation!r}"):
        answer = policy(observation)
        row = np.asarray(detached(answer))
    if row.shape != (n_actions,) or row.dtype.kind not in "biufc":
        raise ValueError(
            f"policy must be {_FORMS}; got {type(policy).__name__}, which answers observation {observation!r} with "
            f"{answer!r} instead of {n_actions} probabilities"
        )
    return row


def _network_probabilities(network: Any, observations: Any) -> Any:
    check_memoryless(network)
    with asking(network, _FORMS):
        network.set_training_mode(False)  # as Stable-Baselines3 does to predict: no dropout, no batch statistics
        with torch.no_grad():
            inputs, _ = network.obs_to_tensor(observations)
            distribution = network.get_distribution(inputs).distribution
    if not hasattr(distribution, "probs"):
        raise ValueError(f"policy must choose among discrete actions, got a policy with {type(distribution).__name__}")
    return distribution.probs.cpu()
