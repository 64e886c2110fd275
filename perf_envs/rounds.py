"""Rounds: the deployment state of every world, whatever a policy is and however the world responds to it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, Generic, Literal, Protocol, TypeVar

from perf_envs import copies
from perf_envs.dynamics import Shift
from perf_envs.fit import Fit
from perf_envs.validation import check_choice, check_count, check_number

Deployment = Literal["observed", "declared"]


#: Steps of a declared round of which the actions are compared with the policy deployed.
_STEPS_COMPARED = 1 << 14
#: Steps without an answer from which it is said, however short rounds are: those who check an environment make fewer.
_PATIENCE = 500


class Response(Protocol):
    """What is in force between two deployments: dynamics of a tabular world, the demand of a market."""

    def mix(self, other: Any, weight: float) -> Any:
        """Return the response of which a share ``weight`` has moved on to ``other``."""

    def shift_from(self, other: Any) -> Shift:
        """Return how far this is from ``other``."""


R = TypeVar("R", bound=Response)


class Rounds(ABC, Generic[R]):
    """The response in force, the number of the round, and when the next one is due.

    Args:
        unshifted: what is in force before any deployment.
        deployment: ``"observed"`` re-estimates the policy from the last ``round_length`` actions and answers by itself;
            ``"declared"`` moves only when a policy is handed over.
        round_length: steps in an observed round, of each agent where several share the world (:meth:`share`).
        adaptation_rate: share ``w`` in (0, 1] of the world that answers a deployment at once; the rest stays as it was.

    Attributes:
        dynamics: what is in force.
        sampler: the same, ready to be drawn from.
        round: number of deployments so far.
        is_shared: whether it is the one world of all agents that step side by side.
        watching: whether the actions of the next step are counted.
        fit: how the actions played in declared rounds compare with the policies deployed.
    """

    fit: Fit

    def __init__(
        self,
        unshifted: R,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        adaptation_rate: float = 1.0,
    ) -> None:
        self.round_length = check_count("round_length", round_length)
        self.adaptation_rate = check_number("adaptation_rate", adaptation_rate, above=0.0, at_most=1.0)
        self._n_agents, self.is_shared = 1, False
        self._unshifted = unshifted
        self.deployment: Deployment = check_deployment(deployment)
        self.round, self._steps_observed, self._steps_lost = 0, 0, 0
        self._missing: str | None = None
        self._steps_before, self._patient = 0, True
        self._comparing = False
        self.restart()
        copies.register(self)

    def share(self, n_agents: int) -> None:
        """Let ``n_agents`` step side by side: a round then has ``round_length`` steps of each, observed together."""
        self._n_agents = check_count("n_agents", n_agents)
        self.is_shared = True

    def set_deployment(self, mode: Deployment) -> None:
        """Choose whether the world watches the actions or waits to be told."""
        if check_deployment(mode) == self.deployment:
            return
        self.deployment = mode
        if self._comparing:
            self._compare()
            self._forget()
            self._steps_observed = 0
        self._comparing = False
        self.watching = mode == "observed"
        self._missing = None

    def restart(self, seed: int = 0) -> None:
        """Go back to round 0: the unshifted world, nothing observed; ``seed`` is that of answers that are random.

        Warns:
            UserWarning: a round's worth of steps was thrown away by restarts before the world could answer once.
        """
        self._note_restart()
        self.round = 0
        self._seed = seed
        self._steps_before += self._steps_observed
        self._steps_observed = 0
        self._news: Shift | None = None
        self.watching = self.deployment == "observed"
        self._comparing = False
        self._set_dynamics(self._unshifted)

    def await_deployment(self, reason: str) -> None:
        """Warn at the next step in declared mode that the world stands unanswered, unless it is deployed to before."""
        self._missing = reason

    def step_info(self) -> dict[str, Any]:
        """Return what the info of the next step says about the world: the round and, once, the shift it began with."""
        if self._missing is not None:
            self._warn_missing()
        info: dict[str, Any] = {"round": self.round}
        if self._news is not None:
            info["shift"], info["reward_shift"] = self._news
            self._news = None
        return info

    @abstractmethod
    def deploy(self, policy: Any, response: R | None = None) -> Shift:
        """Hand a policy to the world and start the next round; return how far the world moved.

        Args:
            policy: in a form that the policy space of the world reads.
            response: the world's response to it, where the caller has it already.
        """

    @abstractmethod
    def redeploy(self) -> Shift:
        """Hand the policy deployed last to the world again, and start the next round; return how far the world moved.

        It moves if it adapts gradually or answers at random. Before any deployment the policy is the one that the world
        believes in at round 0.
        """

    def _begin_round(self, response: R) -> Shift:
        """Start the next round, in which the world has moved towards ``response``; return how far."""
        moved = response if self.adaptation_rate == 1.0 else self.dynamics.mix(response, self.adaptation_rate)
        shift = moved.shift_from(self.dynamics)
        # Everything that can fail is done: from here on the world is in the new round.
        if self._comparing and self._steps_observed:
            self._compare()
        self._forget()
        self._set_dynamics(moved)
        self._steps_before += self._steps_observed
        self._steps_observed = 0
        self.round += 1
        self._news, self._missing = shift, None
        self._steps_lost, self._patient = 0, False
        self.watching = True
        self._comparing = self.deployment == "declared"
        return shift

    def wait(self, n_steps: int) -> None:
        """Take note that ``n_steps`` were made in all of the world's life.

        Warns:
            UserWarning: once, a declared world has not been deployed to for as long as an observed round lasts.
        """
        if self.round == 0 and self._patient and self.deployment == "declared" and n_steps >= self._many_steps:
            self._patient = False
            warnings.warn(
                f"the world waits for deployments (deployment='declared') and has had none in {n_steps} steps: call "
                "deploy(policy), use agents.DeployCallback, or make it with deployment='observed'",
                stacklevel=3,
            )

    def misfit(self, close: bool = False) -> str | None:
        """Return in words how the actions played in declared rounds differ from the policies deployed.

        Args:
            close: whether another policy acts from now on, so that the rest of this round is not compared.

        Returns:
            ``None`` if they may well come from these policies.
        """
        if self._comparing:
            self._compare()
            self._forget()
            self.watching = self._comparing = not close
        return self._describe_misfit()

    @property
    def steps(self) -> int:
        """Steps watched in all of its life."""
        return self._steps_before + self._steps_observed

    @property
    def _steps_in_round(self) -> int:
        return self.round_length * self._n_agents

    @property
    def _many_steps(self) -> int:
        return max(self._steps_in_round, _PATIENCE)

    def _count_steps(self, n_steps: int) -> None:
        """Take note that ``n_steps`` were watched; in observed mode the last step of a round makes the world answer."""
        self._steps_observed += n_steps
        if self.deployment == "declared":
            self.watching = self._steps_observed < _STEPS_COMPARED
        elif self._steps_observed >= self._steps_in_round:
            self._answer_estimate()
            copies.notice(self)

    def _note_restart(self) -> None:
        if self.deployment == "declared":
            if self.round > 0:
                self._missing = "reset(seed=...) has restarted the world at round 0, so the policy deployed is gone"
            return
        self._steps_lost = self._steps_lost + self._steps_observed if self.round == 0 else 0
        if self._steps_lost >= self._many_steps:
            warnings.warn(
                f"{self._steps_lost} steps were observed and thrown away by reset(seed=...), which restarts the world: "
                f"it never answers within round_length={self.round_length} steps. Pass a seed to the first reset only",
                stacklevel=4,
            )
            self._steps_lost = 0

    def _warn_missing(self) -> None:
        reason, self._missing = self._missing, None
        warnings.warn(
            f"{reason}: what is played now meets the unshifted world. Deploy first: world.deploy(policy), or "
            "agents.deploy(model)",
            stacklevel=4,
        )

    @abstractmethod
    def _compare(self) -> None:
        """Add the actions counted to the fit to the policy deployed."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget the actions counted."""

    @abstractmethod
    def _describe_misfit(self) -> str | None:
        """Say how the actions differ from the policies deployed, if they do."""

    @abstractmethod
    def _answer_estimate(self) -> None:
        """Start the next round with the policy estimated from what was observed."""

    def _set_dynamics(self, dynamics: R) -> None:
        self.dynamics = dynamics
        self.sampler = self._make_sampler(dynamics)

    @abstractmethod
    def _make_sampler(self, dynamics: R) -> Any:
        """Return ``dynamics`` ready to be drawn from."""


def check_deployment(mode: Deployment) -> Deployment:
    """Return a mode of deployment, or raise ``ValueError``."""
    check_choice("deployment", mode, ("observed", "declared"))
    return mode
