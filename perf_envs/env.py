"""What all performative environments share on Gymnasium's side, whatever their states and actions are."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from perf_envs import copies
from perf_envs.dynamics import Shift
from perf_envs.policies.base import PolicySpace
from perf_envs.problem import Problem
from perf_envs.rounds import Deployment, Rounds
from perf_envs.sampling import cumulative
from perf_envs.validation import check_choice

#: How a world that brings a renderer can be drawn.
RENDER_MODES = ("human", "rgb_array", "ansi")
#: What is said of a step without an episode.
RESET_FIRST = "step() was called before reset(), or after the episode had ended: call reset() first"


class Played(NamedTuple):
    """The last step as the world took it, whatever wrappers make of it; ``[n]`` where ``n`` agents share the world."""

    n_steps: int
    """Steps made so far."""
    action: Any
    """What was done, ``[n]`` or ``[n, d]``; the index, or the normalised action after clipping."""
    reward: Any
    """What was paid."""


@runtime_checkable
class Performative(Protocol):
    """What makes an environment performative. That its response is known (``problem``) is no part of it.

    Environments of others need no more than ``deploy``; what else of this they have is used.
    """

    @property
    def round(self) -> int:
        """Number of deployments so far."""

    @property
    def policies(self) -> PolicySpace[Any]:
        """The policies that can be deployed."""

    def deploy(self, policy: Any) -> Shift:
        """Deploy a policy: the environment responds and a new round starts; return how far it moved."""

    def redeploy(self) -> Shift:
        """Deploy the policy deployed last again."""

    def set_deployment(self, mode: Deployment) -> None:
        """Choose whether the environment watches the actions or waits to be told."""


class WorldEnv(gym.Env[Any, Any]):
    """A Gymnasium environment around a world: rounds, seeds, rendering.

    States are numbered. Subclasses implement :meth:`step` and, where the number is not what the agent sees,
    ``_observation``. A subclass that implements ``_make_renderer`` can be drawn, in the modes of
    :class:`perf_envs.rendering.renderer.Renderer`; one that does not offers no render modes.

    Args:
        problem: what is known about the world.
        rounds: what remembers the deployments.
        start: start distribution over the states, ``[S]``.
        absorbing: whether a state ends the episode, ``[S]``.
        observation_space: of one agent.
        action_space: of one agent.
        render_mode: one of ``metadata["render_modes"]`` or ``None``.
    """

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 4}  # noqa: RUF012

    _problem: Problem[Any]
    #: Whether somebody has asked for the response map, or for what is in force: a benchmark tells who did.
    response_asked: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Offer the renderer's modes where a subclass brings a renderer and does not say itself what it offers."""
        super().__init_subclass__(**kwargs)
        if "_make_renderer" in vars(cls) and "metadata" not in vars(cls):
            cls.metadata = {**cls.metadata, "render_modes": list(RENDER_MODES)}

    def __init__(
        self,
        problem: Problem[Any],
        rounds: Rounds[Any],
        start: NDArray[np.float64],
        absorbing: NDArray[np.bool_],
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        render_mode: str | None = None,
    ) -> None:
        self._check_render_mode(render_mode)
        self._problem, self.rounds = problem, rounds
        self.response_asked = False
        self.observation_space = observation_space
        self.action_space = action_space
        self.render_mode = render_mode
        self.state = 0
        self._start = cumulative(start)
        self._absorbing = absorbing
        self._ends: list[bool] = absorbing.tolist()  # the same, for one state at a time
        self._needs_reset = True
        self._last: dict[str, Any] = {}
        self._n_steps = 0
        self._action: Any = None
        self._reward: Any = None
        self._renderer: Any = None

    @property
    def round(self) -> int:
        """Number of deployments so far."""
        return self.rounds.round

    def set_deployment(self, mode: Deployment) -> None:
        """Switch between ``"observed"`` and ``"declared"`` deployments; the world itself stays as it is."""
        self.rounds.set_deployment(mode)

    @property
    def adaptation_rate(self) -> float:
        """Share of the world that responds to a deployment at once."""
        return self.rounds.adaptation_rate

    @property
    def gamma(self) -> float:
        """The world's own discount."""
        return self._problem.gamma

    @property
    def problem(self) -> Any:
        """What is known about the world, its response map first of all (:class:`perf_envs.problem.Problem`)."""
        self.response_asked = True
        return self._problem

    @property
    def dynamics(self) -> Any:
        """What is in force: the dynamics of a tabular world, the demand of a market."""
        self.response_asked = True
        return self.rounds.dynamics

    @property
    def policies(self) -> PolicySpace[Any]:
        """The policies that can be deployed."""
        return self._problem.policies

    @property
    def query_observations(self) -> Any:
        """What an agent sees in every state, ``[Q, ...]``, a copy: where a deployed policy is asked what it does."""
        return self.policies.observations.copy()

    def deploy(self, policy: Any, response: Any = None) -> Shift:
        """Deploy a policy: the world responds and a new round starts.

        Works in both deployment modes; in observed mode it also restarts the count of observed steps.

        Args:
            policy: in any form that :attr:`policies` reads, such as a table ``[S, A]``, a callable
                ``observation -> probabilities``, or a Stable-Baselines3 model.
            response: ``problem.response(policy)``, where it is known already.

        Returns:
            How far the world moved.

        Raises:
            ValueError: not a policy, wrong shape, NaN, negative or unnormalised rows, prices out of range; the world is
                left as it was.
        """
        shift: Shift = self.rounds.deploy(self.policies.read(policy), response)
        return shift

    def redeploy(self) -> Shift:
        """Hand the policy deployed last to the world again: a new round starts; return how far the world moved."""
        return self.rounds.redeploy()

    @property
    def played(self) -> Played:
        """The last step: for those who want to know whether what reaches the world is what an agent does."""
        return Played(self._n_steps, self._action, self._reward)

    def await_deployment(self, reason: str) -> None:
        """Warn at the next step under declared deployments that nothing is deployed, unless something is before."""
        self.rounds.await_deployment(reason)

    def misfit(self, close: bool = False) -> str | None:
        """Return in words how the actions played under declared deployments differ from the policies deployed.

        A wrapper that gives actions or states another meaning, or an agent that explores beyond the policy it has
        deployed, makes the world answer a policy that nobody plays.

        Args:
            close: whether another policy acts from now on, so that the rest of this round is not compared.

        Returns:
            ``None`` if the actions may well come from these policies (:mod:`perf_envs.fit`).
        """
        return self.rounds.misfit(close)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; with a seed, restart the world at round 0 as well. There are no options."""
        super().reset(seed=seed)
        self.rounds.wait(self._n_steps)
        if not self._n_steps:
            copies.begin(self.rounds)
        if seed is not None:
            self.rounds.restart(seed)
        self.state = int(self._start.searchsorted(self.np_random.random(), side="right"))
        self._needs_reset = False
        self._last = {}
        if self.render_mode == "human":
            self.render()
        return self._observation(self.state), {"round": self.rounds.round}

    def _observation(self, state: Any) -> Any:
        """Return what the agent sees of a state, or of ``n`` states given as an array."""
        return state

    def _describe(self, state: Any, action: Any, outcome: Any) -> dict[str, Any]:
        """Return the world's own info about a step, or about ``n`` steps given as arrays."""
        return {}

    def render(self) -> Any:
        """Draw the world: a string (``ansi``), an RGB array (``rgb_array``), or a window (``human``).

        Raises:
            NotImplementedError: a subclass offers render modes but brings no renderer.
        """
        if self.render_mode is None:
            why = "without a render_mode: gym.make(..., render_mode='rgb_array')"
            if not self.metadata["render_modes"]:
                why = f"here: {type(self).__name__} has no render modes"
            gym.logger.warn(f"render() does nothing {why}")
            return None
        if self._renderer is None:
            self._renderer = self._make_renderer()
        return self._renderer.render(self.render_mode)

    def _make_renderer(self) -> Any:
        """Return what draws this world: a :class:`perf_envs.rendering.renderer.Renderer`."""
        raise NotImplementedError(
            f"{type(self).__name__} offers the render modes {self.metadata['render_modes']} but has nothing to draw "
            "them with: implement _make_renderer(), which returns a perf_envs.rendering.renderer.Renderer, or render()"
        )

    @classmethod
    def _check_render_mode(cls, mode: str | None) -> None:
        """Raise ``ValueError`` where this world cannot be drawn in that mode."""
        if mode is None:
            return
        if not cls.metadata["render_modes"]:
            raise ValueError(f"render_mode must be None: {cls.__name__} draws nothing; got {mode!r}")
        check_choice("render_mode", mode, cls.metadata["render_modes"])

    def _after_step(self, last: dict[str, Any]) -> None:
        """Remember a step for the picture and, in a window, draw it."""
        self._last = last
        if self.render_mode == "human":
            self.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
