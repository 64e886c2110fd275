"""Performative environments for Gymnasium: worlds whose dynamics answer the deployed policy.

Importing this package registers ``PerformativeGridWorld-v0``, ``PerformativePricing-v0`` and ``SoftmaxPeMDP-v0``.
"""

from gymnasium.envs.registration import register

from perf_envs import exact
from perf_envs.deployment import World, policy_table
from perf_envs.dynamics import Dynamics, Shift
from perf_envs.performative_env import PerformativeEnv
from perf_envs.problem import PerformativeMDP, ResponseMap
from perf_envs.vector import PerformativeVectorEnv

__version__ = "0.1.0"

#: Registered ids and the step limit of their episodes (``None``: the world ends them itself).
WORLDS: dict[str, int | None] = {}


def _register(name: str, module: str, max_episode_steps: int | None) -> None:
    WORLDS[f"{name}-v0"] = max_episode_steps
    register(
        id=f"{name}-v0",
        entry_point=f"perf_envs.{module}:{name}",
        vector_entry_point=f"perf_envs.{module}:{name}VectorEnv",
        max_episode_steps=max_episode_steps,
    )


_register("PerformativeGridWorld", "gridworld", 100)
_register("PerformativePricing", "pricing", None)
_register("SoftmaxPeMDP", "softmax_pemdp", 100)

__all__ = [
    "WORLDS",
    "Dynamics",
    "PerformativeEnv",
    "PerformativeMDP",
    "PerformativeVectorEnv",
    "ResponseMap",
    "Shift",
    "World",
    "exact",
    "policy_table",
]
