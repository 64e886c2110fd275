"""Learning without a critic: no value function is trained, and none has a say in returns or advantages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.deep._base import SurrogateAlgorithm
from agents.deep.episodes import Segments, segments


class OptionalCritic(SurrogateAlgorithm):
    """A surrogate algorithm that can do without a critic (``critic=False``).

    Policies of Stable-Baselines3 come with a value head, which it asks wherever a time limit or the end of a rollout
    cuts an episode. Without a critic the head is frozen at zero, so that nothing is added there.
    """

    def __init__(self, *args: Any, critic: bool, **kwargs: Any) -> None:
        self.critic = critic
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._silence_critic()

    def _silence_critic(self) -> None:
        for parameter in self.policy.value_net.parameters():
            parameter.requires_grad_(self.critic)
            if not self.critic:
                parameter.data.zero_()

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Collect a round of experience, as in Stable-Baselines3."""
        self._silence_critic()  # parameters may have been loaded that were trained by an algorithm with a critic
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def _segments(self) -> Segments:
        """Return the segments of the rollout just collected."""
        return segments(self.rollout_buffer.episode_starts > 0.0, self._last_dones())

    def _last_dones(self) -> NDArray[np.bool_]:
        """Return whether the last step of every sub-environment ended an episode."""
        return np.asarray(self._last_episode_starts, dtype=bool)

    def _use(self, advantages: NDArray[Any], weights: NDArray[Any]) -> None:
        """Train on these advantages, each step with its weight ``[T, n_envs]``; steps of weight 0 are left out."""
        self.rollout_buffer.advantages = advantages.astype(np.float32)
        # Without a critic the buffer's returns have no other use.
        self.rollout_buffer.returns = weights.astype(np.float32)

    def _minibatches(self) -> Iterator[RolloutBufferSamples]:
        for data in super()._minibatches():
            if self.critic:
                yield data
            elif bool((used := data.returns > 0.0).any()):
                yield _select(data, used)

    def _evaluate(self, data: RolloutBufferSamples) -> tuple[Tensor | None, Tensor, Tensor | None]:
        if self.critic:
            return super()._evaluate(data)
        distribution = self.policy.get_distribution(data.observations)
        return None, distribution.log_prob(self._actions(data)), distribution.entropy()


def _select(data: RolloutBufferSamples, used: Tensor) -> RolloutBufferSamples:
    def chosen(field: Any) -> Any:
        return {key: value[used] for key, value in field.items()} if isinstance(field, dict) else field[used]

    return type(data)(*map(chosen, data))
