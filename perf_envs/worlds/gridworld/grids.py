"""Grids of landing rewards: the published one, reading users' own, and how followers misperceive them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perf_envs.validation import check_choice

Floats = NDArray[np.float64]
GridLike = str | Sequence[str] | Sequence[Sequence[float]] | Floats

#: What landing on a cell pays, by the character it is written with. Cells that pay more than 0 are goals.
CELLS = {".": -0.01, "F": -0.02, "H": -0.5, "G": 1.0}

GRIDS: dict[str, tuple[str, ...]] = {
    # Mandal, Triantafyllou and Radanovic, "Performative Reinforcement Learning", ICML 2023.
    "mandal8x8": ("........", "..F.H...", "...H..F.", ".F...H.F", "...H..F.", ".HH.F.H.", ".H..H.H.", "...H.F.G"),
    "small4x4": ("....", ".H.F", "...H", "F..G"),
}

#: Row and column step of the moves left, right, up, down.
MOVES = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])


def read_grid(grid: GridLike | None, name: str = "grid") -> Floats:
    """Return landing rewards ``[rows, columns]`` from a grid in any accepted form.

    Args:
        grid: ``None`` (the published grid), a name in :data:`GRIDS`, rows of characters (:data:`CELLS`), or an array of
            landing rewards.
        name: the argument's name in error messages.

    Raises:
        ValueError: unknown name or character, empty or ragged rows, rewards that are not finite, or no goal.
    """
    if grid is None:
        grid = "mandal8x8"
    if isinstance(grid, str):
        grid = GRIDS[check_choice(name, grid, GRIDS)]
    try:
        rows = list(grid)
    except TypeError:
        rows = []
    if not rows:
        raise ValueError(f"{name} must be a non-empty sequence of rows, got {grid!r}")
    read = [_read_row(row, index, name) for index, row in enumerate(rows)]
    lengths = [len(row) for row in read]
    if 0 in lengths or len(set(lengths)) > 1:
        raise ValueError(f"{name} must have rows of one length, at least 1, got lengths {lengths}")
    rewards = np.stack(read)
    if not np.isfinite(rewards).all():
        row, column = np.argwhere(~np.isfinite(rewards))[0]
        raise ValueError(f"{name} at row {row}, column {column} must be finite, got {rewards[row, column]}")
    return rewards


def check_goal(rewards: Floats) -> NDArray[np.bool_]:
    """Return which cells are goals, ``[rows, columns]``; raise ``ValueError`` if none is."""
    goals = rewards > 0.0
    if not goals.any():
        raise ValueError(
            f"grid must have a goal (a cell that pays more than 0), but the largest landing reward is {rewards.max()}"
        )
    return np.asarray(goals)


def start_cells(goals: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells an episode may start in: first row and first column, goals excepted."""
    border = np.zeros_like(goals)
    border[0], border[:, 0] = True, True
    starts = border & ~goals
    if not starts.any():
        raise ValueError("grid must have a cell in its first row or column that is not a goal: episodes start there")
    return np.asarray(starts)


def next_states(goals: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return ``[S, 4]``: the cell (row-major) reached by each move. Walls hold the agent back, goals keep it."""
    shape = goals.shape
    cells = np.argwhere(np.ones(shape, dtype=bool))
    reached = np.clip(cells[:, None, :] + MOVES, 0, np.array(shape) - 1)
    states = np.where(
        goals.reshape(-1, 1), np.arange(goals.size)[:, None], reached[..., 0] * shape[1] + reached[..., 1]
    )
    return states.astype(np.int64)


def perturbed_grids(rewards: Floats, goals: NDArray[np.bool_], n_followers: int, epsilon: float) -> Floats:
    """Return ``[F, rows, columns]``: the grid as each follower sees it.

    Follower ``i`` draws from ``default_rng(i)``; each cell outside the first row, the first column and the goals is
    redrawn with probability ``epsilon`` from the values that occur in the grid. The order of the draws is that of the
    published experiments, so the published grids come out.
    """
    values = np.unique(rewards[~goals])
    goal_values = np.flatnonzero(goals)
    border = np.zeros_like(goals)
    border[0], border[:, 0] = True, True
    seen = np.tile(rewards, (n_followers, 1, 1))
    for follower, grid in enumerate(seen.reshape(n_followers, -1)):
        rng = np.random.default_rng(follower)
        redrawn = (rng.random(goals.size) <= epsilon) & ~border.ravel()
        for cell in np.flatnonzero(redrawn):
            grid[cell] = rng.choice(values)  # drawn for goals too, and then put back: the published order of draws
        grid[goal_values] = rewards.ravel()[goal_values]
    return seen


def _read_row(row: str | Sequence[float] | Floats, index: int, name: str) -> Floats:
    if isinstance(row, str):
        unknown = sorted(set(row) - set(CELLS))
        if unknown:
            raise ValueError(
                f"{name} at row {index} must use the cells {' '.join(CELLS)}, got {unknown[0]!r} in {row!r}"
            )
        return np.array([CELLS[cell] for cell in row])
    try:
        rewards = np.array(row, dtype=np.float64)
    except (TypeError, ValueError):
        rewards = np.array(np.nan)
    if rewards.ndim != 1:
        raise ValueError(f"{name} at row {index} must be a sequence of numbers, got {row!r}")
    return rewards
