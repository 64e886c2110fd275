"""Meeting a world: finding its response map, and refusing what PePG would misread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from agents.common.deploying import performative_problem
from agents.common.queries import query_observations
from agents.pepg.response import ContinuousAnswer, TabularAnswer, WorldAnswer
from perf_envs import Problem

if TYPE_CHECKING:
    from agents.pepg.policies import PePGPolicy

#: What can be differentiated: a response model for every kind of problem.
MODELS: tuple[type[WorldAnswer], ...] = (TabularAnswer, ContinuousAnswer)
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
    model = next((model for model in MODELS if model.supports(problem)), None)
    if model is None:
        return None
    _check_one_world(env, problem, model)
    return model.of(env, policy, problem, ask(env, policy), gamma)


def ask(env: VecEnv, policy: PePGPolicy) -> PyTorchObs:
    """Return the observations of all states as the policy's tensors, as the agent would see them now."""
    observations, _ = policy.obs_to_tensor(query_observations(env))
    return observations


def _check_one_world(env: VecEnv, problem: Problem[Any], model: type[WorldAnswer]) -> None:
    """Raise ``ValueError`` unless all sub-environments answer as the first one does."""
    seen = {id(problem)}
    for index, other in enumerate(env.get_attr("problem")):
        if id(other) not in seen and not _answer_alike(problem, other, model):
            raise ValueError(
                "env must hold copies of one world, as PePG differentiates one response map: the answer of "
                f"sub-environment {index} differs from that of sub-environment 0"
            )
        seen.add(id(other))


def _answer_alike(one: Problem[Any], other: Problem[Any], model: type[WorldAnswer]) -> bool:
    """Whether two problems have the same shapes, discount, start, and answer to one policy that is not uniform."""
    if type(one) is not type(other) or one.gamma != other.gamma:
        return False
    return all(
        first.shape == second.shape and torch.allclose(first, second, rtol=0.0, atol=_SAME)
        for first, second in zip(model.probe(one), model.probe(other), strict=True)
    )
