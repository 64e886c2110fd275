"""LinearPricing-v0: how deployments move its market, the forms of a policy, and play against the closed forms."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO, TD3

from agents import make_vec_env
from agents.common.vec_env import SB3VecEnv
from perf_envs import gaussian_policy
from tests.perf_envs.linear_world import ID, TWO, life, make
from tests.precision import SINGLE


def test_before_any_deployment_customers_have_learnt_no_price():
    env = make(**TWO)
    assert env.round == 0
    assert env.dynamics.demand.tolist() == [4.0, 3.0]


@pytest.mark.parametrize("seed", range(3))
def test_seasons_played_in_the_answering_market_earn_the_performative_value(seed):
    env = gym.make_vec(ID, num_envs=4000, autoreset_mode="Disabled", deployment="declared", gamma=0.9, horizon=5, **TWO)
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(0, 0.8, (5, 2)), rng.uniform(0, 1.2, (5, 2))
    env.deploy((mean, std))
    returns = np.zeros(4000)
    for period in range(5):
        actions = mean[period] + std[period] * rng.standard_normal((4000, 2))
        returns += 0.9**period * env.step(actions.clip(-1, 1))[1]
    expected = float(env.problem.performative_value(mean, std))
    assert abs(returns.mean() - expected) <= 4.0 * returns.std() / np.sqrt(4000)


def test_playing_the_optimal_price_beats_its_neighbours_and_the_stable_price_earns_nothing():
    earned = {}
    for price in (1.5, 2.0, 2.5, 4.0):
        env = make(deployment="declared", demand_std=0.0)
        env.deploy(price)
        env.reset()
        earned[price] = sum(0.99**t * env.step(env.problem.actions(np.array([price])))[1] for t in range(20))
    assert max(earned, key=earned.get) == 2.0
    assert earned[2.0] == pytest.approx(make().problem.optimal_value, rel=1e-12)
    assert earned[4.0] == pytest.approx(0.0, abs=1e-12)


def test_an_agent_that_never_deploys_moves_the_market_in_observed_mode():
    env = make(round_length=200, demand_std=0.0)
    env.reset(seed=0)
    for _ in range(200):
        if env.step([1 / 3])[2]:
            env.reset()
    assert env.round == 1
    weight = 10 * env.problem.period_weights.sum()
    expected = (4.0 * weight + 3.0) / (weight + 1)  # one imagined observation of the old belief
    np.testing.assert_allclose(env.rounds.mean_price, [expected], atol=1e-12)
    np.testing.assert_allclose(env.dynamics.demand, [4.0 - expected], atol=1e-12)


def test_the_observed_mean_price_approaches_that_of_the_policy_whatever_its_course():
    """Prices that fall over the season and scatter: the weights of the periods matter."""
    mean, std = np.linspace(1.2, -1.5, 10)[:, None], np.full((10, 1), 0.4)
    errors = {}
    for length in (200, 20_000):
        env = gym.make_vec(ID, num_envs=10, autoreset_mode="SameStep", round_length=length // 10, horizon=10, gamma=0.8)
        rng = np.random.default_rng(0)
        env.reset(seed=0)
        for step in range(length // 10):
            env.step(mean[step % 10] + std[step % 10] * rng.standard_normal((10, 1)))
        assert env.round == 1
        errors[length] = abs(env.rounds.mean_price[0] - float(env.problem.mean_price(mean, std)))
    assert errors[20_000] < 0.02
    assert errors[20_000] < 0.5 * errors[200]


def test_prices_of_sub_environments_that_are_being_reset_are_not_observed():
    env = gym.make_vec(ID, num_envs=2, max_episode_steps=2, round_length=100)
    env.reset(seed=0)
    for action in (0.0, 0.0, 1.0, 0.0):  # the third step starts new episodes
        env.step(np.full((2, 1), action))
    assert env.rounds._steps_observed == 6
    np.testing.assert_allclose(env.rounds.estimate(), [3.0], atol=1e-14)


def test_a_declared_market_moves_only_when_told():
    env = make(deployment="declared", round_length=5)
    life(env, 50)
    assert env.round == 0
    shift = env.deploy(2.5)
    assert env.round == 1
    assert shift == (0.0, pytest.approx(6.0 * 2.5))


def test_a_gradual_market_mixes_the_answer_with_what_was():
    env = make(deployment="declared", adaptation_rate=0.25)
    demand = 4.0
    for price in (3.0, 1.0, 6.0):
        env.deploy(price)
        demand = 0.75 * demand + 0.25 * (4.0 - price)
        assert float(env.dynamics.demand) == pytest.approx(demand, abs=1e-14)


def test_all_forms_of_a_policy_give_the_same_market():
    env = make(horizon=5, **TWO)
    prices = np.linspace(1.0, 5.0, 10).reshape(5, 2)
    actions = (prices - 3.0) / 3.0
    observations = env.query_observations.ravel().tolist()

    def act(observation):
        return actions[observations.index(float(observation[0]))]

    forms = [
        prices,
        prices.tolist(),
        torch.from_numpy(prices),
        (actions, np.zeros((5, 2))),
        (torch.from_numpy(actions), torch.zeros(5, 2)),
        act,
        lambda observation: torch.from_numpy(act(observation)),
        lambda observation: (act(observation), np.zeros(2)),
    ]
    for form in forms:
        env.deploy(form)
        np.testing.assert_allclose(
            env.dynamics.demand, env.problem.market(env.problem.mean_price(actions, 0 * actions)).demand
        )
    env.deploy([2.0, 4.0])
    np.testing.assert_allclose(env.rounds.mean_price, [2.0, 4.0], atol=1e-14)
    env.deploy(2.0)
    np.testing.assert_allclose(env.rounds.mean_price, [2.0, 2.0], atol=1e-14)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_an_actor_critic_deploys_its_gaussian_and_posts_it_clipped(algorithm):
    env = make(deployment="declared", gamma=0.9)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", policy_kwargs={"log_std_init": 0.5})
    with torch.no_grad():
        model.policy.action_net.bias += 0.9  # so that much is clipped
    mean, std = gaussian_policy(model, env.query_observations, 1)
    np.testing.assert_allclose(std, np.exp(0.5), rtol=1e-6)
    np.testing.assert_allclose(
        mean.clip(-1, 1), model.predict(env.query_observations, deterministic=True)[0], atol=SINGLE
    )
    assert mean.min() > 0.5
    env.deploy(model)
    batch = np.repeat(env.query_observations, 3000, axis=0)
    posted = 3.0 + 3.0 * model.predict(batch, deterministic=False)[0].reshape(20, 3000).mean(1)
    weights = 0.9 ** np.arange(20)
    error = 4.0 * 3.0 * np.sqrt((weights**2).sum() / 3000) / weights.sum()
    assert abs(float(env.rounds.mean_price[0]) - weights @ posted / weights.sum()) <= error


def test_a_deterministic_actor_deploys_its_action():
    env = make()
    model = TD3("MlpPolicy", env, seed=0, device="cpu", buffer_size=10)
    env.deploy(model)
    actions, _ = model.predict(env.query_observations, deterministic=True)
    np.testing.assert_allclose(env.rounds.mean_price, env.problem.mean_price(actions, 0 * actions), atol=1e-12)


def test_a_stable_baselines_agent_trains_in_it_alone_and_side_by_side():
    venv = make_vec_env(ID, n_envs=4, seed=0, env_kwargs={"round_length": 16})
    assert isinstance(venv.venv, SB3VecEnv)
    for env, steps in ((gym.make(ID, round_length=64), 64), (venv, 16)):
        model = PPO("MlpPolicy", env, n_steps=steps, batch_size=32, seed=0, device="cpu").learn(192)
        assert model.get_env().get_attr("round")[0] == 3


BAD_POLICIES = [
    (7.0, r"policy as prices must be in \[0, 6\], got 7.0"),
    ([1.0, 2.0, 3.0], r"policy as prices must have shape \(20, 2\) or \(2,\)"),
    ([1.0, float("nan")], "prices of the policy must be finite"),
    ("cheap", r"policy as prices must have shape"),
    ((np.zeros((20, 2)),), r"must be \(mean, std\), got 1 entries"),
    ((np.zeros((20, 2)), -np.ones((20, 2))), "std of the policy must be non-negative, got -1.0"),
    ((np.zeros((20, 1)), np.ones((20, 1))), r"mean of the policy must have shape \(20, 2\), got \(20, 1\)"),
    (lambda observation: [0.0], r"mean of the policy must have shape \(20, 2\), got \(20, 1\)"),
    (lambda observation: [np.inf, 0.0], "mean of the policy must be finite"),
]


@pytest.mark.parametrize(("policy", "message"), BAD_POLICIES)
def test_a_bad_policy_is_refused_and_nothing_changes(policy, message):
    env = make(**TWO)
    env.deploy(2.0)
    env.reset()
    env.step([0.0, 0.0])
    world = env.rounds

    def snapshot():
        seen = world._weighted_prices.tolist(), world._weight, world._steps_observed, world._news
        return world.round, id(world.dynamics), world.mean_price.tolist(), seen, env.state

    before = snapshot()
    with pytest.raises(ValueError, match=message):
        env.deploy(policy)
    assert snapshot() == before


def test_a_policy_over_discrete_actions_is_refused():
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(ValueError, match="policy must be Gaussian, got a policy with Categorical"):
        gaussian_policy(model, np.zeros((20, 4), dtype=np.float32), 1)
    with pytest.raises(ValueError, match=r"policy must be \(mean, std\), .*got list"):
        gaussian_policy([1.0], np.zeros((20, 1)), 1)
