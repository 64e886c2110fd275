"""Which spaces agents read as they are meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

Space = spaces.Space[Any]


def check_spaces(observation_space: Space, action_space: Space) -> None:
    """Raise ``ValueError`` if an index of a space does not count from 0.

    Stable-Baselines3 takes the ``n`` values of ``Discrete`` and ``MultiDiscrete`` spaces for ``0..n-1``: it would show
    an agent another observation, or none, and hand on another action than the one meant.
    """
    for name, space in (("observation_space", observation_space), ("action_space", action_space)):
        for part in _parts(space):
            if np.any(part.start):
                of_it = "" if part is space else f", a part of {space}"
                raise ValueError(
                    f"{name} must count from 0, got {part}{of_it}: shift it with a wrapper "
                    "(gymnasium.wrappers.TransformObservation, TransformAction)"
                )


def _parts(space: Space) -> Iterator[spaces.Discrete | spaces.MultiDiscrete]:
    """Yield what counts in a space."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        yield space
    elif isinstance(space, spaces.Dict):
        for part in space.values():
            yield from _parts(part)
    elif isinstance(space, spaces.Tuple):
        for part in space:
            yield from _parts(part)
