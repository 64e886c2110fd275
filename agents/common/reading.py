"""The policy of a model as its environment is handed it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize, VecTransposeImage

from agents.common.queries import query_observations
from perf_envs.policies import AskedPolicy
from perf_envs.policies.models import check_memoryless


def read_policy(model: Any, venv: VecEnv, deterministic: bool = False, random_share: float = 0.0) -> Any:
    """Return the policy of a model, or of anything else that can be asked, in the form its environment takes it.

    Args:
        model: Stable-Baselines3 model, or anything else that worlds can read as a policy.
        venv: the environment.
        deterministic: the model's deterministic action instead of its policy.
        random_share: share of the actions that is uniformly random.

    Returns:
        A policy of the environment's ``policies``; where it has none, a :class:`perf_envs.policies.AskedPolicy` that
        does what the model does now, whatever the model learns later.

    Raises:
        ValueError: the policy has a memory, or cannot be asked.
    """
    if venv.has_attr("policies"):
        policies = venv.get_attr("policies", indices=[0])[0]
        policy = policies.read(model, query_observations(venv), deterministic)
        return policies.with_random_actions(policy, random_share)
    check_memoryless(model)
    inner, preprocess = _preprocessing(venv)
    return AskedPolicy(
        Snapshot(model), inner.observation_space, venv.action_space, deterministic, random_share, preprocess
    )


class Snapshot:
    """The network of a model as it is now; it can be sent to other processes.

    Args:
        model: a model or a policy of Stable-Baselines3, or anything else that can be asked, which is copied.
    """

    def __init__(self, model: Any) -> None:
        network = getattr(model, "policy", model)
        self.policy = _rebuilt(network) if isinstance(network, BasePolicy) else copy.deepcopy(network)

    def predict(self, observations: Any, deterministic: bool = True) -> Any:
        """Return actions and state, as in Stable-Baselines3."""
        return self.policy.predict(observations, deterministic=deterministic)

    def __getstate__(self) -> bytes:
        # By value: torch would otherwise hand tensors to another process in shared memory.
        state: bytes = cloudpickle.dumps(self.policy)
        return state

    def __setstate__(self, state: bytes) -> None:
        self.policy = cloudpickle.loads(state)


def _rebuilt(network: BasePolicy) -> BasePolicy:
    """Return a network with the same parameters: one in use holds distributions that cannot be copied."""
    with torch.random.fork_rng([]):  # the parameters it begins with are drawn in vain
        twin = type(network)(**network._get_constructor_parameters())
    twin.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
    for module in twin.modules():
        if hasattr(module, "optimizer"):
            module.optimizer = None  # type: ignore[assignment]  # nobody trains it any more
    return twin


def _preprocessing(venv: VecEnv) -> tuple[VecEnv, Callable[[Any], Any] | None]:
    """Return what is inside of all wrappers, and what they make of its observations, ``None`` for nothing.

    Raises:
        ValueError: a wrapper changes observations in a way that cannot be repeated.
    """
    steps: list[Callable[[Any], Any]] = []
    inner = venv
    while isinstance(inner, VecEnvWrapper):
        if isinstance(inner, VecTransposeImage):
            steps.append(inner.transpose_observations)
        elif isinstance(inner, VecNormalize):
            steps.append(_Normalizing(inner))
        elif inner.observation_space != inner.venv.observation_space:
            raise ValueError(
                f"venv must show observations of the environment, whose policy is asked there, but {type(inner)} makes "
                "others of them"
            )
        inner = inner.venv
    return inner, partial(_in_turn, steps[::-1]) if steps else None


class _Normalizing:
    """Normalises observations with the statistics of this moment."""

    def __init__(self, wrapper: VecNormalize) -> None:
        self._wrapper = copy.copy(wrapper)
        self._wrapper.venv = None  # type: ignore[assignment]
        self._wrapper.obs_rms = copy.deepcopy(wrapper.obs_rms)

    def __call__(self, observations: Any) -> Any:
        return self._wrapper.normalize_obs(observations)


def _in_turn(steps: list[Callable[[Any], Any]], observations: Any) -> Any:
    for step in steps:
        observations = step(observations)
    return observations
