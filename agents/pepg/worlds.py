"""Meeting a world: finding its response map, and refusing what PePG would misread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from agents.common.deploying import PerformativeProblem, performative_problem
from agents.common.queries import query_observations
from agents.pepg.response import ContinuousAnswer, TabularAnswer, WorldAnswer
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
    observations = ask(env, policy)
    if not isinstance(problem, PerformativeMDP):
        if policy.squash_output:
            raise ValueError("squash_output must be False in this world, whose answer is to a Gaussian policy")
        return ContinuousAnswer(problem, observations, gamma)
    space = env.observation_space
    indexed = isinstance(space, spaces.Discrete) and np.array_equal(query_observations(env), np.arange(int(space.n)))
    gradual = env.get_attr("adaptation_rate", indices=[0])[0] < 1.0
    return TabularAnswer(problem, observations, gamma, indexed, gradual)


def ask(env: VecEnv, policy: PePGPolicy) -> PyTorchObs:
    """Return the observations of all states as the policy's tensors, as the agent would see them now."""
    observations, _ = policy.obs_to_tensor(query_observations(env))
    return observations


def _check_one_world(env: VecEnv, problem: PerformativeProblem) -> None:
    """Raise ``ValueError`` unless all sub-environments answer as the first one does."""
    seen = {id(problem)}
    for index, other in enumerate(env.get_attr("problem")):
        if id(other) not in seen and not _answer_alike(problem, other):
            raise ValueError(
                "env must hold copies of one world, as PePG differentiates one response map: the answer of "
                f"sub-environment {index} differs from that of sub-environment 0"
            )
        seen.add(id(other))


def _answer_alike(one: PerformativeProblem, other: PerformativeProblem) -> bool:
    """Whether two problems have the same shapes, discount, start, and answer to one policy that is not uniform."""
    if type(one) is not type(other) or one.gamma != other.gamma:
        return False
    return all(
        first.shape == second.shape and torch.allclose(first, second, rtol=0.0, atol=_SAME)
        for first, second in zip(_probe(one), _probe(other), strict=True)
    )


def _probe(problem: PerformativeProblem) -> list[torch.Tensor]:
    """Return all that the agent can tell of a problem's answer to one policy."""
    if isinstance(problem, PerformativeMDP):
        logits = torch.arange(problem.n_states * problem.n_actions, dtype=torch.float64).sin()
        dynamics = problem.response(torch.softmax(logits.reshape(problem.n_states, problem.n_actions), -1))
        return [dynamics.expanded_successors().double(), dynamics.probs, dynamics.rewards, problem.rho]
    mean = torch.arange(problem.horizon * problem.n_products, dtype=torch.float64).sin()
    mean = mean.reshape(problem.horizon, problem.n_products)
    market = problem.response(mean, torch.full_like(mean, 0.3))
    return [market.demand, market.demand_std, market.prices(mean)]
