"""The policy of a model as environments of others are handed it."""

import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.stats import chi2
from stable_baselines3 import PPO

from perf_envs import Gaussian, Table
from perf_envs.policies import AskedPolicy
from tests.perf_envs.worlds import make_world

FEATURES, STATES, PAIR = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(4), spaces.Discrete(2)
PRICES = spaces.Box(np.float32([0.0, -2.0]), np.float32([10.0, 4.0]))
RNG = np.random.default_rng(0)
BATCH = RNG.uniform(-1.0, 1.0, size=(5, 2)).astype(np.float32)
TABLE = RNG.dirichlet(np.ones(2), size=4)


def by_sign(observation):
    """Probabilities that depend on the first feature."""
    share = 0.5 + 0.4 * float(observation[0])
    return np.array([share, 1.0 - share])


def posted(observation):
    """Mean and deviation of two prices."""
    return np.array([5.0, 1.0]) + observation, np.array([0.5, 2.0])


def test_one_observation_or_a_batch_of_probabilities():
    policy = AskedPolicy(by_sign, FEATURES, PAIR)
    together = policy(BATCH)
    assert together.shape == (5, 2)
    for observation, row in zip(BATCH, together, strict=True):
        np.testing.assert_array_equal(policy(observation), row)
        np.testing.assert_array_equal(policy(observation.astype(np.float64)), row)
        np.testing.assert_array_equal(row, by_sign(observation))


def test_one_observation_or_a_batch_of_continuous_actions():
    policy = AskedPolicy(posted, FEATURES, PRICES)
    mean, std = policy(BATCH)
    assert mean.shape == std.shape == (5, 2)
    one_mean, one_std = policy(BATCH[3])
    np.testing.assert_array_equal(one_mean, mean[3])
    np.testing.assert_array_equal(one_std, std[3])
    np.testing.assert_allclose(mean, np.array([5.0, 1.0]) + BATCH, atol=1e-6)


@pytest.mark.parametrize("convert", [int, np.int64, np.array])
def test_an_index_is_one_observation(convert):
    policy = AskedPolicy(lambda state: TABLE[int(state)], STATES, PAIR)
    np.testing.assert_array_equal(policy(convert(3)), TABLE[3])
    np.testing.assert_array_equal(policy(np.array([3, 1])), TABLE[[3, 1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dictionaries_of_observations(dtype):
    space = spaces.Dict({"features": FEATURES, "state": STATES})
    policy = AskedPolicy(lambda seen: by_sign(seen["features"] * (1 + seen["state"]) / 4), space, PAIR)
    batch = {"features": BATCH.astype(dtype), "state": np.array([0, 1, 2, 3, 0])}
    together = policy(batch)
    assert together.shape == (5, 2)
    for index in range(5):
        one = {"features": batch["features"][index], "state": int(batch["state"][index])}
        np.testing.assert_allclose(policy(one), together[index], rtol=1e-6)


def test_the_table_of_a_policy_over_indices():
    policy = AskedPolicy(lambda state: TABLE[int(state)], STATES, PAIR)
    np.testing.assert_array_equal(policy.table, TABLE)
    counted = spaces.Discrete(4, start=5)
    np.testing.assert_array_equal(AskedPolicy(lambda state: TABLE[int(state) - 5], counted, PAIR).table, TABLE)
    assert AskedPolicy(by_sign, FEATURES, PAIR).table is None
    assert AskedPolicy(lambda state: np.zeros(2), STATES, PRICES).table is None


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, Table, np.ndarray.tolist])
def test_a_table_can_be_asked_too(form, start):
    policy = AskedPolicy(form(TABLE), spaces.Discrete(4, start=start), PAIR, random_share=0.5)
    expected = 0.5 * TABLE + 0.25
    np.testing.assert_allclose(policy.table, expected)
    np.testing.assert_allclose(policy(start + 2), expected[2])
    np.testing.assert_allclose(policy(start + np.array([2, 0])), expected[[2, 0]])


@pytest.mark.parametrize("form", [tuple, lambda pair: Gaussian(*pair)])
def test_a_table_of_prices_can_be_asked_too(form):
    mean, std = RNG.normal(size=(4, 2)), RNG.uniform(size=(4, 2))
    policy = AskedPolicy(form((mean, std)), STATES, PRICES)
    for said, expected in zip(policy(np.array([3, 1])), (mean[[3, 1]], std[[3, 1]]), strict=True):
        np.testing.assert_array_equal(said, expected)


def test_a_table_is_no_policy_where_observations_have_no_number():
    with pytest.raises(ValueError, match=r"policy must be something that can be asked .* got ndarray and Box"):
        AskedPolicy(TABLE, FEATURES, PAIR)
    with pytest.raises(ValueError, match=r"policy must have shape \(4, 2\), got \(3, 2\)"):
        AskedPolicy(TABLE[:3], STATES, PAIR)


@pytest.mark.parametrize("start", [0, 7])
def test_discrete_actions_are_drawn_with_their_probabilities(start):
    n = 20_000
    policy = AskedPolicy(lambda state: TABLE[int(state)], STATES, spaces.Discrete(2, start=start))
    actions = policy.sample(np.full(n, 2), np.random.default_rng(0))
    counts = np.bincount(actions - start, minlength=2)
    assert counts.shape == (2,)
    assert ((counts - n * TABLE[2]) ** 2 / (n * TABLE[2])).sum() < chi2.isf(1e-6, df=1)


def test_continuous_actions_are_drawn_inside_of_the_action_space():
    n = 20_000
    policy = AskedPolicy(posted, FEATURES, PRICES)
    actions = policy.sample(np.zeros((n, 2), dtype=np.float32), np.random.default_rng(0))
    assert (actions.shape, actions.dtype) == ((n, 2), np.float32)
    assert all(PRICES.contains(action) for action in actions[:100])
    assert actions[:, 1].max() == 4.0  # three halves of a deviation away: clipped now and then
    assert abs(actions[:, 0].mean() - 5.0) < 4.5 * 0.5 / np.sqrt(n)
    assert actions[:, 0].std() == pytest.approx(0.5, rel=0.05)


def test_a_share_of_discrete_actions_is_random():
    np.testing.assert_allclose(
        AskedPolicy(by_sign, FEATURES, PAIR, random_share=0.2)(BATCH[0])[0], 0.8 * by_sign(BATCH[0])[0] + 0.1
    )


def test_a_share_of_continuous_actions_is_random_on_whatever_box():
    """Mean and deviation of the mixture, against draws of it."""
    n, share = 200_000, 0.3
    rng = np.random.default_rng(0)
    mean, std = posted(BATCH[0])
    drawn = np.where(
        rng.random((n, 1)) < share,
        rng.uniform(PRICES.low, PRICES.high, (n, 2)),
        mean + std * rng.standard_normal((n, 2)),
    )
    mixed, deviation = AskedPolicy(posted, FEATURES, PRICES, random_share=share)(BATCH[0])
    assert (np.abs(mixed - drawn.mean(0)) < 4.5 * drawn.std(0) / np.sqrt(n)).all()
    np.testing.assert_allclose(deviation, drawn.std(0), rtol=0.02)


def test_models_are_asked_for_probabilities_or_for_actions():
    env = make_world("PerformativePricing-v0", horizon=4, inventory=3)
    model = PPO("MlpPolicy", env, seed=0, device="cpu")
    likely = AskedPolicy(model, env.observation_space, env.action_space)
    certain = AskedPolicy(model, env.observation_space, env.action_space, deterministic=True)
    np.testing.assert_array_equal(certain.table, np.eye(env.n_actions)[likely.table.argmax(-1)])
    assert likely.table.max() < 1.0


def test_what_lies_between_environment_and_policy_is_done_first():
    policy = AskedPolicy(by_sign, FEATURES, PAIR, preprocess=np.negative)
    np.testing.assert_array_equal(policy(BATCH[1]), by_sign(-BATCH[1]))
    np.testing.assert_array_equal(policy(BATCH)[1], by_sign(-BATCH[1]))


def test_it_can_be_sent_elsewhere():
    policy = AskedPolicy(by_sign, FEATURES, PAIR, random_share=0.2, preprocess=np.negative)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(policy))(BATCH), policy(BATCH))
    table = AskedPolicy(TABLE, STATES, PAIR)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(table)).table, TABLE)


REFUSED = {
    "several choices": (
        {"action_space": spaces.MultiDiscrete([2, 2])},
        "action_space must be Discrete or a Box with one axis",
    ),
    "a matrix": ({"action_space": spaces.Box(-1, 1, (2, 2))}, "action_space must be Discrete or a Box with one axis"),
    "more than all": ({"random_share": 1.5}, "random_share must be >= 0 and <= 1, got 1.5"),
    "without bounds": (
        {"action_space": spaces.Box(-np.inf, np.inf, (2,)), "random_share": 0.5},
        "random_share must be 0 where actions have no bounds",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        AskedPolicy(by_sign, **{"observation_space": FEATURES, "action_space": PAIR, **arguments})


def test_a_policy_that_cannot_be_asked_is_refused_when_it_is():
    with pytest.raises(ValueError, match="could not be asked at observation"):
        AskedPolicy(lambda: None, FEATURES, PAIR)(BATCH[0])
