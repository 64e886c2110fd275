"""Performative environments for Gymnasium: worlds whose dynamics respond to the deployed policy.

Importing this package registers ``PerformativeGridWorld-v0``, ``PerformativePricing-v0``, ``SoftmaxPeMDP-v0`` and
``LinearPricing-v0``, with their variants (:mod:`perf_envs.registration`). torch and scipy are imported when a world is
made, or when a name is asked for that needs them.
"""

from typing import TYPE_CHECKING

from perf_envs.lazy import lazy_names
from perf_envs.registration import WORLDS, register_world
from perf_envs.worlds import gridworld, linear_pricing, pricing, softmax

if TYPE_CHECKING:
    from perf_envs import exact
    from perf_envs.dynamics import Dynamics, Shift
    from perf_envs.env import Performative, WorldEnv
    from perf_envs.policies import Gaussian, Policy, PolicySpace, Table, gaussian_policy, policy_table
    from perf_envs.problem import PerformativeMDP, Problem, ResponseMap
    from perf_envs.tabular_env import PerformativeEnv
    from perf_envs.vector import PerformativeVectorEnv
    from perf_envs.worlds.linear_pricing.response import LinearPricingProblem, Market
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Dynamics": "perf_envs.dynamics",
            "Gaussian": "perf_envs.policies",
            "LinearPricingProblem": "perf_envs.worlds.linear_pricing.response",
            "Market": "perf_envs.worlds.linear_pricing.response",
            "Performative": "perf_envs.env",
            "PerformativeEnv": "perf_envs.tabular_env",
            "PerformativeMDP": "perf_envs.problem",
            "PerformativeVectorEnv": "perf_envs.vector",
            "Policy": "perf_envs.policies",
            "PolicySpace": "perf_envs.policies",
            "Problem": "perf_envs.problem",
            "ResponseMap": "perf_envs.problem",
            "Shift": "perf_envs.dynamics",
            "Table": "perf_envs.policies",
            "WorldEnv": "perf_envs.env",
            "exact": "perf_envs.exact",
            "gaussian_policy": "perf_envs.policies",
            "policy_table": "perf_envs.policies",
        },
    )

__version__ = "0.1.0"

__all__ = [
    "WORLDS",
    "Dynamics",
    "Gaussian",
    "LinearPricingProblem",
    "Market",
    "Performative",
    "PerformativeEnv",
    "PerformativeMDP",
    "PerformativeVectorEnv",
    "Policy",
    "PolicySpace",
    "Problem",
    "ResponseMap",
    "Shift",
    "Table",
    "WorldEnv",
    "exact",
    "gaussian_policy",
    "gridworld",
    "linear_pricing",
    "policy_table",
    "pricing",
    "register_world",
    "softmax",
]
