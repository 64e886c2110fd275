"""Agents for performative worlds, on Stable-Baselines3; imported when they are first asked for."""

from typing import TYPE_CHECKING

import perf_envs  # noqa: F401 registers the worlds
from perf_envs.extras import check_extra
from perf_envs.lazy import lazy_names

check_extra("agents", "agents")

if TYPE_CHECKING:
    from agents.common.deploying import DeployCallback, deploy
    from agents.common.evaluating import EvalCallback
    from agents.common.vec_env import SB3VecEnv, make_vec_env
    from agents.deep import GRPO, MDPO, NPG, REINFORCE, PerformativeNPG, PerformativePPO, PPOPenalty
    from agents.pepg.pepg import PePG
    from agents.pepg.policies import PePGPolicy, SoftmaxPolicy
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "GRPO": "agents.deep",
            "MDPO": "agents.deep",
            "NPG": "agents.deep",
            "REINFORCE": "agents.deep",
            "DeployCallback": "agents.common.deploying",
            "EvalCallback": "agents.common.evaluating",
            "PPOPenalty": "agents.deep",
            "PePG": "agents.pepg.pepg",
            "PePGPolicy": "agents.pepg.policies",
            "PerformativeNPG": "agents.deep",
            "PerformativePPO": "agents.deep",
            "SB3VecEnv": "agents.common.vec_env",
            "SoftmaxPolicy": "agents.pepg.policies",
            "deploy": "agents.common.deploying",
            "make_vec_env": "agents.common.vec_env",
        },
    )

__all__ = [
    "GRPO",
    "MDPO",
    "NPG",
    "REINFORCE",
    "DeployCallback",
    "EvalCallback",
    "PPOPenalty",
    "PePG",
    "PePGPolicy",
    "PerformativeNPG",
    "PerformativePPO",
    "SB3VecEnv",
    "SoftmaxPolicy",
    "deploy",
    "make_vec_env",
]
