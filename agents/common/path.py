"""What lies between an agent and its world: whether the actions, observations and rewards of both are the same.

A policy is deployed as the agent has it. A wrapper that gives actions or observations another meaning without changing
their shape makes the world answer a policy that nobody plays. Which wrappers do so cannot be told from their classes,
so the first steps of a training are compared at both ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.common.queries import query_observations, read_states

#: Steps of all agents that are compared: enough for a wrapper that changes one action in four.
_STEPS = 48
_REMEDY = (
    "take the wrapper away, or do without declared deployments: with deployment='observed' the world answers what is "
    "really played"
)


class PathCheck:
    """Compares what an agent does and gets with what its world takes and gives, for the first steps it is shown.

    Args:
        venv: the environment as the agent has it.
        rewards: whether rewards are to be those that the world pays.
    """

    def __init__(self, venv: VecEnv, rewards: bool) -> None:
        self._venv, self._rewards = venv, rewards
        self._left = _STEPS if venv.has_attr("played") and venv.has_attr("state") else 0
        self._n_steps = _world_steps(venv) if self._left else 0

    @property
    def is_over(self) -> bool:
        """Whether enough has been compared."""
        return self._left <= 0

    def look(self, actions: Any, shown: VecEnvObs, rewards: NDArray[Any]) -> None:
        """Compare a step: actions as they were sent, the observations shown and the rewards handed out after it.

        Raises:
            ValueError: they are not those of the world.
        """
        if self.is_over:
            return
        self._left -= 1
        self._n_steps += 1
        n_steps, taken, paid = _played(self._venv)
        if n_steps != self._n_steps:
            raise ValueError(
                "env must make one step of the world for each action, got "
                f"{n_steps - self._n_steps + 1} steps for one: {_REMEDY}"
            )
        _check_actions(np.asarray(actions), taken)
        if self._rewards and not np.allclose(paid, rewards, rtol=1e-4, atol=1e-6):
            index = int(np.argmax(~np.isclose(paid, rewards, rtol=1e-4, atol=1e-6)))
            raise ValueError(
                f"env must hand out the rewards of the world, which its response map is about: agent {index} got "
                f"{rewards[index]:g} where the world paid {paid[index]:g}; a wrapper changes rewards"
            )
        check_shown(self._venv, shown, read_states(self._venv))


class CheckedPath(VecEnvWrapper):
    """Hands everything on, and compares the steps made through it.

    Args:
        venv: the environment.
        check: compares them.
    """

    def __init__(self, venv: VecEnv, check: PathCheck) -> None:
        super().__init__(venv)
        self._check = check
        self._sent: Any = None

    def reset(self) -> VecEnvObs:
        """Reset all sub-environments."""
        return self.venv.reset()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Pass the actions on."""
        self._sent = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step, and compare it."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self._check.look(self._sent, observations, rewards)
        return observations, rewards, dones, infos


def check_shown(env: VecEnv, shown: VecEnvObs, states: NDArray[np.int64]) -> None:
    """Raise ``ValueError`` unless the agent sees every state as the world says it does.

    Args:
        env: the environment.
        shown: what the agent sees now.
        states: the states the sub-environments are in.
    """
    asked = query_observations(env)
    pairs = [(asked[key], shown[key]) for key in shown] if isinstance(shown, dict) else [(asked, shown)]
    for expected, seen in pairs:
        if not np.allclose(np.asarray(expected)[states], seen, rtol=1e-5, atol=1e-6):
            raise ValueError(
                "env must show state s as query_observations[s], where the policy is asked before it is deployed: a "
                f"wrapper around the world changes observations and not query_observations; {_REMEDY}"
            )


def _check_actions(sent: NDArray[Any], taken: NDArray[Any]) -> None:
    alike = sent.shape == taken.shape and (
        np.array_equal(sent, taken)
        if taken.dtype.kind in "iu"
        else np.allclose(np.clip(sent, -1.0, 1.0), taken, rtol=0.0, atol=1e-6)
    )
    if alike:
        return
    if sent.shape == taken.shape:
        index = tuple(np.argwhere(~np.isclose(sent, taken, rtol=0.0, atol=1e-6))[0])
        difference = f"agent {index[0]} chose {sent[index]:g} and the world was given {taken[index]:g}"
    else:
        difference = f"agents chose {sent.shape} and the world was given {taken.shape}"
    raise ValueError(
        "env must hand on the actions of the agent, whose policy is deployed, but a wrapper changes them: "
        f"{difference}; {_REMEDY}"
    )


def _played(venv: VecEnv) -> tuple[int, NDArray[Any], NDArray[Any]]:
    """Return the steps of the world, the actions it took ``[n, ...]`` and the rewards it paid ``[n]``."""
    first = venv.get_attr("played", indices=[0])[0]
    if np.shape(first.reward) == (venv.num_envs,):
        return first.n_steps, np.asarray(first.action), np.asarray(first.reward)
    all_ = venv.get_attr("played")
    return first.n_steps, np.stack([one.action for one in all_]), np.stack([one.reward for one in all_])


def _world_steps(venv: VecEnv) -> int:
    return int(venv.get_attr("played", indices=[0])[0].n_steps)
