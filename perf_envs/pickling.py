"""Tensors that go to other processes as copies.

Torch hands tensors to another process by moving their memory into shared memory. Numpy arrays that view the old memory
(those that worlds are stepped with) are left behind with garbage: a world in a process of its own
(Stable-Baselines3's ``SubprocVecEnv``) would go wrong in silence once it is asked for its ``problem``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class _Array(NamedTuple):
    """What stands for a tensor in a pickle."""

    values: NDArray[Any]


class PickledByValue:
    """An object whose tensors, held directly or in mappings, are pickled as arrays and come back without history."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: _packed(value) for name, value in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: _unpacked(value) for name, value in state.items()})


def _packed(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _Array(value.detach().numpy())
    if isinstance(value, Mapping):
        return {name: _packed(part) for name, part in value.items()}
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, _Array):
        return torch.from_numpy(np.array(value.values))
    if isinstance(value, Mapping):
        return {name: _unpacked(part) for name, part in value.items()}
    return value
