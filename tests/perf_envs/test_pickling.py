"""Worlds and what they hold survive the way to other processes, and so do the processes they came from."""

import copy
import pickle
from multiprocessing.reduction import ForkingPickler

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.perf_envs.worlds import make_world, random_policy
from tests.worlds import CONTINUOUS_WORLDS, TABULAR_WORLDS


@pytest.mark.parametrize("env_id", [*TABULAR_WORLDS, *CONTINUOUS_WORLDS])
@pytest.mark.parametrize("dumps", [pickle.dumps, ForkingPickler.dumps])
def test_a_world_that_was_sent_elsewhere_still_steps_as_before(env_id, dumps):
    """Torch would move the memory of tensors that are sent to a process; arrays that view it must not notice."""
    used, untouched = (gym.make(env_id) for _ in range(2))
    for env in (used, untouched):
        env.reset(seed=0)
        env.action_space.seed(0)
    for name in ("problem", "dynamics", "rounds"):
        dumps(getattr(used.unwrapped, name))
    for _ in range(50):
        action = untouched.action_space.sample()
        mine, theirs = used.step(action), untouched.step(action)
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert mine[1:4] == theirs[1:4]
        if mine[2] or mine[3]:
            used.reset()
            untouched.reset()


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])
def test_copies_answer_alike(env_id, duplicate):
    problem = make_world(env_id).problem
    pi = random_policy(problem, seed=0)
    mine, theirs = problem.response(pi), duplicate(problem).response(pi)
    for name in ("successors", "probs", "rewards", "absorbing", "rho"):
        torch.testing.assert_close(getattr(mine, name), getattr(theirs, name), rtol=0.0, atol=1e-14)
    again = duplicate(mine.detach())
    assert torch.equal(again.probs, mine.probs)
    assert {name: value.tolist() for name, value in again.latents.items()} == {
        name: value.tolist() for name, value in mine.latents.items()
    }
