"""Performative environments for Gymnasium: worlds whose dynamics respond to the deployed policy.

Importing this package registers ``PerformativeGridWorld-v0``, ``PerformativePricing-v0``, ``SoftmaxPeMDP-v0`` and
``LinearPricing-v0``, with their variants (:mod:`perf_envs.registration`).
"""

from perf_envs import exact
from perf_envs.dynamics import Dynamics, Shift
from perf_envs.env import Performative, WorldEnv
from perf_envs.policies import Gaussian, Policy, PolicySpace, Table, gaussian_policy, policy_table
from perf_envs.problem import PerformativeMDP, Problem, ResponseMap
from perf_envs.registration import WORLDS, register_world
from perf_envs.tabular_env import PerformativeEnv
from perf_envs.vector import PerformativeVectorEnv
from perf_envs.worlds import gridworld, linear_pricing, pricing, softmax
from perf_envs.worlds.linear_pricing.response import LinearPricingProblem, Market

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
