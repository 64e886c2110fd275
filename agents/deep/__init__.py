"""Deep policy gradient methods on Stable-Baselines3."""

from agents.deep.grpo import GRPO
from agents.deep.mdpo import MDPO
from agents.deep.npg import NPG
from agents.deep.performative_npg import PerformativeNPG
from agents.deep.performative_ppo import PerformativePPO
from agents.deep.ppo_penalty import PPOPenalty
from agents.deep.reinforce import REINFORCE

__all__ = ["GRPO", "MDPO", "NPG", "REINFORCE", "PPOPenalty", "PerformativeNPG", "PerformativePPO"]
