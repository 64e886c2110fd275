"""The state indices of a tabular world's sub-environments, where observations do not show them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.common.queries import read_states


class StateRecorder(VecEnvWrapper):
    """Hands everything on and notes the state in which every step is taken."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self._visited: list[NDArray[np.int64]] = []

    def forget(self) -> None:
        """Start a new record."""
        self._visited = []

    @property
    def visited(self) -> NDArray[np.int64]:
        """The states since :meth:`forget`, ``[steps, n]``."""
        return np.stack(self._visited)

    def reset(self) -> VecEnvObs:
        """Reset all sub-environments."""
        return self.venv.reset()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Note the states and pass the actions on."""
        self._visited.append(read_states(self.venv))
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step."""
        return self.venv.step_wait()
