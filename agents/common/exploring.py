"""The random actions that an off-policy algorithm takes in training beside those of its policy."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Points of a schedule that are averaged.
_POINTS = 16


def random_share(model: Any, n_steps: int) -> float:
    """Return the share of uniformly random actions in the next ``n_steps`` of a training of all agents together.

    All of them before ``learning_starts``, then those of an epsilon-greedy policy (DQN, QR-DQN), whose share may fall
    along the training. Noise that is added to continuous actions is not counted: its mean is 0.
    """
    before = getattr(model, "learning_starts", 0) - model.num_timesteps
    warm_up = float(np.clip(before / n_steps, 0.0, 1.0))
    schedule = getattr(model, "exploration_schedule", None)
    if schedule is None or warm_up == 1.0:
        return warm_up
    steps = model.num_timesteps + n_steps * (warm_up + (1.0 - warm_up) * np.linspace(0.0, 1.0, _POINTS))
    progress = np.maximum(1.0 - steps / max(model._total_timesteps, 1), 0.0)
    return warm_up + (1.0 - warm_up) * float(np.mean([schedule(remaining) for remaining in progress]))
