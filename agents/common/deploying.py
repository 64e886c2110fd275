"""Handing the policy in training to the world: once per rollout, declared rather than observed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from perf_envs import PerformativeMDP, Shift, policy_table
from perf_envs.validation import check_count


def performative_problem(venv: VecEnv) -> PerformativeMDP | None:
    """Return the performative Markov decision process behind a ``VecEnv``, or ``None`` for an ordinary environment."""
    try:
        problem = venv.get_attr("problem", indices=[0])[0]
    except AttributeError:
        return None
    return problem if isinstance(problem, PerformativeMDP) else None


def query_observations(venv: VecEnv) -> NDArray[Any]:
    """Return the observation of every state ``[S, ...]`` as the agent sees it (normalised, if the agent's are)."""
    observations: NDArray[Any] = np.asarray(venv.get_attr("query_observations", indices=[0])[0])
    normalizer: VecNormalize | None = unwrap_vec_normalize(venv)
    return observations if normalizer is None else np.asarray(normalizer.normalize_obs(observations))


def deploy(model: BaseAlgorithm, venv: VecEnv | None = None) -> Shift:
    """Deploy the current policy of ``model`` in the worlds of ``venv`` (default: its training environment).

    Returns:
        How far the first world moved.

    Raises:
        ValueError: the environment is not performative.
    """
    venv = venv if venv is not None else model.get_env()
    problem = None if venv is None else performative_problem(venv)
    if venv is None or problem is None:
        raise ValueError(f"the environment of the model must be a performative world, got {venv}")
    table = policy_table(model, query_observations(venv), problem.n_actions)
    shift: Shift = venv.env_method("deploy", table)[0]
    return shift


class DeployCallback(BaseCallback):
    """Deploys the policy of any Stable-Baselines3 algorithm at the start of each rollout.

    The worlds are switched to declared deployments, so that nothing but this callback moves them. Logs ``perf/round``,
    ``perf/shift`` and ``perf/reward_shift``.

    Args:
        every: deploy at every ``every``-th rollout only (off-policy algorithms have rollouts of a few steps).
        verbose: verbosity, as in Stable-Baselines3.
    """

    def __init__(self, every: int = 1, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.every = check_count("every", every)
        self._rollouts = 0

    def _on_training_start(self) -> None:
        if performative_problem(self.training_env) is None:
            raise ValueError(f"DeployCallback needs a performative world, got {self.training_env}")
        self.training_env.env_method("set_deployment", "declared")

    def _on_rollout_start(self) -> None:
        if self._rollouts % self.every == 0:
            shift = deploy(self.model)
            log_deployment(self.model, shift)
        self._rollouts += 1

    def _on_step(self) -> bool:
        return True


def log_deployment(model: BaseAlgorithm, shift: Shift) -> None:
    """Record ``perf/round``, ``perf/shift`` and ``perf/reward_shift`` of a deployment just made."""
    venv = model.get_env()
    if venv is not None:
        model.logger.record("perf/round", venv.get_attr("round", indices=[0])[0])
    model.logger.record("perf/shift", shift.transition)
    model.logger.record("perf/reward_shift", shift.reward)
