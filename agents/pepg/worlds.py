"""Meeting a world: finding its response map, and refusing what PePG would misread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from agents.common.deploying import performative_problem, query_observations
from agents.pepg.response import TabularAnswer, WorldAnswer
from perf_envs import PerformativeMDP

if TYPE_CHECKING:
    from agents.pepg.policies import PePGPolicy

#: How far apart the answers of two copies of one world may be.
_SAME = 1e-9


def find_answer(env: VecEnv, policy: PePGPolicy, gamma: float) -> WorldAnswer | None:
    """Return the answer of the world behind ``env``, ``None`` for an ordinary environment; changes nothing.

    Raises:
        ValueError: the sub-environments are different worlds, rewards are normalised, or the policy cannot be asked at
            the observations of the states.
    """
    problem = performative_problem(env)
    if problem is None:
        return None
    normalizer = unwrap_vec_normalize(env)
    if normalizer is not None and normalizer.norm_reward:
        raise ValueError(
            "VecNormalize must have norm_reward=False: the response map's rewards are in the world's own units, "
            "and PePG adds them to the critic's values"
        )
    _check_one_world(env, problem)
    asked = query_observations(env)
    observations, _ = policy.obs_to_tensor(asked)
    space = env.observation_space
    indexed = isinstance(space, spaces.Discrete) and np.array_equal(asked, np.arange(int(space.n)))
    return TabularAnswer(problem, observations, gamma, indexed)


def _check_one_world(env: VecEnv, problem: PerformativeMDP) -> None:
    """Raise ``ValueError`` unless all sub-environments answer as the first one does."""
    seen = {id(problem)}
    for index, other in enumerate(env.get_attr("problem")):
        if id(other) not in seen and not _answers_alike(problem, other):
            raise ValueError(
                "env must hold copies of one world, as PePG differentiates one response map: the answer of "
                f"sub-environment {index} differs from that of sub-environment 0"
            )
        seen.add(id(other))


def _answers_alike(one: PerformativeMDP, other: PerformativeMDP) -> bool:
    """Whether two problems have the same start, discount, and answer to a policy that prefers some actions."""
    if (one.n_states, one.n_actions, one.gamma) != (other.n_states, other.n_actions, other.gamma):
        return False
    ramp = torch.linspace(-1.0, 1.0, one.n_states * one.n_actions, dtype=torch.float64)
    pi = torch.softmax(torch.sin(37.0 * ramp).reshape(one.n_states, one.n_actions), -1)
    first, second = one.response(pi), other.response(pi)
    return (
        torch.allclose(one.rho, other.rho, rtol=0.0, atol=_SAME)
        and torch.equal(first.expanded_successors(), second.expanded_successors())
        and torch.allclose(first.probs, second.probs, rtol=0.0, atol=_SAME)
        and torch.allclose(first.rewards, second.rewards, rtol=0.0, atol=_SAME)
    )
