"""The last steps to a solution, from starts that are far from it: the solver usually leaves little to do."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from agents.retraining.polishing import polish_linear


def random_program(seed, n_states=6, n_actions=3, gamma=0.9):
    """Return flow, supply and rewards of a random decision problem, and the row of every pair."""
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(n_states), size=n_states * n_actions)
    row_of = np.repeat(np.arange(n_states), n_actions)
    flow = (np.arange(n_states)[:, None] == row_of) - gamma * P.T
    return sp.csc_array(flow), rng.dirichlet(np.ones(n_states)), rng.uniform(size=n_states * n_actions), row_of


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("start", ["nothing", "the reverse", "noise"])
def test_from_any_start_it_ends_at_the_optimum_of_the_linear_program(seed, start):
    flow, supply, rewards, row_of = random_program(seed)
    h = {"nothing": np.zeros(6), "noise": np.random.default_rng(seed).normal(size=6) * 10}
    h["the reverse"] = -20.0 * np.linalg.lstsq(flow.toarray().T, rewards)[0]
    d, values = polish_linear(flow, supply, rewards, row_of, h[start])
    reference = linprog(-rewards, A_eq=flow.toarray(), b_eq=supply, bounds=(0, None), method="highs")
    assert rewards @ d == pytest.approx(-reference.fun, rel=1e-9)
    np.testing.assert_allclose(flow @ d, supply, atol=1e-12)
    assert supply @ values == pytest.approx(-reference.fun, rel=1e-9)  # the dual optimum
    assert (flow.T @ values >= rewards - 1e-9).all()
    assert (np.bincount(row_of, weights=d > 0) <= 1).all()  # a vertex: one pair per state
