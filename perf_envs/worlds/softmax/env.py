"""SoftmaxPeMDP-v0: random worlds of the family in which the theory is stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from perf_envs.perception import Wrapping
from perf_envs.problem import PerformativeMDP
from perf_envs.rounds import Deployment
from perf_envs.tabular_env import PerformativeEnv
from perf_envs.validation import check_count
from perf_envs.vector import PerformativeVectorEnv
from perf_envs.worlds.softmax.response import SoftmaxResponse


class SoftmaxPeMDP(PerformativeEnv):
    """A random world whose transitions and rewards tilt with the probability the policy gives to an action.

    ``P_pi(s'|s,a)`` is proportional to ``P0(s'|s,a) exp(kappa psi(s') pi(a|s))`` and ``r_pi = r0 + xi pi(a|s)``.

    ## Action Space
    ``Discrete(n_actions)``.

    ## Observation Space
    ``Discrete(n_states)``.

    ## Starting State
    Uniform.

    ## Rewards
    ``r_pi(s, a)``.

    ## Episode End
    No termination; truncation after 100 steps (``max_episode_steps``).

    ## Information
    ``round``, ``shift`` and ``reward_shift`` as in :class:`PerformativeEnv`.

    ## Arguments
    * ``n_states=10``, ``n_actions=4``: size.
    * ``n_successors=None``: states that can follow a state and action, drawn at random; ``None`` for all of them. Large
      worlds need few.
    * ``kappa=1.0``, ``xi=0.5``: how strongly transitions and rewards answer; ``xi`` may be negative (crowding out).
    * ``instance_seed=0``: the instance; logits of ``P0`` and ``psi`` are standard normal, ``r0`` is uniform in [0, 1].
    * ``gamma=0.9``: discount.
    * ``adaptation_rate``, ``deployment``, ``round_length``, ``response_wrapper``, ``render_mode``: see
      :class:`PerformativeEnv`.

    ## References
    Basu, Das, Driss and Mukherjee, "Performative Policy Gradient", arXiv 2512.20576.

    ## Version History
    * v0: initial version.
    """

    def __init__(
        self,
        n_states: int = 10,
        n_actions: int = 4,
        kappa: float = 1.0,
        xi: float = 0.5,
        instance_seed: int = 0,
        gamma: float = 0.9,
        n_successors: int | None = None,
        adaptation_rate: float = 1.0,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        response_wrapper: Wrapping | None = None,
        render_mode: str | None = None,
    ) -> None:
        n_states = check_count("n_states", n_states)
        n_actions = check_count("n_actions", n_actions)
        rng = np.random.default_rng(check_count("instance_seed", instance_seed, at_least=0))
        width = n_states if n_successors is None else check_count("n_successors", n_successors)
        if width > n_states:
            raise ValueError(f"n_successors must be <= n_states = {n_states}, got {n_successors!r}")
        logits = rng.standard_normal((n_states, n_actions, width))
        psi = rng.standard_normal(n_states)
        rewards = rng.random((n_states, n_actions))
        successors = None if n_successors is None else _draw_successors(rng, n_states, n_actions, width)
        response = SoftmaxResponse(
            torch.from_numpy(logits), torch.from_numpy(psi), torch.from_numpy(rewards), kappa, xi, successors
        )
        super().__init__(
            PerformativeMDP(response, np.full(n_states, 1.0 / n_states), gamma),
            deployment=deployment,
            round_length=round_length,
            adaptation_rate=adaptation_rate,
            response_wrapper=response_wrapper,
            render_mode=render_mode,
        )

    def _make_renderer(self) -> Any:
        from perf_envs.worlds.softmax.render import MatrixRenderer

        return MatrixRenderer(self)


def _draw_successors(rng: np.random.Generator, n_states: int, n_actions: int, width: int) -> torch.Tensor:
    """Return ``[S, A, K]`` different successors per state and action: a random start, then random strides apart."""
    strides = rng.integers(1, max(1, (n_states - 1) // width) + 1, size=(n_states, n_actions, width))
    strides[..., 0] = rng.integers(n_states, size=(n_states, n_actions))
    return torch.from_numpy(np.cumsum(strides, axis=-1) % n_states)


class SoftmaxPeMDPVectorEnv(PerformativeVectorEnv):
    """Many walkers in one random world, see :class:`PerformativeVectorEnv`."""

    world_class = SoftmaxPeMDP
