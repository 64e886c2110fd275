"""Performative environments for Gymnasium: worlds whose dynamics answer the deployed policy.

Importing this package registers ``PerformativeGridWorld-v0``, ``PerformativePricing-v0``, ``SoftmaxPeMDP-v0`` and
``LinearPricing-v0``.
"""

from gymnasium.envs.registration import register

from perf_envs import exact
from perf_envs.dynamics import Dynamics, Shift
from perf_envs.env import WorldEnv
from perf_envs.gaussian_policies import gaussian_policy
from perf_envs.problem import PerformativeMDP, ResponseMap
from perf_envs.tabular_env import PerformativeEnv
from perf_envs.tabular_rounds import World, policy_table
from perf_envs.vector import PerformativeVectorEnv
from perf_envs.worlds.linear_pricing.response import LinearPricingProblem, Market

__version__ = "0.1.0"

#: Registered tabular worlds, whose ``problem`` is a :class:`PerformativeMDP`, and the step limit of their episodes
#: (``None``: the world ends them itself).
WORLDS: dict[str, int | None] = {}
#: Registered worlds with continuous actions, and the step limit of their episodes.
CONTINUOUS_WORLDS: dict[str, int | None] = {}


def _register(worlds: dict[str, int | None], name: str, module: str, max_episode_steps: int | None) -> None:
    worlds[f"{name}-v0"] = max_episode_steps
    register(
        id=f"{name}-v0",
        entry_point=f"perf_envs.{module}:{name}",
        vector_entry_point=f"perf_envs.{module}:{name}VectorEnv",
        max_episode_steps=max_episode_steps,
    )


_register(WORLDS, "PerformativeGridWorld", "worlds.gridworld.env", 100)
_register(WORLDS, "PerformativePricing", "worlds.pricing.env", None)
_register(WORLDS, "SoftmaxPeMDP", "worlds.softmax.env", 100)
_register(CONTINUOUS_WORLDS, "LinearPricing", "worlds.linear_pricing.env", None)
#: All of them.
ALL_WORLDS: dict[str, int | None] = WORLDS | CONTINUOUS_WORLDS

__all__ = [
    "ALL_WORLDS",
    "CONTINUOUS_WORLDS",
    "WORLDS",
    "Dynamics",
    "LinearPricingProblem",
    "Market",
    "PerformativeEnv",
    "PerformativeMDP",
    "PerformativeVectorEnv",
    "ResponseMap",
    "Shift",
    "World",
    "WorldEnv",
    "exact",
    "gaussian_policy",
    "policy_table",
]
