"""Statement 5: the performance-difference lemma, in a world that stands still and in one that answers."""

import numpy as np
import pytest
from hypothesis import given

from perf_envs import exact
from tests.perf_envs.worlds import random_pemdp
from tests.theory.instances import answered, examples, random_mdp, random_table, seeds


@examples
@given(seeds)
def test_the_classic_lemma_holds(seed):
    mdp = random_mdp(seed)
    problem, pi, other = mdp.problem(), random_table(mdp.r.shape, seed), random_table(mdp.r.shape, seed + 1)
    advantages, d = exact.advantages(problem, other).numpy(), exact.occupancy(problem, pi).numpy()
    lemma = (d[:, None] * pi * advantages).sum() / (1 - mdp.gamma)
    assert lemma == pytest.approx(mdp.J(pi) - mdp.J(other), abs=1e-11)


@examples
@given(seeds)
def test_the_performative_lemma_holds(seed):
    problem = random_pemdp(seed, max_states=8)
    shape = (problem.n_states, problem.n_actions)
    pi, other = random_table(shape, seed), random_table(shape, seed + 1)
    here, there = answered(problem, pi), answered(problem, other)
    shift = (here.r - there.r) + problem.gamma * (here.P - there.P) @ here.values(pi)
    gained = exact.advantages(problem, other).numpy() + shift
    d = exact.occupancy(problem.response(other), pi).numpy()
    lemma = (d[:, None] * pi * gained).sum() / (1 - problem.gamma)
    assert lemma == pytest.approx(here.J(pi) - there.J(other), abs=1e-10)
    assert np.abs(shift).max() > 1e-4  # the world did answer


@examples
@given(seeds)
def test_leaving_the_shift_out_of_the_performative_lemma_breaks_it(seed):
    problem = random_pemdp(seed, max_states=8)
    shape = (problem.n_states, problem.n_actions)
    pi, other = random_table(shape, seed), random_table(shape, seed + 1)
    here, there = answered(problem, pi), answered(problem, other)
    classic = (there.occupancy(pi)[:, None] * pi * there.advantages(other)).sum() / (1 - problem.gamma)
    assert classic == pytest.approx(there.J(pi) - there.J(other), abs=1e-10)  # right where the world stands still
    assert classic != pytest.approx(here.J(pi) - there.J(other), abs=1e-6)
