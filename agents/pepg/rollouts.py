"""Reading a rollout buffer: times of visits, and batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import Tensor

from agents.pepg.batches import PePGBatch


class SeenRewards(VecEnvWrapper):
    """Hands everything on, and keeps the lowest and the highest reward.

    Args:
        venv: the environment.
        seen: lowest and highest reward so far.
    """

    def __init__(self, venv: VecEnv, seen: tuple[float, float]) -> None:
        super().__init__(venv)
        self.range = seen

    def reset(self) -> VecEnvObs:
        """Reset all sub-environments."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step."""
        observations, rewards, dones, infos = self.venv.step_wait()
        low, high = self.range
        self.range = min(low, float(rewards.min())), max(high, float(rewards.max()))
        return observations, rewards, dones, infos


def visit_times(starts: NDArray[np.bool_], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time within its episode of every visit ``[steps, n]``.

    Args:
        starts: whether an episode starts with this visit, ``[steps, n]``.
        before: time of the last visit before the rollout, ``[n]``.
    """
    times = np.empty(starts.shape, dtype=np.int64)
    for step, start in enumerate(starts):
        before = times[step] = np.where(start, 0, before + 1)
    return times


def flatten(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return ``[steps, n]`` in the order of a flattened buffer: one sub-environment after the other."""
    return values.swapaxes(0, 1).ravel()


def batches(
    buffer: RolloutBuffer, weights: Tensor, states: Tensor | None, n_epochs: int, batch_size: int | None, indexed: bool
) -> Iterator[PePGBatch]:
    """Yield the mini-batches of all passes over the round; a whole round comes in the order it was collected.

    Args:
        buffer: a full buffer of ``N`` visits.
        weights: of the visits, ``[N]``.
        states: of the visits, ``[N]``, if they were recorded.
        n_epochs: number of passes.
        batch_size: size of a mini-batch; ``None`` for a whole round.
        indexed: whether observations are the indices of states.
    """
    size = buffer.buffer_size * buffer.n_envs
    discrete = isinstance(buffer.action_space, spaces.Discrete)
    next(buffer.get(1))  # flattens the buffer; the sample it draws is not used
    for _ in range(n_epochs):
        order = np.random.permutation(size) if batch_size else np.arange(size)  # noqa: NPY002 seeded with the model
        for start in range(0, size, batch_size or size):
            index = order[start : start + (batch_size or size)]
            data = buffer._get_samples(index)
            visited = None if states is None else states[torch.from_numpy(index).to(states.device)]
            yield PePGBatch(
                observations=data.observations,
                actions=data.actions.long().flatten() if discrete else data.actions,
                advantages=data.advantages,
                returns=data.returns,
                old_log_prob=data.old_log_prob,
                weights=weights[torch.from_numpy(index).to(weights.device)],
                states=data.observations.long().flatten() if indexed else visited,
            )
