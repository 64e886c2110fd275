"""The terms of the loss, each against its definition: sums over states and actions, and central differences."""

import numpy as np
import pytest
import torch

from agents import PePG, make_vec_env
from agents.pepg.batches import PolicyTable
from agents.pepg.response import TabularAnswer
from perf_envs import Dynamics, PerformativeMDP

from .worlds import N_ACTIONS, N_STATES, season, some_batch, table_model

#: Not the discount of the world, which is 0.99.
GAMMA = 0.6


def shares(batch):
    """Return the share of the weights that falls on every state, summed visit by visit."""
    share = np.zeros(N_STATES)
    for state, weight in zip(batch.states, batch.weights, strict=True):
        share[state] += float(weight) / len(batch.states)
    return share


def payoff(dynamics, values, gamma):
    """``r + gamma P V``, ``[S, A]``; nothing is earned after the end."""
    P, r = (part.detach().numpy() for part in dynamics.dense())
    values = values.numpy().copy()
    values[-1] = 0.0
    return r + gamma * P @ values


def gradient_of(model, term):
    (gradient,) = torch.autograd.grad(term, model.policy.action_net.weight, retain_graph=True)
    return -gradient.T.double().numpy()


def softmax_gradient(logits, slope):
    """Return the gradient in the logits of ``sum pi slope``, by the product rule."""
    pi = torch.softmax(logits, -1).numpy()
    return pi * (slope - (pi * slope).sum(-1, keepdims=True))


def assert_gradient(measured, expected):
    np.testing.assert_allclose(measured, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("normalize", [False, True])
def test_the_expected_term_looks_ahead_with_the_agents_discount_and_in_units_of_the_advantages(normalize):
    venv = season()
    model, logits, values = table_model(venv, gamma=GAMMA)
    model._answer.deploy(model.policy, venv)
    batch = some_batch()
    loss = model.policy.pepg_loss(batch, model._answer, normalize_advantage=normalize)
    scale = np.std(batch.advantages.numpy(), ddof=1) if normalize else 1.0
    advantages = payoff(venv.get_attr("dynamics")[0], values, GAMMA) - values.numpy()[:, None]
    slope = shares(batch)[:, None] * advantages / scale
    assert_gradient(gradient_of(model, loss.policy), softmax_gradient(logits, slope))
    assert loss.policy.item() == pytest.approx(-(torch.softmax(logits, -1).numpy() * slope).sum(), rel=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("deployed", [False, True])
def test_the_response_term_is_discounted_as_the_agent_does_and_in_units_of_the_advantages(normalize, deployed):
    venv = season()
    model, logits, values = table_model(venv, gamma=GAMMA)
    if deployed:
        model._answer.deploy(model.policy, venv)
    batch, problem = some_batch(), venv.get_attr("problem")[0]
    loss = model.policy.pepg_loss(batch, model._answer, normalize_advantage=normalize)
    scale = np.std(batch.advantages.numpy(), ddof=1) if normalize else 1.0
    pi = torch.softmax(logits, -1)

    def worth(policy):
        return (shares(batch)[:, None] * pi.numpy() * payoff(problem.response(policy), values, GAMMA)).sum() / scale

    assert loss.response.item() == pytest.approx(-worth(pi), rel=1e-4)
    gradient = gradient_of(model, loss.response)
    for seed in range(3):
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ahead, behind = (worth(torch.softmax(logits + step * direction, -1)) for step in (1e-5, -1e-5))
        expected = (ahead - behind) / 2e-5
        assert (gradient * direction.numpy()).sum() == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_sampled_terms_are_means_over_weighted_visits(normalize):
    """Ratio times advantage, entropy and squared error, visit by visit."""
    model, logits, values = table_model(performative_coef=0.0)
    batch = some_batch()
    loss = model.policy.pepg_loss(batch, model._answer, 0.0, 0.3, 0.2, normalize_advantage=normalize, expected=False)
    log_pi = torch.log_softmax(logits, -1).numpy()
    advantages = batch.advantages.double().numpy()
    if normalize:
        advantages = (advantages - advantages.mean()) / np.std(advantages, ddof=1)
    policy = entropy = error = 0.0
    for i, (s, a) in enumerate(zip(batch.states.tolist(), batch.actions.tolist(), strict=True)):
        weight = float(batch.weights[i]) / len(batch.states)
        policy -= weight * np.exp(log_pi[s, a] - float(batch.old_log_prob[i])) * advantages[i]
        entropy += weight * (np.exp(log_pi[s]) * log_pi[s]).sum()
        error += (float(values[s]) - float(batch.returns[i])) ** 2 / len(batch.states)
    assert loss.policy.item() == pytest.approx(policy, rel=1e-4)
    assert loss.entropy.item() == pytest.approx(entropy, rel=1e-4)
    assert loss.value.item() == pytest.approx(error, rel=1e-4)
    assert loss.response.item() == 0.0
    assert loss.total.item() == pytest.approx(policy + 0.3 * entropy + 0.2 * error, rel=1e-4)


def test_all_terms_are_added_with_their_weights():
    venv = season()
    model, _, _ = table_model(venv)
    model._answer.deploy(model.policy, venv)
    loss = model.policy.pepg_loss(some_batch(), model._answer, 0.4, 0.3, 0.2)
    terms = [term.item() for term in (loss.policy, loss.response, loss.entropy, loss.value)]
    assert 0.0 not in terms
    assert loss.total.item() == pytest.approx(np.dot(terms, [1.0, 0.4, 0.3, 0.2]), rel=1e-5)


def test_the_critic_learns_from_its_error_alone():
    venv = season()
    model, _, values = table_model(venv, gamma=GAMMA)
    model._answer.deploy(model.policy, venv)
    batch = some_batch()
    loss = model.policy.pepg_loss(batch, model._answer, 1.0, 0.3, vf_coef=0.2)
    (gradient,) = torch.autograd.grad(loss.total, model.policy.value_net.weight)
    expected = np.zeros(N_STATES)
    for state, target in zip(batch.states, batch.returns, strict=True):
        expected[state] += 0.2 * 2.0 * float(values[state] - target) / len(batch.states)
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-4, atol=1e-7)


def test_a_table_acts_as_its_probabilities_say():
    log_probs = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]]))
    table = PolicyTable(log_probs, torch.tensor([3.0, -1.0]))
    torch.manual_seed(0)
    n = 20_000
    states = torch.arange(n) % 2
    actions, values, log_prob = table.act(states)
    assert torch.equal(values, torch.tensor([3.0, -1.0]).repeat(n // 2))
    assert torch.equal(log_prob, log_probs[states, actions])
    for state in (0, 1):
        share = torch.bincount(actions[states == state], minlength=3) / (n // 2)
        deviation = (table.probs[state] * (1 - table.probs[state]) / (n // 2)).sqrt()
        assert float(((share - table.probs[state]) / deviation).abs().max()) < 5.0


def market_model(**arguments):
    """Return PePG in a market, posting an action of 0.2 that is certain, and a batch of actions with weights."""
    venv = make_vec_env("LinearPricing-v0", n_envs=4, seed=0, env_kwargs={"shift": 0.5})
    model = PePG("MlpPolicy", venv, seed=0, device="cpu", policy_kwargs={"net_arch": []}, **arguments)
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.fill_(0.2)
        model.policy.log_std.fill_(-30.0)
    batch = some_batch()
    actions = torch.linspace(-1.4, 1.4, len(batch.weights))[:, None]
    return model, batch._replace(actions=actions, observations=torch.zeros(len(actions), 1), states=None)


@pytest.mark.parametrize("normalize", [False, True])
def test_with_continuous_actions_visits_weigh_in_the_answer(normalize):
    """Price 3.6 and demand ``4 - 0.5 price``: prices of the batch earn ``price (4 - 1.8)``, and lose ``1.5 price``."""
    model, batch = market_model()
    loss = model.policy.pepg_loss(batch, model._answer, normalize_advantage=normalize)
    scale = np.std(batch.advantages.numpy(), ddof=1) if normalize else 1.0
    prices = 3.0 * (np.clip(batch.actions[:, 0].numpy(), -1.0, 1.0) + 1.0)
    mean_price = np.mean(batch.weights.numpy() * prices) / scale
    assert loss.response.item() == pytest.approx(-2.2 * mean_price, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss.response, model.policy.action_net.bias)
    assert float(gradient) == pytest.approx(1.5 * mean_price, rel=1e-5)  # a unit of action is 3 of price


def test_in_a_market_the_answer_has_no_dynamics_and_is_asked_for_only_where_it_counts():
    model, batch = market_model(response_terms="dynamics")
    assert model.policy.pepg_loss(batch, model._answer).response.item() == 0.0
    model, batch = market_model()
    assert model.policy.pepg_loss(batch, model._answer, 0.0).response.item() == 0.0


def test_the_rewards_of_a_market_range_from_the_lowest_price_to_the_highest_before_customers_learn():
    kwargs = {"n_products": 2, "base_demand": [4.0, 1.0], "price_low": 0.5, "price_high": 3.0}
    model = PePG("MlpPolicy", make_vec_env("LinearPricing-v0", n_envs=2, env_kwargs=kwargs))
    assert model.reward_scale == pytest.approx(5.0 * 3.0 - 5.0 * 0.5)


def test_the_rewards_of_a_table_range_over_the_unshifted_world():
    model, _, _ = table_model()
    problem = model.get_env().get_attr("problem")[0]
    _, r = problem.unshifted().dense()
    assert model.reward_scale == pytest.approx(float(r.max() - r.min()))
    assert r.shape == (N_STATES, N_ACTIONS)


def test_the_entropy_counts_in_units_of_the_rewards_or_of_the_advantages():
    weights = {}
    for normalize in (False, True):
        model, _, _ = table_model(season(8), ent_coef=0.05, normalize_advantage=normalize, n_steps=4)
        model.learn(32, log_interval=None)
        weights[normalize] = model.logger.name_to_value["train/ent_coef"]
    assert weights[True] == pytest.approx(0.05)
    assert weights[False] == pytest.approx(0.05 * model.reward_scale)
    assert model.reward_scale != pytest.approx(1.0)


@pytest.mark.parametrize("moving", ["rewards", "probs", "nothing"])
def test_an_answer_has_a_gradient_if_rewards_or_transitions_alone_move(moving):
    still = torch.full((2, 2, 2), 0.5, dtype=torch.float64)

    def answer(pi):
        tilted = torch.softmax(pi[:, :, None] * torch.tensor([0.0, 1.0], dtype=torch.float64), -1)
        rewards = torch.ones(2, 2, dtype=torch.float64)
        return Dynamics.from_dense(
            tilted if moving == "probs" else still, rewards * pi if moving == "rewards" else rewards
        )

    problem = PerformativeMDP(answer, [0.5, 0.5], 0.9, n_actions=2)
    assert TabularAnswer(problem, torch.arange(2), 0.9).has_gradient == (moving != "nothing")
