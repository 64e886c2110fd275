"""The scalar Gymnasium environment shared by all tabular performative worlds."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from perf_envs.deployment import Deployment, World, policy_table
from perf_envs.dynamics import Dynamics, Shift
from perf_envs.problem import PerformativeMDP
from perf_envs.sampling import cumulative
from perf_envs.validation import check_choice


class PerformativeEnv(gym.Env[Any, Any]):
    """A Gymnasium environment whose dynamics answer the deployed policy.

    Observation and action are the indices of state and action (``Discrete``). Absorbing states terminate the episode.

    ``reset(seed=k)`` restarts the world at round 0 and replays exactly; ``reset()`` keeps the world as it has become.

    Info, from ``reset`` and ``step``: ``round``, the number of deployments so far; on the first step of a round also
    ``shift`` and ``reward_shift``, how far ``P`` and ``r`` moved (:class:`perf_envs.dynamics.Shift`).

    Args:
        problem: the performative Markov decision process behind the world.
        deployment: ``"observed"`` or ``"declared"``, see :class:`perf_envs.deployment.World`.
        round_length: steps in an observed round, see :class:`perf_envs.deployment.World`.
        adaptation_rate: share of the world that answers a deployment at once.
        render_mode: one of ``metadata["render_modes"]`` or ``None``.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        problem: PerformativeMDP,
        *,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        adaptation_rate: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.problem = problem
        self.world = World(problem, deployment, round_length, adaptation_rate)
        self.observation_space = spaces.Discrete(problem.n_states)
        self.action_space = spaces.Discrete(problem.n_actions)
        self.render_mode = render_mode
        self.state = 0
        self._start = cumulative(problem.rho.numpy())
        self._absorbing = self.world.dynamics.absorbing.numpy()
        self._ends: list[bool] = self._absorbing.tolist()  # the same, for one state at a time
        self._needs_reset = True
        self._renderer: Any = None

    # -- the performative side ------------------------------------------------------------------------------------

    @property
    def n_states(self) -> int:
        """Number of states."""
        return self.problem.n_states

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return self.problem.n_actions

    @property
    def gamma(self) -> float:
        """The world's own discount."""
        return self.problem.gamma

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """Start distribution ``[S]``, a copy."""
        return self.problem.rho.numpy().copy()

    @property
    def dynamics(self) -> Dynamics:
        """The dynamics in force."""
        return self.world.dynamics

    @property
    def round(self) -> int:
        """Number of deployments so far."""
        return self.world.round

    @property
    def query_observations(self) -> NDArray[np.int64]:
        """The observation of every state, ``[S]``: where a deployed policy is asked for its action probabilities."""
        return np.arange(self.n_states)

    def set_deployment(self, mode: Deployment) -> None:
        """Switch between ``"observed"`` and ``"declared"`` deployments; the world itself stays as it is."""
        self.world.set_deployment(mode)

    def deploy(self, policy: Any) -> Shift:
        """Deploy a policy: the world answers and a new round starts.

        Works in both deployment modes; in observed mode it also restarts the count of observed steps.

        Args:
            policy: table ``[S, A]``, callable ``observation -> probabilities``, or Stable-Baselines3 model.

        Returns:
            How far the world moved.

        Raises:
            ValueError: not a policy, wrong shape, NaN, negative or unnormalised rows; the world is left as it was.
        """
        return self.world.deploy(policy_table(policy, self.query_observations, self.n_actions))

    # -- the Gymnasium side ---------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; with a seed, restart the world at round 0 as well. There are no options."""
        super().reset(seed=seed)
        if seed is not None:
            self.world.restart()
        self.state = int(self._start.searchsorted(self.np_random.random(), side="right"))
        self._needs_reset = False
        self._last: dict[str, Any] = {}
        if self.render_mode == "human":
            self.render()
        return self.state, {"round": self.world.round}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Make one step in the dynamics in force.

        Raises:
            ValueError: not an action.
            gymnasium.error.ResetNeeded: no episode was started, or it has ended.
        """
        try:
            chosen = int(action)
        except (TypeError, ValueError, OverflowError):
            chosen = -1
        world = self.world
        if not 0 <= chosen < world.problem.n_actions or chosen != action:
            raise ValueError(f"action must be in 0..{self.n_actions - 1}, got {action!r}")
        if self._needs_reset:
            raise ResetNeeded("step() was called before reset(), or after the episode had ended: call reset() first")
        state, info = self.state, world.step_info()
        self.state, reward, outcome = world.sampler.step(state, chosen, self.np_random.random())
        world.observe(state, chosen)
        info |= self._describe(state, chosen, outcome)
        if self.render_mode is not None:
            self._last = {"state": state, "action": chosen, "reward": reward, **info}
            if self.render_mode == "human":
                self.render()
        terminated = self._needs_reset = self._ends[self.state]
        return self.state, reward, terminated, False, info

    def _describe(self, state: Any, action: Any, outcome: Any) -> dict[str, Any]:
        """Return the world's own info about a step, or about ``n`` steps given as arrays."""
        return {}

    def render(self) -> Any:
        """Draw the world: a string (``ansi``), an RGB array (``rgb_array``), or a window (``human``)."""
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: gym.make(..., render_mode='rgb_array')")
            return None
        if self._renderer is None:
            self._renderer = self._make_renderer()
        return self._renderer.render(self.render_mode)

    def _make_renderer(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
