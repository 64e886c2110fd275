"""The algorithms the command line knows. A new one is one line here and one file in ``configs/``."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents import (
    GRPO,
    MDPO,
    NPG,
    REINFORCE,
    PePG,
    PerformativeNPG,
    PerformativePPO,
    PPOPenalty,
)
from agents.retraining import RepeatedRetraining, ZerothOrderFrankWolfe
from perf_envs.validation import check_choice
from train.applicability import TABULAR_ONLY, applies

#: Constructor arguments that are not settings: the run provides them.
_PROVIDED = ("self", "env", "policy", "seed", "verbose", "tensorboard_log", "_init_setup_model", "return")


@dataclass(frozen=True)
class Algorithm:
    """How to build an algorithm.

    Attributes:
        name: what it is called on the command line.
        label: what it is called in tables and plots.
        build: its class.
        like: the algorithm it is another version of, such as an ablation, with its settings but for those in its
            own file. ``None`` for an algorithm in its own right.
        seconds_per_step: rough cost of a step without deployments; a benchmark starts its longest runs first.
    """

    name: str
    label: str
    build: type[BaseAlgorithm]
    like: str | None = None
    seconds_per_step: float = 7e-5

    @property
    def tabular_only(self) -> bool:
        """Whether it needs finitely many states and actions."""
        return self.name in TABULAR_ONLY

    @property
    def policies(self) -> list[str]:
        """Names of the policies it takes."""
        return list(self.build.policy_aliases)

    @functools.cached_property
    def hyperparameters(self) -> dict[str, Any]:
        """Type annotation of every constructor argument that may be set."""
        # Stable-Baselines3 writes "VecEnv" as a string in a type that other modules import without it.
        hints = typing.get_type_hints(self.build.__init__, localns={"VecEnv": VecEnv})
        return {name: hint for name, hint in hints.items() if name not in _PROVIDED}

    def make(self, venv: VecEnv, seed: int, policy: str, **hyperparameters: Any) -> BaseAlgorithm:
        """Build the model.

        Raises:
            ValueError: the algorithm does not accept the hyperparameters.
        """
        try:
            return self.build(policy, venv, seed=seed, **hyperparameters)
        except Exception as error:  # whatever the constructors of Stable-Baselines3 and torch make of odd arguments
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{self.name} does not accept {hyperparameters}: {reason}") from error

    @property
    def rollout_length(self) -> int | None:
        """Steps of each agent between two updates, unless settings say otherwise; ``None`` where there is no such."""
        argument = inspect.signature(self.build.__init__).parameters.get("n_steps")
        return None if argument is None else argument.default

    @property
    def deploys_itself(self) -> bool:
        """Whether it hands its policy to the world at the start of every rollout, without being told."""
        return bool(getattr(self.build, "deploys_itself", False))


ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("pepg", "PePG", PePG, seconds_per_step=2e-5),
        *(
            Algorithm(f"pepg_{name}", f"PePG, {what}", PePG, like="pepg", seconds_per_step=2e-5)
            for name, what in (
                ("no_dynamics", "no dynamics term"),
                ("no_reward", "no reward term"),
                ("no_ramp", "no ramp"),
                ("no_entropy", "no entropy"),
                ("sampled", "sampled policy term"),
            )
        ),
        Algorithm("ppo", "PPO", PPO),
        Algorithm("a2c", "A2C", A2C),
        Algorithm("trpo", "TRPO", TRPO),
        # Those that everybody starts with, as they come: whoever tunes them should not do worse.
        Algorithm("ppo_defaults", "PPO, SB3 defaults", PPO, like="ppo", seconds_per_step=4e-4),
        Algorithm("a2c_defaults", "A2C, SB3 defaults", A2C, like="a2c"),
        Algorithm("trpo_defaults", "TRPO, SB3 defaults", TRPO, like="trpo", seconds_per_step=2e-4),
        Algorithm("reinforce", "REINFORCE", REINFORCE),
        Algorithm("ppo_penalty", "PPO-penalty", PPOPenalty),
        Algorithm("grpo", "GRPO", GRPO),
        Algorithm("mdpo", "MDPO", MDPO),
        Algorithm("npg", "NPG", NPG),
        Algorithm("performative_ppo", "Performative PPO", PerformativePPO),
        Algorithm("performative_npg", "Performative NPG", PerformativeNPG),
        # One class: what sets them apart are the arguments in their configs.
        Algorithm("rr", "RR", RepeatedRetraining, seconds_per_step=1e-5),
        Algorithm("rga", "RGA", RepeatedRetraining, seconds_per_step=1e-5),
        Algorithm("drr", "DRR", RepeatedRetraining, seconds_per_step=1e-5),
        Algorithm("mdrr", "MDRR", RepeatedRetraining, seconds_per_step=1e-5),
        Algorithm("zofw", "0-FW", ZerothOrderFrankWolfe, seconds_per_step=1e-5),
    )
}


def find_algorithm(name: str) -> Algorithm:
    """Return a registered algorithm; an unknown name raises ``ValueError`` with the nearest one."""
    return ALGORITHMS[check_choice("algo", name, ALGORITHMS)]


def find_defaults(name: str) -> Algorithm | None:
    """Return the version of an algorithm that has the defaults of its library; ``None`` where there is none."""
    return ALGORITHMS.get(f"{name}_defaults")


def check_applies(algos: Sequence[str], env: str) -> None:
    """Raise ``ValueError`` if none of the algorithms can act in a world, with those that can."""
    if not any(applies(algo, env) for algo in algos):
        able = [name for name in ALGORITHMS if applies(name, env)]
        raise ValueError(
            f"algo must be one of {', '.join(able)} in {env}, whose actions are continuous, got {', '.join(algos)}"
        )
