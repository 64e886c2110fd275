"""Agents for performative worlds, on Stable-Baselines3."""

from agents.common.deploying import DeployCallback, deploy
from agents.common.evaluating import EvalCallback
from agents.common.vec_env import SB3VecEnv, make_vec_env
from agents.deep import GRPO, MDPO, NPG, REINFORCE, PerformativeNPG, PerformativePPO, PPOPenalty
from agents.pepg.pepg import PePG
from agents.pepg.policies import PePGPolicy, SoftmaxPolicy

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
