"""The PePG loss against the exact gradient, against A2C, and against central differences."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents import PePG, make_vec_env
from agents.pepg.policies import PePGBatch
from perf_envs import exact
from tests.precision import gradient_tolerance
from tests.worlds import TABULAR_WORLDS

SMALL = {
    "PerformativeGridWorld-v0": {"n_followers": 3, "grid": "small4x4"},
    "PerformativePricing-v0": {"horizon": 4, "inventory": 3, "n_prices": 4},
    "SoftmaxPeMDP-v0": {"n_states": 5, "n_actions": 3},
}


def tabular_model(env_id, seed=0, **arguments):
    venv = make_vec_env(env_id, n_envs=4, seed=seed, env_kwargs=SMALL[env_id])
    model = PePG("SoftmaxPolicy", venv, seed=seed, device="cpu", **arguments)
    logits = torch.randn(model.policy.action_net.weight.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.policy.action_net.weight.copy_(logits)
    return model, model.get_env().get_attr("problem")[0], logits.T.double()


def everywhere(model, problem, pi, evaluation):
    """A batch that visits every state-action pair, weighted by its exact occupancy, with exact advantages."""
    n_states, n_actions = pi.shape
    states = torch.arange(n_states).repeat_interleave(n_actions)
    actions = torch.arange(n_actions).repeat(n_states)
    weights = (evaluation.occupancy(problem.rho)[:, None] * pi).flatten() * len(states)
    with torch.no_grad():
        model.policy.value_net.weight.copy_(evaluation.state_values[None].float())
    log_prob = torch.log(pi).flatten()
    return PePGBatch(
        observations=states,
        actions=actions,
        advantages=evaluation.advantages().flatten().float(),
        returns=evaluation.state_values[states].float(),
        old_log_prob=log_prob.float(),
        weights=weights.float(),
        states=states,
    )


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
@pytest.mark.parametrize("performative_coef", [0.0, 0.5, 1.0])
def test_with_exact_occupancy_and_critic_the_loss_has_the_gradient_of_the_theorem(env_id, performative_coef):
    model, problem, logits = tabular_model(env_id)
    pi = torch.softmax(logits, -1)
    evaluation = exact.evaluate(problem.response(pi), pi)
    batch = everywhere(model, problem, pi, evaluation)
    loss = model.policy.pepg_loss(batch, model._answer, performative_coef, vf_coef=0.0)
    model.policy.zero_grad()
    loss.total.backward()
    theorem = (1.0 - problem.gamma) * exact.performative_gradient(problem, logits, performative_coef)
    measured = -model.policy.action_net.weight.grad.T.double()
    torch.testing.assert_close(measured, theorem, rtol=2e-4, atol=gradient_tolerance(theorem))


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
@pytest.mark.parametrize("terms", ["reward", "dynamics"])
def test_each_term_of_the_answer_alone_is_that_of_the_theorem(env_id, terms):
    """Held against central differences of the payoff in a world of which only rewards, or only transitions, move."""
    model, problem, logits = tabular_model(env_id, response_terms=terms)
    pi = torch.softmax(logits, -1)
    evaluation = exact.evaluate(problem.response(pi), pi)
    batch = everywhere(model, problem, pi, evaluation)

    def gradient(performative_coef):
        model.policy.zero_grad()
        model.policy.pepg_loss(batch, model._answer, performative_coef, vf_coef=0.0).total.backward()
        return -model.policy.action_net.weight.grad.T.double()

    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    visits = (evaluation.occupancy(problem.rho)[:, None] * pi).detach()

    def payoff(step):
        dynamics = problem.response(torch.softmax(logits + step * direction, -1))
        future = problem.gamma * dynamics.expected_next(evaluation.state_values)
        return float((visits * (dynamics.rewards if terms == "reward" else future)).sum())

    expected = (payoff(1e-5) - payoff(-1e-5)) / 2e-5
    measured = float(((gradient(1.0) - gradient(0.0)) * direction).sum())
    assert measured == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_prices_have_no_dynamics_term():
    def change(terms):
        venv = make_vec_env("LinearPricing-v0", n_envs=4, seed=0)
        model = PePG("MlpPolicy", venv, seed=0, device="cpu", response_terms=terms, performative_coef=1.0)
        return model.learn(80).policy.action_net.bias.detach().clone()

    assert torch.equal(change("reward"), change("both"))
    assert not torch.equal(change("dynamics"), change("both"))


def test_a_term_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="response_terms"):
        PePG("MlpPolicy", make_vec_env("PerformativePricing-v0"), response_terms="rewards")


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
def test_normalised_advantages_keep_the_direction_of_the_theorem(env_id):
    """Centring is a baseline, and the scale is shared by both terms."""
    model, problem, logits = tabular_model(env_id)
    pi = torch.softmax(logits, -1)
    batch = everywhere(model, problem, pi, exact.evaluate(problem.response(pi), pi))
    loss = model.policy.pepg_loss(batch, model._answer, vf_coef=0.0, normalize_advantage=True)
    (gradient,) = torch.autograd.grad(loss.total, model.policy.action_net.weight)
    theorem = (1.0 - problem.gamma) * exact.performative_gradient(problem, logits)
    expected = theorem / float(batch.advantages.std())
    torch.testing.assert_close(-gradient.T.double(), expected, rtol=2e-4, atol=gradient_tolerance(expected))


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
def test_the_answer_already_deployed_has_the_same_gradient(env_id):
    model, problem, logits = tabular_model(env_id)
    pi = torch.softmax(logits, -1)
    batch = everywhere(model, problem, pi, exact.evaluate(problem.response(pi), pi))
    weight = model.policy.action_net.weight
    (fresh,) = torch.autograd.grad(model.policy.pepg_loss(batch, model._answer).total, weight)
    model._answer.deploy(model.policy, model.get_env())
    for _ in range(2):
        loss = model.policy.pepg_loss(batch, model._answer)
        (known,) = torch.autograd.grad(loss.total, weight)
        torch.testing.assert_close(known, fresh, rtol=1e-5, atol=gradient_tolerance(fresh))


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
def test_looking_the_policy_up_is_evaluating_the_batch(env_id):
    model, problem, logits = tabular_model(env_id)
    pi = torch.softmax(logits, -1)
    batch = everywhere(model, problem, pi, exact.evaluate(problem.response(pi), pi))
    parameters = [part for part in model.policy.parameters() if part.requires_grad]
    gradients = []
    for indexed in (True, False):
        model._answer.indexed = indexed
        loss = model.policy.pepg_loss(batch, model._answer, ent_coef=0.1)
        gradients.append(torch.autograd.grad(loss.total, parameters))
    for looked_up, evaluated in zip(*gradients, strict=True):
        torch.testing.assert_close(looked_up, evaluated, rtol=1e-4, atol=gradient_tolerance(*gradients[1]))


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
def test_the_loss_is_what_its_gradient_says(env_id):
    model, problem, logits = tabular_model(env_id)
    pi = torch.softmax(logits, -1)
    batch = everywhere(model, problem, pi, exact.evaluate(problem.response(pi), pi))
    weight = model.policy.action_net.weight
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))

    def response_objective(step):
        """The answer moves with the policy; the weights pi(a|s), the visits and the critic do not."""
        moved = torch.softmax(logits + step * direction.T.double(), -1)
        answer = problem.response(moved)
        values = torch.where(answer.absorbing, 0.0, model.policy.value_net.weight[0].detach().double())
        payoff = answer.rewards + problem.gamma * answer.expected_next(values)
        visits = torch.bincount(batch.states, weights=batch.weights.double()) / len(batch.states)
        return float((visits[:, None] * pi * payoff).sum())

    loss = model.policy.pepg_loss(batch, model._answer)
    (gradient,) = torch.autograd.grad(loss.response, weight)
    numeric = (response_objective(1e-5) - response_objective(-1e-5)) / 2e-5
    assert -float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-3)


@pytest.mark.parametrize("policy", ["MlpPolicy", "SoftmaxPolicy"])
def test_without_the_answer_the_gradient_is_that_of_a2c_on_the_same_batch(policy, monkeypatch):
    """Both algorithms run their own `train()`; only the optimiser step is replaced by keeping the gradients."""

    def gradients(model):
        kept = {}
        monkeypatch.setattr(
            model.policy.optimizer,
            "step",
            lambda: kept.update(
                {name: p.grad.clone() for name, p in model.policy.named_parameters() if p.grad is not None}
            ),
        )
        model.train()
        return kept

    arguments = {"n_steps": 12, "gamma": 0.97, "gae_lambda": 0.9, "vf_coef": 0.3, "max_grad_norm": 0.7, "seed": 3}
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=3)
    pepg = PePG(
        policy, venv, performative_coef=0.0, policy_gradient="sampled", ent_coef=0.02, device="cpu", **arguments
    )
    a2c = A2C(type(pepg.policy), venv, ent_coef=0.02 * pepg.reward_scale, device="cpu", **arguments)
    a2c.policy.load_state_dict(pepg.policy.state_dict())
    monkeypatch.setattr(PePG, "train", lambda self: None)
    pepg.learn(48)
    monkeypatch.undo()
    a2c._setup_learn(48)
    a2c.rollout_buffer = pepg.rollout_buffer
    mine, theirs = gradients(pepg), gradients(a2c)
    assert set(mine) == set(theirs)
    assert any(float(gradient.abs().max()) > 0.0 for gradient in mine.values())
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=gradient_tolerance(*theirs.values()))


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
@pytest.mark.parametrize("performative_coef", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("gradual", [False, True])
def test_looking_ahead_in_the_dynamics_in_force_gives_the_gradient_of_the_theorem(env_id, performative_coef, gradual):
    """The advantages of the batch are wrong on purpose: an exact critic and the dynamics are all it takes."""
    venv = make_vec_env(env_id, n_envs=4, seed=0, env_kwargs=SMALL[env_id] | {"adaptation_rate": 0.3 if gradual else 1})
    model = PePG("SoftmaxPolicy", venv, seed=0, device="cpu")
    problem = venv.get_attr("problem")[0]
    logits = torch.randn(model.policy.action_net.weight.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.policy.action_net.weight.copy_(logits)
    logits = logits.T.double()
    pi = torch.softmax(logits, -1)
    model._answer.deploy(model.policy, venv)
    in_force = venv.get_attr("dynamics")[0]
    evaluation = exact.evaluate(in_force, pi)
    batch = everywhere(model, problem, pi, evaluation)._replace(advantages=torch.full((pi.numel(),), 7.0))
    loss = model.policy.pepg_loss(batch, model._answer, performative_coef, vf_coef=0.0)
    (gradient,) = torch.autograd.grad(loss.total, model.policy.action_net.weight)
    moving = pi.clone().requires_grad_()
    occupancy, values = evaluation.occupancy(problem.rho), evaluation.state_values
    answer = problem.response(moving)
    payoff = answer.rewards + problem.gamma * answer.dense()[0] @ values
    (answered,) = torch.autograd.grad((occupancy[:, None] * pi * payoff).sum(), moving)
    table = occupancy[:, None] * evaluation.advantages() + performative_coef * answered
    theorem = pi * (table - (pi * table).sum(-1, keepdim=True))
    torch.testing.assert_close(-gradient.T.double(), theorem, rtol=2e-4, atol=gradient_tolerance(theorem))


def test_what_a_random_world_has_drawn_is_not_looked_up():
    settings = SMALL["PerformativePricing-v0"] | {"response_wrapper": "noisy"}
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0, env_kwargs=settings)
    policies = []
    for policy_gradient in ("expected", "sampled"):
        model = PePG("SoftmaxPolicy", venv, policy_gradient=policy_gradient, seed=0, device="cpu")
        policies.append(model.learn(100).policy.action_net.weight.detach().clone())
    assert torch.equal(*policies)


def gradients_of_rounds(policy_gradient):
    """Return the gradients of twenty rounds of pricing with an exact critic, ``[20, S, A]``, and what they estimate."""
    env_id = "PerformativePricing-v0"
    venv = make_vec_env(env_id, n_envs=512, seed=0, env_kwargs=SMALL[env_id])
    model = PePG(
        "SoftmaxPolicy",
        venv,
        n_steps=24,
        gae_lambda=1.0,
        discount_visits=True,
        policy_gradient=policy_gradient,
        seed=0,
        device="cpu",
    )
    problem = venv.get_attr("problem")[0]
    logits = 0.5 * torch.randn(model.policy.action_net.weight.shape, generator=torch.Generator().manual_seed(2))
    values = exact.state_values(problem, torch.softmax(logits.T.double(), -1))
    with torch.no_grad():
        model.policy.action_net.weight.copy_(logits)
        model.policy.value_net.weight.copy_(values[None].float())
    _, callback = model._setup_learn(10**9)
    samples = []
    for _ in range(20):
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
        (batch,) = model._batches()
        loss = model.policy.pepg_loss(batch, model._answer, vf_coef=0.0, expected=policy_gradient == "expected")
        (gradient,) = torch.autograd.grad(loss.total, model.policy.action_net.weight)
        samples.append(-gradient.T.double())
    theorem = exact.performative_gradient(problem, logits.T.double())
    # Live visits are the occupancy without the absorbing end, renormalised.
    end = exact.occupancy(problem, torch.softmax(logits.T.double(), -1))[-1]
    return torch.stack(samples), theorem * (1.0 - problem.gamma) / (1.0 - end)


@pytest.mark.parametrize("policy_gradient", ["sampled", "expected"])
def test_the_gradient_from_samples_averages_to_the_theorem(policy_gradient):
    """Rounds of real data, gamma^t weights, Monte Carlo advantages, exact critic: unbiased up to truncation."""
    samples, expected = gradients_of_rounds(policy_gradient)
    error, spread = samples.mean(0) - expected, samples.std(0) / np.sqrt(len(samples))
    live = spread > 0.0
    assert float((error[live] / spread[live]).abs().max()) < 5.0
    assert float(error.norm() / expected.norm()) < 0.1


def test_summing_over_actions_takes_most_of_the_noise_away():
    noise = [float(gradients_of_rounds(policy_gradient)[0].var(0).sum()) for policy_gradient in ("sampled", "expected")]
    assert noise[1] < 0.5 * noise[0]


def test_no_value_is_learnt_after_the_end():
    model, problem, logits = tabular_model("PerformativePricing-v0")
    pi = torch.softmax(logits, -1)
    batch = everywhere(model, problem, pi, exact.evaluate(problem.response(pi), pi))
    before = model.policy.pepg_loss(batch, model._answer).response.item()
    with torch.no_grad():
        model.policy.value_net.weight[0, -1] = 1e6
    assert model.policy.pepg_loss(batch, model._answer).response.item() == before


def test_the_policy_of_an_ordinary_environment_can_carry_the_loss_too():
    with pytest.warns(UserWarning, match="no response map"):
        model = PePG("MlpPolicy", gym.make("CartPole-v1"), n_steps=8, seed=0, device="cpu")
    model.learn(16)
    assert model._answer is None


@pytest.mark.parametrize("n_products", [1, 3])
def test_with_continuous_actions_the_answer_has_the_gradient_of_central_differences(n_products):
    venv = make_vec_env("LinearPricing-v0", n_envs=16, seed=0, env_kwargs={"n_products": n_products})
    model = PePG("MlpPolicy", venv, n_steps=8, seed=0, device="cpu", policy_kwargs={"net_arch": []})
    problem = venv.get_attr("problem")[0]
    _, callback = model._setup_learn(10**9)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    (batch,) = model._batches()
    loss = model.policy.pepg_loss(batch, model._answer)
    parts = (model.policy.action_net.bias, model.policy.log_std)
    gradients = torch.autograd.grad(loss.response, parts)
    questions = torch.as_tensor(problem.query_observations)

    def answered():
        """The sampled actions stay, the market moves."""
        with torch.no_grad():
            normal = model.policy.get_distribution(questions).distribution
            market = problem.response(normal.mean.double(), normal.stddev.double())
            return float(market.expected_rewards(batch.actions.double()).mean())

    for part, gradient in zip(parts, gradients, strict=True):
        for index in range(n_products):
            values = []
            for step in (1e-2, -2e-2):
                with torch.no_grad():
                    part[index] += step
                values.append(answered())
            with torch.no_grad():
                part[index] += 1e-2
            assert -float(gradient[index]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=1e-2, abs=1e-4)


def test_with_continuous_actions_the_gradient_from_samples_is_that_of_the_value():
    """One period and no discounting between visits: the mean over a batch is the value itself."""
    venv = make_vec_env("LinearPricing-v0", n_envs=4096, seed=0, env_kwargs={"horizon": 1})
    model = PePG("MlpPolicy", venv, n_steps=8, seed=0, device="cpu", policy_kwargs={"net_arch": []})
    problem = venv.get_attr("problem")[0]
    bias, log_std = model.policy.action_net.bias, model.policy.log_std
    with torch.no_grad():
        bias.fill_(-0.4)
        log_std.fill_(-1.0)
    _, callback = model._setup_learn(10**9)
    samples = []
    for _ in range(10):
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
        (batch,) = model._batches()
        gradient = torch.autograd.grad(model.policy.pepg_loss(batch, model._answer).total, (bias, log_std))
        samples.append(-torch.cat(gradient).double())
    samples = torch.stack(samples)
    mean = model.policy.action_net(torch.zeros(1, 1)).detach().double().requires_grad_()
    deviation = log_std.detach().double().requires_grad_()
    value = problem.performative_value(mean, deviation.exp()[None])
    exact_gradient = torch.cat([part.flatten() for part in torch.autograd.grad(value, (mean, deviation))])
    error = (samples.mean(0) - exact_gradient).abs() / (samples.std(0) / np.sqrt(len(samples)))
    assert float(error.max()) < 5.0
    assert float((samples.mean(0) - exact_gradient).norm() / exact_gradient.norm()) < 0.1


def test_visits_are_discounted_by_their_time_also_in_episodes_that_began_in_an_earlier_rollout():
    venv = make_vec_env("SoftmaxPeMDP-v0", n_envs=2, seed=0, env_kwargs=SMALL["SoftmaxPeMDP-v0"])
    model = PePG("SoftmaxPolicy", venv, n_steps=4, gamma=0.5, discount_visits=True, seed=0, device="cpu")
    _, callback = model._setup_learn(10**9)
    for start in (0, 4, 8):  # no episode ends so early
        model.collect_rollouts(model.env, callback, model.rollout_buffer, 4)
        assert not model.rollout_buffer.episode_starts[1:].any()
        model._visit_weights()
        np.testing.assert_array_equal(model._episode_steps, [start + 3] * 2)


@pytest.mark.parametrize("expected", [False, True])
def test_both_terms_are_divided_by_the_scale_of_normalised_advantages(expected):
    model, problem, logits = tabular_model("PerformativePricing-v0")
    pi = torch.softmax(logits, -1)
    batch = everywhere(model, problem, pi, exact.evaluate(problem.response(pi), pi))
    model._answer.deploy(model.policy, model.get_env())
    gradients = []
    for normalize in (False, True):
        loss = model.policy.pepg_loss(batch, model._answer, normalize_advantage=normalize, expected=expected)
        part = loss.policy if expected else loss.response
        gradients.append(torch.autograd.grad(part, model.policy.action_net.weight)[0])
    scale = float(np.std(batch.advantages.numpy(), ddof=1))
    assert abs(scale - 1.0) > 0.1
    torch.testing.assert_close(gradients[1], gradients[0] / scale, rtol=1e-4, atol=1e-7)


def test_the_answer_is_discounted_as_the_agent_learns():
    model, problem, logits = tabular_model("PerformativePricing-v0", gamma=0.3)
    pi = torch.softmax(logits, -1)
    values = torch.linspace(-1.0, 2.0, problem.n_states, dtype=torch.float64)
    visits = torch.full((problem.n_states,), 1.0 / problem.n_states, dtype=torch.float64)
    answer = problem.response(pi)
    transitions, rewards = answer.dense()
    future = transitions @ torch.where(answer.absorbing, 0.0, values)
    by_hand = float((visits[:, None] * pi * (rewards + 0.3 * future)).sum())
    assert float(model._answer.objective(pi, values, visits)) == pytest.approx(by_hand)


def test_the_visits_of_a_market_carry_their_weights():
    venv = make_vec_env("LinearPricing-v0", n_envs=4, seed=0)
    model = PePG("MlpPolicy", venv, n_steps=8, seed=0, device="cpu")
    problem = venv.get_attr("problem")[0]
    _, callback = model._setup_learn(10**9)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    (batch,) = model._batches()
    only = batch._replace(weights=torch.zeros_like(batch.weights).index_fill(0, torch.tensor([5]), 32.0))
    with torch.no_grad():
        loss = model.policy.pepg_loss(only, model._answer)
        mean, std = model.policy.gaussian(model._answer.observations)
        rewards = problem.response(mean.double(), std.double()).expected_rewards(batch.actions[5:6].double())
    assert -float(loss.response) == pytest.approx(float(rewards), rel=1e-5)


class Dropping(BaseFeaturesExtractor):
    """Half of the features are dropped while training."""

    def __init__(self, observation_space):
        super().__init__(observation_space, features_dim=int(observation_space.n))
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, observations):
        return self.drop(observations.flatten(1).float())


def test_what_is_deployed_is_the_policy_that_acts_not_the_one_in_training():
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0, env_kwargs=SMALL["PerformativePricing-v0"])
    arguments = {"features_extractor_class": Dropping, "net_arch": []}
    model = PePG("MlpPolicy", venv, n_steps=8, seed=0, device="cpu", policy_kwargs=arguments)
    with torch.no_grad():
        model.policy.action_net.weight.normal_()
    _, callback = model._setup_learn(10**9)
    model.policy.set_training_mode(True)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 8)
    model.policy.set_training_mode(False)
    with torch.no_grad():
        acting = model.policy.tabulate(model._answer.observations).probs
    np.testing.assert_allclose(venv.get_attr("rounds")[0].policy.probs, acting, atol=1e-6)
