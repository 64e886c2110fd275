"""Policies of tabular worlds: one object per policy, whatever form users have it in."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.stats import chi2
from stable_baselines3 import A2C, DQN, PPO

from perf_envs import Table, policy_table
from perf_envs.policies import AskedPolicy, GaussianPolicies, TablePolicies
from tests.perf_envs.worlds import make_world

SPACE = TablePolicies(6, 3)
TABLE = np.random.default_rng(0).dirichlet(np.ones(3), size=6)
#: The same table in the forms users have it in.
FORMS = {
    "array": lambda: TABLE,
    "list": TABLE.tolist,
    "tensor": lambda: torch.from_numpy(TABLE),
    "tensor with history": lambda: torch.from_numpy(TABLE).requires_grad_(),
    "Fortran order": lambda: np.asfortranarray(TABLE),
    "callable": lambda: lambda state: TABLE[state],
    "callable with tensors": lambda: lambda state: torch.from_numpy(TABLE)[state],
    "Table": lambda: Table(TABLE),
    "AskedPolicy": lambda: AskedPolicy(TABLE, gym.spaces.Discrete(6), gym.spaces.Discrete(3)),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_every_form_is_read_as_the_same_policy(make):
    np.testing.assert_array_equal(SPACE.read(make()).probs, TABLE)


def test_a_single_precision_table_is_scaled_to_sum_to_one():
    read = SPACE.read(TABLE.astype(np.float32)).probs
    assert read.dtype == np.float64
    np.testing.assert_allclose(read, TABLE, atol=1e-7)
    np.testing.assert_allclose(read.sum(-1), 1.0, atol=1e-15)


def test_what_can_only_predict_is_read_as_what_it_does():
    class Greedy:
        def predict(self, observations, deterministic=True):
            return np.asarray(observations) % 3, None

    np.testing.assert_array_equal(SPACE.read(Greedy()).probs, np.eye(3)[np.arange(6) % 3])


def test_a_policy_is_asked_at_the_observations_its_agent_sees():
    seen = np.arange(12.0).reshape(6, 2)
    asked = []

    def policy(observation):
        asked.append(observation.tolist())
        return TABLE[int(observation[0]) // 2]

    np.testing.assert_array_equal(SPACE.read(policy, seen).probs, TABLE)
    assert asked == seen.tolist()
    both = {"where": seen, "again": seen}
    np.testing.assert_array_equal(SPACE.read(lambda shown: policy(shown["again"]), both).probs, TABLE)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_a_stochastic_model_can_be_asked_for_its_likeliest_actions(algorithm):
    env = make_world("PerformativePricing-v0", horizon=4, inventory=3)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu")
    probabilities = policy_table(model, env.query_observations, env.n_actions)
    certain = policy_table(model, env.query_observations, env.n_actions, deterministic=True)
    assert probabilities.max() < 1.0
    np.testing.assert_array_equal(certain, np.eye(env.n_actions)[probabilities.argmax(-1)])
    np.testing.assert_array_equal(env.policies.read(model).probs, probabilities)
    np.testing.assert_array_equal(env.policies.read(model, deterministic=True).probs, certain)


def test_a_value_based_model_is_read_as_its_greedy_actions():
    env = make_world("PerformativePricing-v0", horizon=4, inventory=3)
    model = DQN("MlpPolicy", env, seed=0, device="cpu", buffer_size=10)
    greedy, _ = model.predict(env.query_observations, deterministic=True)
    np.testing.assert_array_equal(env.policies.read(model).probs, np.eye(env.n_actions)[greedy])


def test_one_of_its_own_comes_back_as_it_is_and_one_of_another_size_is_refused():
    table = SPACE.read(TABLE)
    assert SPACE.read(table) is table
    with pytest.raises(ValueError, match=r"policy must have shape \(6, 2\), got \(6, 3\)"):
        TablePolicies(6, 2).read(table)
    gaussian = GaussianPolicies(np.arange(6), 3).uniform()
    with pytest.raises(ValueError, match=r"policy must have shape \(6, 3\), got \(2, 6, 3\)"):
        SPACE.read(gaussian)


def test_from_array_undoes_array():
    table = SPACE.read(TABLE)
    np.testing.assert_array_equal(SPACE.from_array(table.array).array, table.array)
    with pytest.raises(ValueError, match=r"policy must have shape \(6, 3\), got \(3, 6\)"):
        SPACE.from_array(TABLE.T)
    with pytest.raises(ValueError, match="policy at state 2 must sum to 1"):
        SPACE.from_array(TABLE * np.where(np.arange(6) < 2, 1.0, 2.0)[:, None])


def test_a_policy_cannot_be_written_to_nor_changed_through_what_it_was_made_of():
    given = TABLE.copy()
    table = SPACE.read(given)
    given[:] = 0.0
    np.testing.assert_array_equal(table.probs, TABLE)
    for array in (table.probs, table.array, np.asarray(table)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    for copied in (np.array(table), table(2), table(np.array([2, 3])), table.tensor()):
        copied[0] = 0.0
    np.testing.assert_array_equal(table.probs, TABLE)


def test_it_says_what_is_done_at_an_observation_or_at_several():
    table = Table(TABLE)
    np.testing.assert_array_equal(table(4), TABLE[4])
    np.testing.assert_array_equal(table(np.array([4, 0, 4])), TABLE[[4, 0, 4]])
    assert repr(table) == "Table(6 states, 3 actions)"
    assert np.asarray(table, dtype=np.float32).dtype == np.float32


def test_actions_are_drawn_with_the_probabilities_of_the_policy():
    """Pearson's statistic of each state, against what it exceeds once in a million."""
    n = 20_000
    where = np.repeat([1, 4], n)
    actions = SPACE.sample(Table(TABLE), where, np.random.default_rng(0))
    assert actions.shape == (2 * n,)
    for state in (1, 4):
        counts = np.bincount(actions[where == state], minlength=3)
        expected = n * TABLE[state]
        assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-6, df=2)


def test_an_action_without_probability_is_never_drawn():
    certain = Table(np.eye(3)[np.arange(6) % 3])
    where = np.random.default_rng(0).integers(6, size=5000)
    np.testing.assert_array_equal(SPACE.sample(certain, where, np.random.default_rng(1)), where % 3)


def test_the_uniform_policy_is_worth_as_much_as_random_actions():
    n = 20_000
    venv = gym.make_vec("PerformativePricing-v0", n, deployment="declared")
    problem = venv.problem
    venv.reset(seed=0)
    venv.deploy(problem.policies.uniform())
    rng = np.random.default_rng(0)
    returns, on = np.zeros(n), np.ones(n, dtype=bool)
    for period in range(10):
        _, rewards, terminated, _, _ = venv.step(rng.integers(8, size=n))
        returns += problem.gamma**period * rewards * on
        on &= ~terminated  # who has sold out begins another season, which does not count
    error = returns.std() / np.sqrt(n)
    assert abs(returns.mean() - problem.value(problem.policies.uniform())) < 4.5 * error
    np.testing.assert_array_equal(problem.policies.initial().probs, problem.policies.uniform().probs)


def test_a_share_of_the_actions_can_be_random():
    table = SPACE.read(TABLE)
    np.testing.assert_allclose(SPACE.with_random_actions(table, 0.25).probs, 0.75 * TABLE + 0.25 / 3)
    np.testing.assert_allclose(SPACE.with_random_actions(table, 1.0).probs, SPACE.uniform().probs)
    assert SPACE.with_random_actions(table, 0.0) is table
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share must be >= 0 and <= 1"):
            SPACE.with_random_actions(table, share)
