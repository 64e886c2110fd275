"""PerformativeGridWorld-v0: a grid whose followers learn the agent's policy and override its moves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_envs.perception import Wrapping
from perf_envs.problem import PerformativeMDP
from perf_envs.rounds import Deployment
from perf_envs.tabular_env import PerformativeEnv
from perf_envs.validation import check_count, check_number
from perf_envs.vector import PerformativeVectorEnv
from perf_envs.worlds.gridworld.grids import GridLike, check_goal, next_states, perturbed_grids, read_grid, start_cells
from perf_envs.worlds.gridworld.response import NO_INTERVENTION, FollowerResponse


class PerformativeGridWorld(PerformativeEnv):
    """The agent walks to the goal while followers, who see other hazards than it does, may move it elsewhere.

    ## Action Space
    ``Discrete(4)``: 0 left, 1 right, 2 up, 3 down. Moves into a wall leave the agent where it is. The followers replace
    the move with a probability that depends on the cell and on the deployed policy.

    ## Observation Space
    ``Discrete(rows * columns)``: the cell, row-major.

    ## Starting State
    A cell of the first row or column, uniformly.

    ## Rewards
    The landing cell pays: -0.01 (plain), -0.02 (``F``), -0.5 (hazard, ``H``), +1 (goal, ``G``). The cost of an
    intervention is the follower's, not the agent's.

    ## Episode End
    Termination in a goal; truncation after 100 steps (``max_episode_steps``), as in the published experiments.

    ## Information
    ``round``, ``shift`` and ``reward_shift`` as in :class:`PerformativeEnv`; ``intervention``: whether a follower made
    the move of this step.

    ## Arguments
    * ``beta=10.0``: inverse temperature of the followers' answer. Large: they intervene where they gain most.
    * ``n_followers=50``, ``epsilon=0.3``: how many followers, and the probability that a cell looks different to one.
    * ``gamma=0.9``: discount of agent and followers.
    * ``grid=None``: name (``"mandal8x8"``, ``"small4x4"``), rows of characters ``. F H G``, or array of landing rewards
      in which positive cells are goals.
    * ``follower_grids=None``: array ``[F, rows, columns]`` of the rewards each follower sees, instead of
      ``n_followers`` grids perturbed with ``epsilon``.
    * ``intervention_cost=0.05``: what an intervention costs a follower.
    * ``adaptation_rate``, ``deployment``, ``round_length``, ``response_wrapper``, ``render_mode``: see
      :class:`PerformativeEnv`.

    ## References
    Mandal, Triantafyllou and Radanovic, "Performative Reinforcement Learning", ICML 2023.

    ## Version History
    * v0: initial version.
    """

    def __init__(
        self,
        beta: float = 10.0,
        n_followers: int = 50,
        epsilon: float = 0.3,
        gamma: float = 0.9,
        grid: GridLike | None = None,
        follower_grids: Any = None,
        intervention_cost: float = 0.05,
        adaptation_rate: float = 1.0,
        deployment: Deployment = "observed",
        round_length: int = 1000,
        response_wrapper: Wrapping | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.grid = read_grid(grid)
        self.goals = check_goal(self.grid)
        starts = start_cells(self.goals).ravel()
        if follower_grids is None:
            n_followers = check_count("n_followers", n_followers)
            epsilon = check_number("epsilon", epsilon, at_least=0.0, at_most=1.0)
            self.follower_grids = perturbed_grids(self.grid, self.goals, n_followers, epsilon)
        else:
            self.follower_grids = _read_follower_grids(follower_grids, self.grid.shape)
        response = FollowerResponse(
            next_states(self.goals),
            self.grid.ravel(),
            self.follower_grids.reshape(len(self.follower_grids), -1),
            self.goals.ravel(),
            beta=beta,
            gamma=gamma,
            intervention_cost=intervention_cost,
        )
        super().__init__(
            PerformativeMDP(response, starts / starts.sum(), gamma),
            deployment=deployment,
            round_length=round_length,
            adaptation_rate=adaptation_rate,
            response_wrapper=response_wrapper,
            render_mode=render_mode,
        )

    def _describe(self, state: Any, action: Any, outcome: Any) -> dict[str, Any]:
        return {"intervention": outcome != NO_INTERVENTION}

    def _make_renderer(self) -> Any:
        from perf_envs.worlds.gridworld.render import GridWorldRenderer

        return GridWorldRenderer(self)


class PerformativeGridWorldVectorEnv(PerformativeVectorEnv):
    """Many agents in one performative gridworld, see :class:`PerformativeVectorEnv`."""

    world_class = PerformativeGridWorld


def _read_follower_grids(grids: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    seen = [
        read_grid(grid, f"follower_grids[{index}]") for index, grid in enumerate(grids if np.iterable(grids) else [])
    ]
    if not seen:
        raise ValueError(f"follower_grids must hold at least one grid, got {grids!r}")
    for index, grid in enumerate(seen):
        if grid.shape != shape:
            raise ValueError(f"follower_grids[{index}] must have the shape of the grid, {shape}, got {grid.shape}")
    return np.stack(seen)
