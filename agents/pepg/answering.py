"""What every algorithm needs that knows how its world answers: the response map, deployments, the states it visits."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv

from agents.common.deploying import acts_independently, deploy, is_performative, log_deployment
from agents.common.guards import Guarded
from agents.common.notices import FitCheck, notice_evaluation
from agents.common.path import CheckedPath, PathCheck, check_shown
from agents.common.queries import read_states
from agents.common.settings import OwnOrWorldsDiscount, Rule, number, or_none, scheduled
from agents.pepg.policies import PePGPolicy
from agents.pepg.response import TabularAnswer, WorldAnswer
from agents.pepg.states import StateRecorder
from agents.pepg.worlds import ask, find_answer


class AnsweringWorld(Guarded, OwnOrWorldsDiscount):
    """Base: deploys the policy at the start of every rollout, and knows how the world would answer another one.

    Attributes:
        performative_coef: weight of the world's answer, a number or a schedule.
        strict: whether an environment without a response map is an error, or trained on without one.
    """

    #: :class:`agents.DeployCallback` leaves it to the algorithm.
    deploys_itself = True
    #: It asks the world how it would respond to other policies.
    uses_response_map: ClassVar[bool] = True
    #: What the algorithm is where nothing answers.
    myopic: ClassVar[str]

    policy: PePGPolicy
    performative_coef: float | Schedule
    strict: bool
    rules: ClassVar[Mapping[str, Rule]] = {
        "performative_coef": scheduled(),
        "gamma": or_none(number(above=0.0, at_most=1.0)),
    }

    def _expect_answers(self, performative_coef: float | Schedule, strict: bool, gamma: float | None) -> float:
        """Take the arguments all performative methods have; return the discount to start with."""
        self.performative_coef = performative_coef
        self.strict = strict
        return self._first_discount(gamma)

    def _setup_model(self) -> None:
        self._answer: WorldAnswer | None = None
        self._recorder: StateRecorder | None = None
        super()._setup_model()
        if not isinstance(self.policy, PePGPolicy):
            raise ValueError(f"policy must be a PePGPolicy, which worlds can ask, got {self.policy_class.__name__}")
        if self.env is not None:
            self._enter(self.env, self._find_answer(self.env))

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Change the environment, as in Stable-Baselines3; the response map is the new world's."""
        venv = self._wrap_env(env, self.verbose)
        check_for_correct_spaces(venv, self.observation_space, self.action_space)
        answer = self._find_answer(venv)
        super().set_env(venv, force_reset=force_reset)
        self._take_discount(venv)
        self._enter(venv, answer)

    def check_settings(self) -> None:
        """Check all settings, and take the world's discount where none is given."""
        super().check_settings()
        self._take_discount(self.env)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        self.check_settings()
        if self._answer is not None:
            self._answer.gamma = self.gamma
        if self.env is not None and self.strict:
            self._check_strict(self.env, self._answer)
        return super()._setup_learn(*args, **kwargs)

    def _find_answer(self, env: VecEnv) -> WorldAnswer | None:
        answer = find_answer(env, self.policy, self._discount_in(env))
        if self.strict:
            self._check_strict(env, answer)
        elif answer is None or not answer.has_gradient:
            warnings.warn(self._describe_missing(answer), stacklevel=4)
        return answer

    def _check_strict(self, env: VecEnv, answer: WorldAnswer | None) -> None:
        if answer is None or not answer.has_gradient:
            raise ValueError(f"{self._describe_missing(answer)}, which strict=True forbids; got {env}")

    def _describe_missing(self, answer: WorldAnswer | None) -> str:
        missing = "the environment has no response map" if answer is None else "the world's answer has no gradient"
        return f"{missing}: {type(self).__name__} trains {self.myopic} there"

    def _enter(self, env: VecEnv, answer: WorldAnswer | None) -> None:
        """Begin to work in an environment."""
        self._answer = answer
        shown = not isinstance(answer, TabularAnswer) or answer.indexed
        self._recorder = None if shown else StateRecorder(env)
        self._fit = FitCheck()
        self._path: PathCheck | None = None
        if answer is not None:
            env.env_method("set_deployment", "declared")
            if self.num_timesteps > 0 and env.has_attr("await_deployment"):
                env.env_method(
                    "await_deployment", "the model has been handed this environment, and has not deployed yet"
                )

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Deploy the policy, then collect a round of experience under it."""
        self.policy.set_training_mode(False)
        is_first = self.num_timesteps == self._num_timesteps_at_start
        if is_first:
            notice_evaluation(callback)
        if self._answer is not None:
            self._deploy(self._answer, env)
            if is_first:
                self._path = PathCheck(env, rewards=True)
                if self._last_obs is not None and not self._path.is_over:
                    check_shown(env, self._last_obs, read_states(env))
        elif is_performative(env):
            log_deployment(self, deploy(self))
        if self._recorder is not None:
            self._recorder.forget()
            env = self._recorder
        if self._path is not None and not self._path.is_over:
            env = CheckedPath(env, self._path)
        with self._acting():
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def _deploy(self, answer: WorldAnswer, env: VecEnv) -> None:
        self._fit.look(env)
        if self._vec_normalize_env is not None:  # its statistics have moved
            answer.observations = ask(env, self.policy)
        log_deployment(self, answer.deploy(self.policy, env))
        self._fit.is_due = acts_independently(self)

    def _acting(self) -> AbstractContextManager[None]:
        """Return the context in which experience is collected."""
        return nullcontext()

    def _excluded_save_params(self) -> list[str]:
        """The response map belongs to the environment and is found again when one is set."""
        return [*super()._excluded_save_params(), "_answer", "_recorder", "_path", "_fit"]
