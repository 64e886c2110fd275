"""What a natural step reports, and the units in which the world's answer enters it."""

import numpy as np
import pytest
import torch

from agents import MDPO, NPG, PerformativeNPG, PPOPenalty, make_vec_env
from agents.planning.ascent import natural_step
from perf_envs import exact

PI = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
COUNTS = np.array([[4, 2, 2], [1, 1, 3]])
ADVANTAGES = np.array([[1.0, -1.0, 0.3], [-2.0, 0.5, 0.1]])
PLAIN = {"normalize_advantage": False, "cg_damping": 0.0, "cg_max_steps": 10}


def test_the_divergence_reported_is_from_the_old_policy_to_the_new_one(filled, table_of):
    """A long step, after which the two directions are far apart; states weigh as they were visited."""
    model = filled(NPG, PI, COUNTS, ADVANTAGES, step_size=1.5, target_kl=None, **PLAIN)
    model.train()
    new = table_of(model)
    share = COUNTS.sum(-1) / COUNTS.sum()
    there, back = (share @ (p * np.log(p / q)).sum(-1) for p, q in ((PI, new), (new, PI)))
    assert abs(there - back) > 0.1 * there
    assert model.logger.name_to_value["train/kl"] == pytest.approx(there, rel=1e-4)


def test_the_objective_and_the_entropy_are_reported_as_they_were_before_the_step(filled):
    model = filled(NPG, PI, COUNTS, ADVANTAGES, step_size=0.5, target_kl=None, **PLAIN)
    model.train()
    logged = model.logger.name_to_value
    objective = (COUNTS * ADVANTAGES).sum() / COUNTS.sum()
    assert logged["train/policy_gradient_loss"] == pytest.approx(-objective, rel=1e-5)
    assert logged["train/loss"] == pytest.approx(-objective, rel=1e-5)
    entropy = (COUNTS.sum(-1) @ (PI * np.log(PI)).sum(-1)) / COUNTS.sum()
    assert logged["train/entropy_loss"] == pytest.approx(entropy, rel=1e-5)
    assert logged["train/n_updates"] == 1


@pytest.mark.parametrize("normalize", [False, True])
def test_the_answer_is_in_the_units_of_the_advantages(filled, table_of, normalize):
    """Normalised, everything is divided by the deviation of the advantages: so much shorter is the step."""
    venv = make_vec_env("SoftmaxPeMDP-v0", 1, seed=3, env_kwargs={"n_states": 5, "n_actions": 3})
    problem = venv.get_attr("problem")[0]
    pi = torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double(), -1)
    terms = exact.gradient_terms(problem, pi)
    counts = (20_000 * terms.occupancy[:, None] * pi).round().long().numpy()
    advantages = exact.advantages(problem, pi).numpy()
    scale = np.std(np.repeat(advantages.ravel(), counts.ravel()), ddof=1) if normalize else 1.0
    assert abs(np.log(scale)) > 0.3 or not normalize
    rate = 0.02
    planned = torch.softmax(torch.log(pi) + natural_step(rate)(terms.policy + 0.5 * terms.response, terms), -1)
    model = filled(
        PerformativeNPG,
        pi,
        counts,
        advantages,
        venv,
        performative_coef=0.5,
        step_size=scale * rate / (1.0 - problem.gamma),
        target_kl=None,
        n_critic_updates=0,
        **PLAIN | {"normalize_advantage": normalize},
    )
    with torch.no_grad():
        model.policy.value_net.weight.copy_(exact.state_values(problem, pi)[None])
    model.train()
    assert (planned - pi).abs().max() > 0.01
    np.testing.assert_allclose(table_of(model), planned, atol=3e-4)
    assert model.logger.name_to_value["train/performative_coef"] == 0.5
    assert model.logger.name_to_value["train/response_loss"] == pytest.approx(0.0, abs=1e-5)  # at the policy deployed


@pytest.mark.parametrize("algorithm", [MDPO, PPOPenalty])
def test_a_minibatch_of_one_step_is_learnt_from_as_it_is(algorithm, table_env):
    """Three steps in batches of two: the last one has no deviation to be divided by."""
    model = algorithm("MlpPolicy", table_env(), n_steps=3, batch_size=2, n_epochs=2, seed=0, device="cpu").learn(6)
    assert all(bool(torch.isfinite(part).all()) for part in model.policy.parameters())
    assert model.logger.name_to_value["train/n_updates"] == 4
