"""Handing the policy in training to the world: once per rollout, declared rather than observed."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, cast

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.common.exploring import random_share
from agents.common.notices import FitCheck, notice_evaluation, notice_replay
from agents.common.path import PathCheck
from agents.common.reading import read_policy
from perf_envs import Problem, Shift
from perf_envs.validation import check_count


def is_performative(venv: VecEnv) -> bool:
    """Whether the environments of a ``VecEnv`` can be deployed to; how they respond need not be known."""
    return venv.has_attr("deploy")


def performative_problem(venv: VecEnv) -> Problem[Any] | None:
    """Return what is known of the environments of a ``VecEnv``, ``None`` where nothing is."""
    if not venv.has_attr("problem"):  # asked first: a process that is asked for what it does not have ends
        return None
    problem = venv.get_attr("problem", indices=[0])[0]
    return problem if isinstance(problem, Problem) else None


def deploy_to_envs(venv: VecEnv, policy: Any, *known: Any) -> Shift | None:
    """Deploy a policy in all environments; return how far the first one moved, if it says so."""
    shift: Shift | None = venv.env_method("deploy", policy, *known)[0]
    return shift


def deploy(
    model: BaseAlgorithm,
    venv: VecEnv | gym.Env[Any, Any] | None = None,
    deterministic: bool = False,
    acting: int = 0,
) -> Shift | None:
    """Deploy the current policy of ``model`` in the worlds of ``venv`` (default: its training environment).

    Environments that have no more than ``deploy(policy)`` are handed a :class:`perf_envs.policies.AskedPolicy`.

    Args:
        model: Stable-Baselines3 model.
        venv: performative worlds, or one.
        deterministic: deploy its deterministic actions, for playing it with ``deterministic=True``.
        acting: deploy what it does in its next ``acting`` steps of training: where these are off-policy, the random
            actions that it mixes in are a part of it.

    Returns:
        How far the first world moved, if it says so.

    Raises:
        ValueError: the environment is not performative, or the policy cannot be asked at its states.
    """
    target = model.get_env() if venv is None else venv
    if isinstance(target, gym.Env):
        target = DummyVecEnv([lambda: target])  # type: ignore[list-item, return-value]
    if not isinstance(target, VecEnv) or not is_performative(target):
        raise ValueError(f"venv must hold performative worlds, which have deploy(policy), got {target}")
    return deploy_to_envs(target, read_acting_policy(model, target, deterministic, acting))


def read_acting_policy(model: BaseAlgorithm, venv: VecEnv, deterministic: bool = False, acting: int = 0) -> Any:
    """Return what is deployed by :func:`deploy`; arguments as there."""
    _refuse_masks(model, venv)
    return read_policy(model, venv, deterministic, random_share(model, acting) if acting else 0.0)


def _refuse_masks(model: BaseAlgorithm, venv: VecEnv) -> None:
    """Raise ``ValueError`` if the actions of a policy are masked by the environment, state by state, as it goes."""
    ask = getattr(model.policy, "get_distribution", None)
    if ask is None or "action_masks" not in inspect.signature(ask).parameters:
        return
    if venv.has_attr("action_masks"):
        raise ValueError(
            f"{type(model).__name__} masks actions step by step, so its policy cannot be asked at every state before "
            "it acts: train it in an environment without action_masks, or let the world observe what is played "
            "(deployment='observed', without DeployCallback)"
        )


class DeployCallback(BaseCallback):
    """Deploys the policy of any Stable-Baselines3 algorithm at the start of each rollout.

    The worlds are switched to declared deployments, so that nothing but this callback moves them. Logs ``perf/round``,
    ``perf/shift`` and ``perf/reward_shift``. An algorithm that deploys by itself (its ``deploys_itself`` is true) is
    left alone: its policy is deployed once per rollout, not twice.

    With ``every_steps`` rounds are as long for every algorithm, whatever its rollouts are: a rollout that begins inside
    of a round deploys nothing, and in one that is longer than a round the same policy is handed over again at the end
    of each round (also that of an algorithm that deploys by itself).

    What is deployed must be what acts. The first steps of a training are compared at both ends of the environment, and
    the actions of each round with the policy deployed; Stable-Baselines3's ``EvalCallback`` beside it (use
    :class:`agents.EvalCallback`) and replay buffers that outlast a round are noticed.

    Args:
        every: deploy at every ``every``-th rollout only (off-policy algorithms have rollouts of a few steps).
        every_steps: length of a round in environment steps, of all agents together; ``None`` deploys by rollouts.
        verbose: verbosity, as in Stable-Baselines3.

    Raises:
        ValueError: both are given; when training starts, the environment is not performative, or the policy cannot be
            asked at its states (it has a memory, or actions are masked); in the first steps, a wrapper changes what
            actions or observations mean.

    Warns:
        UserWarning: the algorithm deploys by itself, at every rollout, and that is more often than asked for; the
            actions of a round are not those of the policy deployed; evaluation or replay meet another world.
    """

    def __init__(self, every: int = 1, every_steps: int | None = None, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.every = check_count("every", every)
        self.every_steps = None if every_steps is None else check_count("every_steps", every_steps)
        if every != 1 and every_steps is not None:
            raise ValueError(f"every and every_steps cannot both be given, got {every} and {every_steps}")
        self._rollouts = 0
        #: Deployments made so far, by this callback or at its side.
        self.n_deployments = 0
        self._steps_in_round, self._steps_left = 0, 0
        self._fit = FitCheck()
        self._deployed: Any = None

    def _on_training_start(self) -> None:
        if not is_performative(self.training_env):
            raise ValueError(f"DeployCallback needs a performative world, got {self.training_env}")
        if self.training_env.has_attr("set_deployment"):
            self.training_env.env_method("set_deployment", "declared")
        if self._left_to_the_model:
            if self._asks_for_fewer():
                asked = f"every={self.every}" if self.every_steps is None else f"every_steps={self.every_steps}"
                warnings.warn(
                    f"{type(self.model).__name__} deploys at every rollout by itself: {asked} has no effect",
                    stacklevel=2,
                )
            return
        self._path = PathCheck(self.training_env, rewards=False)
        notice_evaluation(self.locals.get("callback"))
        if isinstance(self.model, OffPolicyAlgorithm):
            notice_replay(self.model, self._round_steps())

    @property
    def _left_to_the_model(self) -> bool:
        return bool(getattr(self.model, "deploys_itself", False))

    def _asks_for_fewer(self) -> bool:
        """Whether an algorithm that deploys at every rollout does so more often than asked for."""
        if self.every_steps is None:
            return self.every != 1
        return rollout_steps(self.model) < self.every_steps

    def _round_steps(self) -> int:
        """Return the environment steps of a round, of all agents together."""
        return self.every_steps if self.every_steps is not None else self.every * rollout_steps(self.model)

    def _on_rollout_start(self) -> None:
        due = self._rollouts % self.every == 0
        if self.every_steps is not None:
            due = self._rollouts == 0 or self._steps_in_round >= self.every_steps
        if not self._left_to_the_model:
            self._fit.look(self.training_env)  # the policy that acted may be another one from here on
            if due:
                acting = max(self._round_steps(), rollout_steps(self.model))
                self._deployed = read_acting_policy(self.model, self.training_env, acting=acting)
                log_deployment(self.model, deploy_to_envs(self.training_env, self._deployed))
                self._fit.is_due = acts_independently(self.model)
        if due or self._left_to_the_model:
            self.n_deployments += 1
            self._steps_in_round = 0
        self._steps_left = rollout_steps(self.model)
        self._rollouts += 1

    def _on_training_end(self) -> None:
        self._fit.look(self.training_env)

    def _on_step(self) -> bool:
        if not self._left_to_the_model and not self._path.is_over:
            sent = self.locals.get("clipped_actions", self.locals.get("actions"))
            if sent is not None and "new_obs" in self.locals:
                self._path.look(sent, self.locals["new_obs"], self.locals["rewards"])
        self._steps_in_round += self.training_env.num_envs
        self._steps_left -= self.training_env.num_envs
        over = self.every_steps is not None and self._steps_in_round >= self.every_steps
        if over and self._steps_left > 0:  # after the last step of a rollout the policy may be another one
            self._redeploy()
            self.n_deployments += 1
            if not self._left_to_the_model and not self._fit.is_due and self.training_env.has_attr("misfit"):
                self.training_env.env_method("misfit", True)  # another policy acts by now than the one handed over
            # Not how far it moved the world: the log keeps what the policy did when it was new.
            _log_round(self.model)
            self._steps_in_round = 0
        return True

    def _redeploy(self) -> None:
        """Hand the policy deployed last over again."""
        if self.training_env.has_attr("redeploy"):
            self.training_env.env_method("redeploy")
        elif self._deployed is not None:
            deploy_to_envs(self.training_env, self._deployed)


def acts_independently(model: BaseAlgorithm) -> bool:
    """Whether the chance in an action is its own: only then can actions be compared with the policy deployed.

    The noise of state-dependent exploration lasts for many steps, and epsilon-greedy algorithms draw once for all
    sub-environments whether they explore.
    """
    epsilon_greedy = getattr(model, "exploration_schedule", None) is not None
    return not getattr(model, "use_sde", False) and not (epsilon_greedy and model.n_envs > 1)


def rollout_steps(model: BaseAlgorithm) -> int:
    """Return the environment steps of a rollout of all agents; of one step each where the algorithm does not say."""
    if isinstance(model, OffPolicyAlgorithm):  # n_steps of DQN are those of its returns
        frequency, unit = cast(TrainFreq, model.train_freq)
        return frequency * model.n_envs if unit is TrainFrequencyUnit.STEP else model.n_envs
    return int(getattr(model, "n_steps", 1)) * model.n_envs


def log_deployment(model: BaseAlgorithm, shift: Shift | None) -> None:
    """Record ``perf/round``, ``perf/shift`` and ``perf/reward_shift`` of a deployment, as far as they are known."""
    _log_round(model)
    if isinstance(shift, Shift):
        model.logger.record("perf/shift", shift.transition)
        model.logger.record("perf/reward_shift", shift.reward)


def _log_round(model: BaseAlgorithm) -> None:
    venv = model.get_env()
    if venv is not None and venv.has_attr("round"):
        model.logger.record("perf/round", venv.get_attr("round", indices=[0])[0])
