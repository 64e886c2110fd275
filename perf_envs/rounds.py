"""Rounds: what every world remembers between deployments, whatever a policy is and however the world answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Literal, Protocol, TypeVar

from perf_envs.dynamics import Shift
from perf_envs.validation import check_choice, check_count, check_number

Deployment = Literal["observed", "declared"]


class Answer(Protocol):
    """What is in force between two deployments: dynamics of a tabular world, the demand of a market."""

    def mix(self, other: Any, weight: float) -> Any:
        """Return the answer of which a share ``weight`` has moved on to ``other``."""

    def shift_from(self, other: Any) -> Shift:
        """Return how far this is from ``other``."""


AnswerT = TypeVar("AnswerT", bound=Answer)


class Rounds(ABC, Generic[AnswerT]):
    """The answer in force, the number of the round, and when the next one is due.

    Args:
        unshifted: the answer in force before any deployment.
        deployment: ``"observed"`` re-estimates the policy from the last ``round_length`` actions and answers by itself;
            ``"declared"`` moves only when a policy is handed over.
        round_length: steps in an observed round, of each agent where several share the world (:meth:`share`).
        adaptation_rate: share ``w`` in (0, 1] of the world that answers a deployment at once; the rest stays as it was.

    Attributes:
        dynamics: the answer in force.
        sampler: the same, ready to be drawn from.
        round: number of deployments so far.
    """

    def __init__(
        self,
        unshifted: AnswerT,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        adaptation_rate: float = 1.0,
    ) -> None:
        self.set_deployment(deployment)
        self.round_length = check_count("round_length", round_length)
        self.adaptation_rate = check_number("adaptation_rate", adaptation_rate, above=0.0, at_most=1.0)
        self._n_agents = 1
        self._unshifted = unshifted
        self.restart()

    def share(self, n_agents: int) -> None:
        """Let ``n_agents`` step side by side: a round then has ``round_length`` steps of each, observed together."""
        self._n_agents = check_count("n_agents", n_agents)

    def set_deployment(self, mode: Deployment) -> None:
        """Choose whether the world watches the actions or waits to be told."""
        check_choice("deployment", mode, ("observed", "declared"))
        self.deployment: Deployment = mode

    def restart(self, seed: int = 0) -> None:
        """Go back to round 0: the unshifted world, nothing observed; ``seed`` is that of answers that are random."""
        self.round = 0
        self._seed = seed
        self._steps_observed = 0
        self._news: Shift | None = None
        self._set_dynamics(self._unshifted)

    def step_info(self) -> dict[str, Any]:
        """Return what the info of the next step says about the world: the round and, once, the shift it began with."""
        info: dict[str, Any] = {"round": self.round}
        if self._news is not None:
            info["shift"], info["reward_shift"] = self._news
            self._news = None
        return info

    @abstractmethod
    def redeploy(self) -> Shift:
        """Hand the policy deployed last to the world again, and start the next round; return how far the world moved.

        It moves if it adapts gradually or answers at random. Before any deployment the policy is the one that the world
        believes in at round 0.
        """

    def _begin_round(self, answer: AnswerT) -> Shift:
        """Start the next round, in which the world has moved towards ``answer``; return how far."""
        moved = answer if self.adaptation_rate == 1.0 else self.dynamics.mix(answer, self.adaptation_rate)
        shift = moved.shift_from(self.dynamics)
        # Everything that can fail is done: from here on the world is in the new round.
        self._set_dynamics(moved)
        self._steps_observed = 0
        self.round += 1
        self._news = shift
        return shift

    def _end_round_if_due(self, n_steps: int) -> None:
        self._steps_observed += n_steps
        if self._steps_observed >= self.round_length * self._n_agents:
            self._answer_estimate()

    @abstractmethod
    def _answer_estimate(self) -> None:
        """Start the next round with the policy estimated from what was observed."""

    def _set_dynamics(self, dynamics: AnswerT) -> None:
        self.dynamics = dynamics
        self.sampler = self._make_sampler(dynamics)

    @abstractmethod
    def _make_sampler(self, dynamics: AnswerT) -> Any:
        """Return ``dynamics`` ready to be drawn from."""
