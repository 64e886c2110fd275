import numpy as np
import pytest
import torch

from agents import NPG, make_vec_env
from agents.planning.ascent import natural_step
from perf_envs import exact
from tests.precision import SINGLE

PI = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
COUNTS = np.array([[4, 2, 2], [1, 1, 3]])
ADVANTAGES = np.array([[1.0, -1.0, 0.3], [-2.0, 0.5, 0.1]])
PLAIN = {"normalize_advantage": False, "cg_damping": 0.0, "cg_max_steps": 10}


@pytest.mark.parametrize("step_size", [0.1, 0.7])
def test_the_natural_gradient_of_a_table_is_the_advantage(filled, table_of, step_size):
    """``pi_new ~ pi_old exp(eta A)`` (Kakade 2001; Agarwal et al. 2021, lemma 15), whatever the visits."""
    model = filled(NPG, PI, COUNTS, ADVANTAGES, step_size=step_size, target_kl=None, **PLAIN)
    model.train()
    expected = PI * np.exp(step_size * ADVANTAGES)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(table_of(model), expected, atol=1e-4)


def test_on_exact_advantages_it_is_the_step_of_the_planner(filled, table_of):
    venv = make_vec_env("SoftmaxPeMDP-v0", 1, seed=0, env_kwargs={"n_states": 5, "n_actions": 3})
    problem = venv.get_attr("problem")[0]
    pi = torch.full((5, 3), 1.0 / 3.0, dtype=torch.float64)
    terms = exact.gradient_terms(problem, pi)
    planned = torch.softmax(torch.log(pi) + natural_step(0.05)(terms.policy, terms), -1)
    advantages = exact.advantages(problem, pi).numpy()
    rate = 0.05 / (1.0 - problem.gamma)
    model = filled(NPG, pi, np.full((5, 3), 4), advantages, venv, step_size=rate, target_kl=None, **PLAIN)
    model.train()
    assert (planned - pi).abs().max() > 0.01
    np.testing.assert_allclose(table_of(model), planned, atol=1e-4)


@pytest.mark.parametrize("target_kl", [1e-5, 1e-3])
def test_the_step_goes_to_the_border_of_the_trust_region(filled, table_of, target_kl):
    model = filled(NPG, PI, COUNTS, ADVANTAGES, target_kl=target_kl, **PLAIN)
    model.train()
    kl = (COUNTS.sum(-1) * (PI * np.log(PI / table_of(model))).sum(-1)).sum() / COUNTS.sum()
    assert kl == pytest.approx(target_kl, rel=0.05)  # the divergence is quadratic to leading order


def test_a_step_size_goes_no_further_than_the_trust_region(filled, table_of):
    tables = [
        table_of(model)
        for arguments in ({"step_size": 1e3, "target_kl": 1e-3}, {"target_kl": 1e-3}, {"step_size": 1e-3})
        for model in [filled(NPG, PI, COUNTS, ADVANTAGES, **PLAIN, **arguments)]
        if model.train() is None
    ]
    np.testing.assert_allclose(tables[0], tables[1], atol=SINGLE)
    assert np.abs(tables[2] - PI).max() < 0.1 * np.abs(tables[1] - PI).max()


def test_without_anything_to_gain_the_policy_stays(filled, table_of):
    model = filled(NPG, PI, COUNTS, np.zeros((2, 3)), n_critic_updates=0)
    before = model.policy.action_net.weight.clone()
    model.train()
    assert torch.equal(before, model.policy.action_net.weight)


def test_the_critic_does_not_move_what_it_shares_with_the_policy(table_env):
    """One network for both, and no advantage anywhere: the policy must not move, the critic must."""
    model = NPG("MlpPolicy", table_env(), n_steps=32, batch_size=16, seed=0, device="cpu")
    model.policy.mlp_extractor.value_net = model.policy.mlp_extractor.policy_net
    _, callback = model._setup_learn(32)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 32)
    model.rollout_buffer.advantages[:] = 0.0
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.train()
    moved = {name for name, value in model.policy.state_dict().items() if not torch.equal(before[name], value)}
    assert moved == {"value_net.weight", "value_net.bias"}


def test_something_has_to_say_how_far_to_step(table_env):
    with pytest.raises(ValueError, match="must not both be None"):
        NPG("MlpPolicy", table_env(), target_kl=None)


def test_the_divergence_logged_is_that_of_the_new_policy_from_the_old(filled, table_of):
    model = filled(NPG, PI, COUNTS, ADVANTAGES, step_size=1.5, target_kl=None, **PLAIN)
    model.train()
    new, visits = table_of(model), COUNTS.sum(-1) / COUNTS.sum()
    forward, backward = ((visits @ (p * np.log(p / q)).sum(-1)) for p, q in ((PI, new), (new, PI)))
    assert abs(forward - backward) > 0.05 * forward
    assert model.logger.name_to_value["train/kl"] == pytest.approx(forward, rel=1e-4)
