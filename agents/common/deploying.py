"""Handing the policy in training to the world: once per rollout, declared rather than observed."""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecEnvWrapper,
    VecNormalize,
    VecTransposeImage,
)

from perf_envs import LinearPricingProblem, PerformativeMDP, Shift, gaussian_policy, policy_table
from perf_envs.validation import check_count

#: What a performative world may be: finitely many states and actions, or continuous actions in a market.
PerformativeProblem = PerformativeMDP | LinearPricingProblem


def performative_problem(venv: VecEnv) -> PerformativeProblem | None:
    """Return the performative problem behind a ``VecEnv``, or ``None`` for an ordinary environment."""
    if not venv.has_attr("problem"):  # asked first: a process that is asked for what it does not have ends
        return None
    problem = venv.get_attr("problem", indices=[0])[0]
    return problem if isinstance(problem, PerformativeProblem) else None


def tabular_problem(venv: VecEnv) -> PerformativeMDP | None:
    """Return the performative Markov decision process behind a ``VecEnv``, or ``None`` for any other environment."""
    problem = performative_problem(venv)
    return problem if isinstance(problem, PerformativeMDP) else None


def query_observations(venv: VecEnv) -> Any:
    """Return the observations a deployed policy is asked at, ``[Q, ...]`` or a dictionary of such arrays.

    They are shown as the agent sees them: images transposed and values normalised where the wrappers of ``venv`` do so.

    Raises:
        ValueError: they are no observations of ``venv``, because some other wrapper changes what the agent sees.
    """
    wrappers: list[VecEnv] = []
    inner: VecEnv = venv
    while isinstance(inner, VecEnvWrapper):
        wrappers.append(inner)
        inner = inner.venv
    observations = venv.get_attr("query_observations", indices=[0])[0]
    for wrapper in reversed(wrappers):
        if isinstance(wrapper, VecTransposeImage):
            observations = wrapper.transpose_observations(observations)
        elif isinstance(wrapper, VecNormalize):
            observations = wrapper.normalize_obs(observations)
    if not _are_observations(observations, venv.observation_space):
        raise ValueError(
            f"query_observations of the world must be observations of the observation_space {venv.observation_space}: "
            "a wrapper that changes observations has to change them too (perf_envs.wrappers.StateObservation does)"
        )
    return observations


def _are_observations(observations: Any, space: spaces.Space[Any]) -> bool:
    """Whether a batch has the keys, the shapes and, where it is an index, the range of a space."""
    if isinstance(space, spaces.Dict) or isinstance(observations, dict):
        return (
            isinstance(space, spaces.Dict)
            and isinstance(observations, dict)
            and set(space.spaces) == set(observations)
            and all(_are_observations(observations[key], part) for key, part in space.spaces.items())
        )
    batch = np.asarray(observations)
    if isinstance(space, spaces.Discrete):
        inside = batch.dtype.kind in "iu" and bool(((batch >= space.start) & (batch < space.start + space.n)).all())
        return batch.ndim == 1 and inside
    return batch.shape[1:] == space.shape


def declare(venv: VecEnv, policy: Any, *known: Any) -> Shift:
    """Deploy a policy, in the form its worlds take it in, in all worlds of ``venv``; return how far the first moved."""
    shift: Shift = venv.env_method("deploy", policy, *known)[0]
    return shift


def deployable(model: Any, problem: PerformativeProblem, observations: Any) -> Any:
    """Return the policy of a model in the form in which the worlds of a problem take it.

    Args:
        model: Stable-Baselines3 model, or anything else that the worlds can read as a policy.
        problem: what the worlds are.
        observations: where the policy is asked, see :func:`query_observations`.

    Returns:
        A table ``[S, A]`` of probabilities for a tabular problem; mean and standard deviation of the actions ``[Q, d]``
        for one with continuous actions.
    """
    if isinstance(problem, PerformativeMDP):
        return policy_table(model, observations, problem.n_actions)
    return gaussian_policy(model, observations, problem.n_products)


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
    return declare(venv, deployable(model, problem, query_observations(venv)))


class DeployCallback(BaseCallback):
    """Deploys the policy of any Stable-Baselines3 algorithm at the start of each rollout.

    The worlds are switched to declared deployments, so that nothing but this callback moves them. Logs ``perf/round``,
    ``perf/shift`` and ``perf/reward_shift``. An algorithm that deploys by itself (its ``deploys_itself`` is true) is
    left alone: its policy is deployed once per rollout, not twice.

    With ``every_steps`` rounds are as long for every algorithm, whatever its rollouts are: a rollout that begins inside
    of a round deploys nothing, and in one that is longer than a round the same policy is handed over again at the end
    of each round (also that of an algorithm that deploys by itself).

    Args:
        every: deploy at every ``every``-th rollout only (off-policy algorithms have rollouts of a few steps).
        every_steps: length of a round in environment steps, of all agents together; ``None`` deploys by rollouts.
        verbose: verbosity, as in Stable-Baselines3.

    Raises:
        ValueError: both are given, or, when training starts, the environment is not performative.

    Warns:
        UserWarning: the algorithm deploys by itself, at every rollout, and that is more often than asked for.
    """

    def __init__(self, every: int = 1, every_steps: int | None = None, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.every = check_count("every", every)
        self.every_steps = None if every_steps is None else check_count("every_steps", every_steps)
        if every != 1 and every_steps is not None:
            raise ValueError(f"every and every_steps cannot both be given, got {every} and {every_steps}")
        self._rollouts = 0
        self._steps_in_round, self._steps_left = 0, 0

    def _on_training_start(self) -> None:
        if performative_problem(self.training_env) is None:
            raise ValueError(f"DeployCallback needs a performative world, got {self.training_env}")
        self.training_env.env_method("set_deployment", "declared")
        if self._left_to_the_model and self._asks_for_fewer():
            asked = f"every={self.every}" if self.every_steps is None else f"every_steps={self.every_steps}"
            warnings.warn(
                f"{type(self.model).__name__} deploys at every rollout by itself: {asked} has no effect", stacklevel=2
            )

    @property
    def _left_to_the_model(self) -> bool:
        return bool(getattr(self.model, "deploys_itself", False))

    def _asks_for_fewer(self) -> bool:
        """Whether an algorithm that deploys at every rollout does so more often than asked for."""
        if self.every_steps is None:
            return self.every != 1
        return rollout_steps(self.model) < self.every_steps

    def _on_rollout_start(self) -> None:
        due = self._rollouts % self.every == 0
        if self.every_steps is not None:
            due = self._rollouts == 0 or self._steps_in_round >= self.every_steps
        if due and not self._left_to_the_model:
            log_deployment(self.model, deploy(self.model))
        if due or self._left_to_the_model:
            self._steps_in_round = 0
        self._steps_left = rollout_steps(self.model)
        self._rollouts += 1

    def _on_step(self) -> bool:
        self._steps_in_round += self.training_env.num_envs
        self._steps_left -= self.training_env.num_envs
        over = self.every_steps is not None and self._steps_in_round >= self.every_steps
        if over and self._steps_left > 0:  # after the last step of a rollout the policy may be another one
            self.training_env.env_method("redeploy")
            # Not how far it moved the world: the log keeps what the policy did when it was new.
            self.logger.record("perf/round", self.training_env.get_attr("round", indices=[0])[0])
            self._steps_in_round = 0
        return True


def rollout_steps(model: BaseAlgorithm) -> int:
    """Return the environment steps of a rollout of all agents; of one step each where the algorithm does not say."""
    if isinstance(model, OffPolicyAlgorithm):  # n_steps of DQN are those of its returns
        frequency, unit = cast(TrainFreq, model.train_freq)
        return frequency * model.n_envs if unit is TrainFrequencyUnit.STEP else model.n_envs
    return int(getattr(model, "n_steps", 1)) * model.n_envs


def log_deployment(model: BaseAlgorithm, shift: Shift) -> None:
    """Record ``perf/round``, ``perf/shift`` and ``perf/reward_shift`` of a deployment just made."""
    venv = model.get_env()
    if venv is not None:
        model.logger.record("perf/round", venv.get_attr("round", indices=[0])[0])
    model.logger.record("perf/shift", shift.transition)
    model.logger.record("perf/reward_shift", shift.reward)
