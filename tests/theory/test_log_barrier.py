"""Statement 8: near-stationary points of the log barrier are near-optimal at fixed dynamics."""

import numpy as np
import pytest

from agents.planning import log_barrier
from tests.theory.instances import random_mdp
from tests.theory.test_softmax_gradient import autograd_gradient


def barrier_gradient(mdp, pi, barrier):
    """Return the gradient of ``J + barrier / (S A) sum log pi`` with respect to softmax logits."""
    n_states, n_actions = pi.shape
    return autograd_gradient(mdp, np.log(pi)) + barrier / n_states * (1.0 / n_actions - pi)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("barrier", [0.3, 0.03])
def test_where_the_barrier_gradient_is_small_the_policy_is_near_optimal_from_every_start(seed, barrier):
    mdp = random_mdp(seed)
    n_states, n_actions = mdp.r.shape
    result = log_barrier(mdp.problem(), barrier=barrier, performative_coef=0.0, n_iterations=3000)
    assert result.converged
    pi = result.policy.numpy()
    length = float(np.linalg.norm(barrier_gradient(mdp, pi, barrier)))
    assert length == pytest.approx(result.gap, rel=1e-6)
    assert length <= barrier / (2 * n_states * n_actions)
    # The step of the proof that does the work: no advantage is large anywhere.
    assert (mdp.advantages(pi).max(-1) <= 2 * barrier / (mdp.rho * n_states)).all()
    shortfall, best = mdp.optimal_values() - mdp.values(pi), mdp.optimal_policy()
    for start in [mdp.rho, *np.eye(n_states)]:
        mismatch = float((mdp.occupancy(best, start) / mdp.rho).max())
        assert 0.0 < float(start @ shortfall) <= 2 * barrier / (1 - mdp.gamma) * mismatch
