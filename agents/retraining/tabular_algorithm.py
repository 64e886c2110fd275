"""Stable-Baselines3 algorithms that deploy a policy table and learn from the samples of each rollout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from agents.common.deploying import log_deployment
from agents.common.notices import FitCheck, notice_evaluation
from agents.common.path import PathCheck
from agents.common.refusals import refusals
from agents.common.settings import OwnOrWorldsDiscount, Rule, number, or_none
from agents.retraining.model import Floats
from agents.retraining.samples import Samples
from agents.retraining.tabular import TabularPolicy
from perf_envs import Problem
from perf_envs.policies import TablePolicies


class TabularAlgorithm(OwnOrWorldsDiscount):
    """What the methods share: a policy table, deployed at the start of every rollout, and the samples of the rollout.

    The start distribution of the world and its discount are known; its answer is not.

    Args:
        policy: ``"TabularPolicy"``.
        env: a performative world with ``Discrete`` states and actions.
        n_steps: steps per sub-environment and deployment.
        gamma: discount; ``None`` takes the world's own.
        arguments: ``policy_kwargs``, ``stats_window_size``, ``tensorboard_log``, ``verbose``, ``seed``, ``device`` and
            ``_init_setup_model`` as in Stable-Baselines3.

    Raises:
        ValueError: the environment is not a performative world, or is normalised; where Stable-Baselines3 refuses
            arguments or spaces in another way, also what it raises (:mod:`agents.common.refusals`).
    """

    #: :class:`agents.DeployCallback` leaves it to the algorithm.
    deploys_itself = True
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"TabularPolicy": TabularPolicy}
    policy: TabularPolicy  # type: ignore[assignment]
    rules: ClassVar[Mapping[str, Rule]] = {"gamma": or_none(number(above=0.0, below=1.0))}

    @staticmethod
    def supports(problem: Problem[Any] | None) -> bool:
        """Whether such methods can act in a world: it has finitely many states and actions."""
        return problem is not None and isinstance(problem.policies, TablePolicies)

    @refusals("a tabular algorithm cannot be built like this")
    def __init__(
        self, policy: str | type[TabularPolicy], env: GymEnv | str, n_steps: int, gamma: float | None, **arguments: Any
    ) -> None:
        ready = arguments.pop("_init_setup_model", True)
        super().__init__(
            policy,  # type: ignore[arg-type]
            env,
            learning_rate=0.0,
            n_steps=n_steps,
            gamma=self._first_discount(gamma),
            gae_lambda=1.0,
            ent_coef=0.0,
            vf_coef=0.0,
            max_grad_norm=1.0,
            use_sde=False,
            sde_sample_freq=-1,
            _init_setup_model=False,
            supported_action_spaces=(spaces.Discrete,),
            **arguments,
        )
        if ready:
            self._setup_model()

    def _build(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._rng = np.random.default_rng(self.seed if self.seed is None else (self.seed, 1))
        self.rollout_buffer = None  # type: ignore[assignment]
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        )
        if self.env is not None:
            self._meet_world(self.env)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Change the environment, as in Stable-Baselines3; rounds of the world before are forgotten."""
        venv = self._wrap_env(env, self.verbose)
        check_for_correct_spaces(venv, self.observation_space, self.action_space)
        _check_tabular(venv)
        super().set_env(venv, force_reset=force_reset)
        self._meet_world(venv)

    def _meet_world(self, env: VecEnv) -> None:
        _check_tabular(env)
        self._take_discount(env)
        self._rho: Floats = env.get_attr("initial_distribution", indices=[0])[0]
        env.env_method("set_deployment", "declared")
        self._fit, self._path = FitCheck(), PathCheck(env, rewards=False)
        self._prepare()

    def _prepare(self) -> None:
        """Get ready for a world."""

    def _excluded_save_params(self) -> list[str]:
        """What belongs to the environment."""
        return [*super()._excluded_save_params(), "_fit", "_path", "_over"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []

    def _play(self, env: VecEnv, callback: BaseCallback, table: object) -> Samples | None:
        """Deploy a policy table and play it for a rollout; ``None`` if a callback has stopped the training."""
        if self.num_timesteps == self._num_timesteps_at_start:
            notice_evaluation(callback)
            self._path = PathCheck(env, rewards=False)
        self._fit.look(env)
        log_deployment(self, env.env_method("deploy", np.asarray(table))[0])
        self._fit.is_due = True
        callback.on_rollout_start()
        played = TabularPolicy(self.observation_space, self.action_space)
        played.set_table(table)
        steps, over = [], []
        for _ in range(self.n_steps):
            states = np.asarray(self._last_obs)
            actions = played.sample(states, self._rng)
            self._last_obs, rewards, dones, infos = env.step(actions)  # type: ignore[assignment]
            self._path.look(actions, self._last_obs, rewards)  # type: ignore[arg-type]
            self.num_timesteps += env.num_envs
            following, ended = np.array(self._last_obs), dones.copy()
            for index in np.flatnonzero(dones):
                following[index] = infos[index]["terminal_observation"]
                ended[index] = not infos[index].get("TimeLimit.truncated", False)
            steps.append((states, actions, rewards.astype(np.float64), following, ended))
            over.append(dones.copy())
            callback.update_locals(locals())
            if not callback.on_step():
                return None
            self._update_info_buffer(infos, dones)
        callback.on_rollout_end()
        #: Whether each step of the rollout played last ended an episode, by a time limit or otherwise, ``[T, n]``.
        self._over = np.stack(over)
        return Samples(*(np.concatenate(column) for column in zip(*steps, strict=True)))


def _check_tabular(env: VecEnv) -> None:
    """Raise ``ValueError`` unless an environment has finitely many states and actions, shown as they are."""
    policies = env.get_attr("policies", indices=[0])[0] if env.has_attr("policies") else None
    if not isinstance(policies, TablePolicies):
        raise ValueError(f"env must be a performative world with Discrete states and actions, got {env}")
    if unwrap_vec_normalize(env) is not None:
        raise ValueError("env must not be normalised: states are indices and rewards are in the world's own units")
