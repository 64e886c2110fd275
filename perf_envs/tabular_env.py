"""The scalar Gymnasium environment shared by all tabular performative worlds."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from perf_envs.dynamics import Dynamics
from perf_envs.env import RESET_FIRST, WorldEnv
from perf_envs.perception import Wrapping, wrap_response
from perf_envs.problem import PerformativeMDP
from perf_envs.rounds import Deployment
from perf_envs.tabular_rounds import TabularRounds


class PerformativeEnv(WorldEnv):
    """A Gymnasium environment whose dynamics respond to the deployed policy.

    Observation and action are the indices of state and action (``Discrete``). Absorbing states terminate the episode.

    ``reset(seed=k)`` restarts the world at round 0 and replays exactly; ``reset()`` keeps the world as it has become.

    Info, from ``reset`` and ``step``: ``round``, the number of deployments so far; on the first step of a round also
    ``shift`` and ``reward_shift``, how far ``P`` and ``r`` moved (:class:`perf_envs.dynamics.Shift`).

    Args:
        problem: the performative Markov decision process behind the world.
        deployment: ``"observed"`` or ``"declared"``, see :class:`perf_envs.tabular_rounds.TabularRounds`.
        round_length: steps in an observed round, see :class:`perf_envs.tabular_rounds.TabularRounds`.
        adaptation_rate: share of the world that answers a deployment at once.
        response_wrapper: makes the answer piecewise linear, quantised or noisy: a name, a dictionary such as
            ``{"name": "quantised", "levels": 5}``, or a list of these (:mod:`perf_envs.perception`).
        render_mode: one of ``metadata["render_modes"]`` or ``None``.
    """

    _problem: PerformativeMDP
    rounds: TabularRounds

    def __init__(
        self,
        problem: PerformativeMDP,
        *,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        adaptation_rate: float = 1.0,
        response_wrapper: Wrapping | None = None,
        render_mode: str | None = None,
    ) -> None:
        problem = wrap_response(problem, response_wrapper)
        rounds = TabularRounds(problem, deployment, round_length, adaptation_rate)
        super().__init__(
            problem,
            rounds,
            problem.rho.numpy(),
            rounds.dynamics.absorbing.numpy(),
            spaces.Discrete(problem.n_states),
            spaces.Discrete(problem.n_actions),
            render_mode,
        )

    # -- the performative side ------------------------------------------------------------------------------------

    @property
    def n_states(self) -> int:
        """Number of states."""
        return self._problem.n_states

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return self._problem.n_actions

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """Start distribution ``[S]``, a copy."""
        return self._problem.rho.numpy().copy()

    @property
    def dynamics(self) -> Dynamics:
        """The dynamics in force."""
        return super().dynamics  # type: ignore[no-any-return]

    @property
    def problem(self) -> PerformativeMDP:
        """The performative Markov decision process behind the world."""
        return super().problem  # type: ignore[no-any-return]

    # -- the Gymnasium side ---------------------------------------------------------------------------------------

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
        rounds = self.rounds
        if not 0 <= chosen < rounds.problem.n_actions or chosen != action:
            raise ValueError(f"action must be in 0..{self.n_actions - 1}, got {action!r}")
        if self._needs_reset:
            raise ResetNeeded(RESET_FIRST)
        state, info = self.state, rounds.step_info()
        self.state, reward, outcome = rounds.sampler.step(state, chosen, self.np_random.random())
        self._action, self._reward = chosen, reward
        self._n_steps += 1
        rounds.observe(state, chosen)
        info |= self._describe(state, chosen, outcome)
        if self.render_mode is not None:
            self._after_step({"state": state, "action": chosen, "reward": reward, **info})
        terminated = self._needs_reset = self._ends[self.state]
        return self.state, reward, terminated, False, info
