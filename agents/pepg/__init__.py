"""Performative Policy Gradient on Stable-Baselines3."""

from agents.pepg.pepg import PePG
from agents.pepg.policies import PePGCnnPolicy, PePGMultiInputPolicy, PePGPolicy, SoftmaxPolicy

__all__ = ["PePG", "PePGCnnPolicy", "PePGMultiInputPolicy", "PePGPolicy", "SoftmaxPolicy"]
