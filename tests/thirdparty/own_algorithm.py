"""Algorithms of somebody else."""

from stable_baselines3 import A2C


class Honest(A2C):
    """Says nothing of itself, and asks nobody."""


class Peeking(A2C):
    """Says nothing of itself, and asks the world how it responds."""

    def learn(self, *args, **kwargs):
        self.known = self.get_env().get_attr("problem")[0].gamma
        return super().learn(*args, **kwargs)
