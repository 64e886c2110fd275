"""Response maps: how each world answers a deployed policy. One file per map, and wrappers that roughen any of them."""

from perf_envs.problem import ConstantResponse
from perf_envs.responses.customers import CustomerResponse
from perf_envs.responses.followers import FollowerResponse
from perf_envs.responses.linear_demand import LinearPricingProblem, Market
from perf_envs.responses.robustness import (
    NoisyResponse,
    PerceivedResponse,
    PiecewiseLinearResponse,
    QuantisedResponse,
    wrap_response,
)
from perf_envs.responses.softmax import SoftmaxResponse

__all__ = [
    "ConstantResponse",
    "CustomerResponse",
    "FollowerResponse",
    "LinearPricingProblem",
    "Market",
    "NoisyResponse",
    "PerceivedResponse",
    "PiecewiseLinearResponse",
    "QuantisedResponse",
    "SoftmaxResponse",
    "wrap_response",
]
