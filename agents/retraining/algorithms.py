"""The retraining methods as Stable-Baselines3 algorithms: all they learn from is the steps of their environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from agents.common.settings import Rule, count, number, or_none
from agents.retraining.frank_wolfe import best_vertex, gradient_scale, sphere_direction
from agents.retraining.model import Floats
from agents.retraining.program import OccupancyProgram
from agents.retraining.repeated import round_weights
from agents.retraining.samples import Samples, empirical_model
from agents.retraining.tabular import TabularPolicy
from agents.retraining.tabular_algorithm import TabularAlgorithm
from perf_envs.validation import check_number


class RepeatedRetraining(TabularAlgorithm):
    """Retraining on samples: RR, RGA, DRR or MDRR, by its arguments.

    See :func:`agents.retraining.repeated_retraining` and its relatives. State-action pairs without samples carry no
    mass, as the papers' coverage assumption has it: a policy that has given up an action never learns of it again.

    Args:
        policy: ``"TabularPolicy"``.
        env: a performative world with ``Discrete`` states and actions.
        n_steps: steps per sub-environment and deployment.
        gamma: discount; ``None`` takes the world's own.
        regularization: weight ``lambda`` on the unnormalised occupancy.
        regularizer: ``"l2"`` or ``"entropy"``.
        k: deployments per retraining; more than one is DRR.
        v: how much more each of these rounds weighs than the one before it, ``> 1`` (MDRR); ``None`` retrains on the
            last alone.
        ascent_rate: step ``eta`` of a projected gradient step instead of a whole solution (RGA, with ``"l2"``).
        policy_kwargs, stats_window_size, tensorboard_log, verbose, seed, device, _init_setup_model: as in
            Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, or the environment is not a performative world.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"k": count(), "ascent_rate": or_none(number(above=0.0))}

    def __init__(
        self,
        policy: str | type[TabularPolicy],
        env: GymEnv | str,
        n_steps: int = 32,
        gamma: float | None = None,
        regularization: float = 1.0,
        regularizer: str = "l2",
        k: int = 1,
        v: float | None = None,
        ascent_rate: float | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        self.k, self.v, self.ascent_rate = k, v, ascent_rate
        self.regularization, self.regularizer = regularization, regularizer
        super().__init__(
            policy,
            env,
            n_steps,
            gamma,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def check_settings(self) -> None:
        """Check all settings, alone and together."""
        super().check_settings()
        round_weights(self.k, self.v)
        if self.ascent_rate is not None and self.regularizer != "l2":
            raise ValueError(f"regularizer must be 'l2' with an ascent_rate, got {self.regularizer!r}")
        OccupancyProgram([1.0], 0.5, self.regularization, self.regularizer)

    def _prepare(self) -> None:
        self._rounds: list[Samples] = []
        self._planned: Floats | None = None

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Deploy the policy and keep the samples of the round."""
        samples = self._play(env, callback, self.policy.table)
        self._rounds += [] if samples is None else [samples]
        return samples is not None

    def train(self) -> None:
        """Retrain, once the policy has been deployed ``k`` times."""
        if len(self._rounds) < self.k:
            return
        # As many as there are to be, also where k was made smaller while rounds were collected.
        kept, shares = self._rounds[-self.k :], round_weights(self.k, self.v)
        used = [(samples, share) for samples, share in zip(kept, shares, strict=True) if share > 0.0]
        rounds, weights = zip(*used, strict=True)
        self._rounds = []
        model = empirical_model(rounds, self._rho, self.policy.table.shape[1], weights, "avoid")
        if self.ascent_rate is None:
            solution = OccupancyProgram(self._rho, self.gamma, self.regularization, self.regularizer).solve(model)
        else:
            if self._planned is None:  # that of the start policy, as the samples have it
                self._planned = _empirical_occupancy(rounds[-1], self.policy.table.shape, self.gamma)
            target = (1.0 - self.ascent_rate * self.regularization) * self._planned + self.ascent_rate * model.rewards
            solution = OccupancyProgram(self._rho, self.gamma, 1.0).solve(model, target)
        self._planned = solution.occupancy.numpy()
        self.policy.set_table(solution.policy)
        self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/residual", solution.residual)


class ZerothOrderFrankWolfe(TabularAlgorithm):
    """Zeroth-order Frank-Wolfe on sampled values: every rollout deploys a perturbed policy and plays it from the start.

    See :func:`agents.retraining.zeroth_order_frank_wolfe`. A value is the mean discounted return of the first episode
    in every sub-environment, cut after ``n_steps`` steps.

    Args:
        policy: ``"TabularPolicy"``.
        env: a performative world with ``Discrete`` states and actions.
        n_steps: steps per sub-environment and deployment.
        gamma: discount; ``None`` takes the world's own.
        n_directions: directions per step, each of two deployments.
        border: least probability of an action, in (0, 1 / A).
        radius: length of the perturbations, in (0, border); ``None`` for 0.9 of the border.
        step_size: ``beta`` in (0, 1]; ``None`` for ``2 / (t + 2)``.
        policy_kwargs, stats_window_size, tensorboard_log, verbose, seed, device, _init_setup_model: as in
            Stable-Baselines3.

    Raises:
        ValueError: an argument is out of range, or the environment is not a performative world.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "n_directions": count(),
        "border": number(above=0.0, below=1.0),
        "step_size": or_none(number(above=0.0, at_most=1.0)),
    }

    def __init__(
        self,
        policy: str | type[TabularPolicy],
        env: GymEnv | str,
        n_steps: int = 32,
        gamma: float | None = None,
        n_directions: int = 5,
        border: float = 0.05,
        radius: float | None = None,
        step_size: float | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        self.n_directions, self.border, self.radius, self.step_size = n_directions, border, radius, step_size
        super().__init__(
            policy,
            env,
            n_steps,
            gamma,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def check_settings(self) -> None:
        """Check all settings, alone and together."""
        super().check_settings()
        if self.radius is not None:
            check_number("radius", self.radius, above=0.0, below=self.border)
        if self.env is not None:
            check_number("border", self.border, above=0.0, below=1.0 / int(self.action_space.n))  # type: ignore[attr-defined]

    @property
    def _length(self) -> float:
        """Length of the perturbations."""
        return 0.9 * self.border if self.radius is None else self.radius

    def _prepare(self) -> None:
        self._directions: list[Floats] = []
        self._values: list[float] = []

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Deploy the policy moved along a direction, the second time against it, and estimate its value."""
        table = self.policy.table.numpy()
        ahead = len(self._values) % 2 == 0
        if ahead:
            self._directions.append(sphere_direction((table.shape[0], table.shape[1]), self._rng))
        self._last_obs = env.reset()  # type: ignore[assignment]
        samples = self._play(env, callback, table + (1 if ahead else -1) * self._length * self._directions[-1])
        if samples is not None:
            self._values.append(_first_returns(samples.rewards, self._over, self.gamma))
        return samples is not None

    def train(self) -> None:
        """Make a Frank-Wolfe step, once all directions have been tried."""
        if len(self._values) < 2 * self.n_directions:
            return
        values = np.array(self._values).reshape(-1, 2)
        total = np.einsum("n,nsa->sa", values[:, 0] - values[:, 1], np.stack(self._directions))
        table = self.policy.table.numpy().copy()
        gradient = gradient_scale(table.shape[0], table.shape[1], len(self._directions), self._length) * total
        direction = best_vertex(gradient, self.border) - table
        step_size = 2.0 / (self._n_updates + 2.0) if self.step_size is None else self.step_size
        self.policy.set_table(table + step_size * direction)
        self._directions, self._values = [], []
        self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/frank_wolfe_gap", float((gradient * direction).sum()))


def _empirical_occupancy(samples: Samples, shape: Any, gamma: float) -> Floats:
    """Return the shares of the pairs in the samples, scaled to the mass of an occupancy."""
    counts: Floats = np.zeros(tuple(shape))
    np.add.at(counts, (samples.states, samples.actions), 1.0)
    occupancy: Floats = counts / (counts.sum() * (1.0 - gamma))
    return occupancy


def _first_returns(rewards: Floats, over: NDArray[np.bool_], gamma: float) -> float:
    """Return the mean discounted return of the first episode of every sub-environment; the rollout begins with it.

    Args:
        rewards: of all steps, ``[T n]``, those made side by side next to each other.
        over: whether they ended an episode, ``[T, n]``.
        gamma: the discount.
    """
    paid = rewards.reshape(over.shape)
    playing: NDArray[np.bool_] = np.cumsum(over, axis=0) - over == 0
    return float((gamma ** np.arange(len(paid)) @ (paid * playing)).mean())
