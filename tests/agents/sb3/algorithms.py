"""The algorithms that the tests in this folder hold to Stable-Baselines3's ways: one line each."""

import inspect
from dataclasses import dataclass, field
from typing import Any

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.envs import (
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
)

from agents import GRPO, MDPO, NPG, REINFORCE, PePG, PerformativeNPG, PerformativePPO, PPOPenalty

#: An environment of its own for every kind of action space.
ACTION_ENVS = {
    "Discrete": lambda: IdentityEnv(2),
    "MultiDiscrete": lambda: IdentityEnvMultiDiscrete(2),
    "MultiBinary": lambda: IdentityEnvMultiBinary(2),
    "Box": lambda: IdentityEnvBox(-1.0, 1.0, eps=0.5),
}

#: What every actor-critic logs while it trains.
LOGGED = frozenset(
    {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "time/fps",
        "train/learning_rate",
        "train/loss",
        "train/policy_gradient_loss",
        "train/value_loss",
        "train/entropy_loss",
        "train/explained_variance",
    }
)


@dataclass(frozen=True)
class Case:
    """An algorithm and how to try it quickly.

    Attributes:
        build: its class.
        quick: arguments with which a rollout and an update take a few milliseconds.
        variants: further arguments, each of which has to work.
        actions: kinds of action spaces it supports, names in ``ACTION_ENVS``.
        policies: names of its policies.
        learns: arguments with which it learns to repeat what it sees, and the number of steps it takes.
        logged: keys it logs while it trains.
    """

    build: type[BaseAlgorithm]
    quick: dict[str, Any]
    variants: tuple[dict[str, Any], ...] = ()
    actions: tuple[str, ...] = tuple(ACTION_ENVS)
    policies: tuple[str, ...] = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
    learns: tuple[dict[str, Any], int] = ({}, 4000)
    logged: frozenset[str] = field(default=LOGGED)

    def make(self, policy, env, **arguments):
        """Build a model for quick runs."""
        return self.build(policy, env, **{"seed": 0, "device": "cpu", **self.quick, **arguments})

    def takes(self, argument):
        """Whether the constructor has an argument."""
        return argument in inspect.signature(self.build.__init__).parameters


ALGORITHMS = {
    "pepg": Case(
        PePG,
        quick={"n_steps": 16},
        variants=(
            {"n_epochs": 2, "batch_size": 5},
            {"gae_lambda": 1.0, "gamma": 0.9, "discount_visits": True},
            {"ent_coef": 0.1, "vf_coef": 0.1, "max_grad_norm": 10.0, "performative_coef": 0.5},
            {"rollout_buffer_kwargs": {}, "verbose": 0, "stats_window_size": 7},
        ),
        learns=({"n_steps": 8, "learning_rate": 3e-3, "gamma": 0.1}, 8000),
    ),
    "reinforce": Case(
        REINFORCE,
        quick={"n_steps": 16},
        variants=({"baseline": False}, {"normalize_advantage": False, "ent_coef": 0.1}),
        learns=({"n_steps": 16, "gamma": 0.1}, 8000),
    ),
    "ppo_penalty": Case(
        PPOPenalty,
        quick={"n_steps": 16, "batch_size": 8, "n_epochs": 2},
        variants=({"batch_size": None}, {"beta": 2.0, "target_kl": 0.1}, {"normalize_advantage": False}),
        learns=({"n_steps": 64, "batch_size": 64, "n_epochs": 10, "gamma": 0.1}, 8000),
    ),
    "mdpo": Case(
        MDPO,
        quick={"n_steps": 16, "batch_size": 8, "n_epochs": 2},
        variants=({"batch_size": None}, {"step_size": 0.5}, {"normalize_advantage": False}),
        learns=({"n_steps": 64, "batch_size": 64, "n_epochs": 10, "gamma": 0.1}, 8000),
    ),
    "npg": Case(
        NPG,
        quick={"n_steps": 16, "batch_size": 8, "n_critic_updates": 2, "target_kl": 1e-3},
        variants=({"step_size": 0.1}, {"step_size": 0.1, "target_kl": None}, {"cg_max_steps": 3}),
        learns=({"n_steps": 64, "gamma": 0.1, "target_kl": 0.02}, 8000),
    ),
    "grpo": Case(
        GRPO,
        quick={"n_steps": 16, "batch_size": 8, "n_epochs": 2},
        variants=({"supervision": "process"}, {"batch_size": None, "beta": 0.0}, {"clip_range": 0.1}),
        learns=({"n_steps": 64, "batch_size": 64, "n_epochs": 10, "gamma": 0.1, "supervision": "process"}, 8000),
        logged=LOGGED - {"train/value_loss", "train/explained_variance"},
    ),
    "performative_ppo": Case(
        PerformativePPO,
        quick={"n_steps": 16, "batch_size": 8, "n_epochs": 2},
        variants=({"batch_size": None, "target_kl": 0.01}, {"performative_coef": 0.5}, {"clip_range": 0.1}),
        learns=({"n_steps": 64, "batch_size": 64, "n_epochs": 10, "gamma": 0.1}, 8000),
    ),
    "performative_npg": Case(
        PerformativeNPG,
        quick={"n_steps": 16, "batch_size": 8, "n_critic_updates": 2, "target_kl": 1e-3},
        variants=({"step_size": 0.1}, {"performative_coef": 0.5}, {"cg_max_steps": 3}),
        learns=({"n_steps": 64, "gamma": 0.1, "target_kl": 0.02}, 8000),
    ),
}

every_algorithm = pytest.mark.parametrize("case", ALGORITHMS.values(), ids=ALGORITHMS)
