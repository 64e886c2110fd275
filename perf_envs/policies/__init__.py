"""Policies as worlds are handed them: one object per policy, whatever form users have it in."""

from perf_envs.policies.asked import AskedPolicy
from perf_envs.policies.base import Policy, PolicySpace
from perf_envs.policies.gaussian import Gaussian, GaussianPolicies, gaussian_policy
from perf_envs.policies.tabular import Table, TablePolicies, policy_table

__all__ = [
    "AskedPolicy",
    "Gaussian",
    "GaussianPolicies",
    "Policy",
    "PolicySpace",
    "Table",
    "TablePolicies",
    "gaussian_policy",
    "policy_table",
]
