"""Response maps: how each world answers a deployed policy. One file per map."""

from perf_envs.problem import ConstantResponse
from perf_envs.responses.customers import CustomerResponse
from perf_envs.responses.followers import FollowerResponse
from perf_envs.responses.softmax import SoftmaxResponse

__all__ = ["ConstantResponse", "CustomerResponse", "FollowerResponse", "SoftmaxResponse"]
