"""Policies over continuous actions: mean and deviation at every observation a world asks about."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.stats import chi2
from stable_baselines3 import A2C, PPO, SAC, TD3

from perf_envs import Gaussian, gaussian_policy
from perf_envs.policies import AskedPolicy, GaussianPolicies, TablePolicies
from tests.perf_envs.linear_world import ID, TWO, make
from tests.precision import SINGLE

OBSERVATIONS = (np.arange(5) / 5).astype(np.float32)[:, None]
SPACE = GaussianPolicies(OBSERVATIONS, 2)
RNG = np.random.default_rng(0)
MEAN, STD = RNG.normal(size=(5, 2)), RNG.uniform(0.1, 1.0, size=(5, 2))


def at(observation):
    return round(float(observation[0]) * 5)


#: The same policy in the forms users have it in.
FORMS = {
    "arrays": lambda: (MEAN, STD),
    "lists": lambda: (MEAN.tolist(), STD.tolist()),
    "tensors": lambda: (torch.from_numpy(MEAN).requires_grad_(), torch.from_numpy(STD)),
    "callable": lambda: lambda observation: (MEAN[at(observation)], STD[at(observation)]),
    "callable with tensors": lambda: lambda seen: (torch.from_numpy(MEAN)[at(seen)], torch.from_numpy(STD)[at(seen)]),
    "Gaussian": lambda: Gaussian(MEAN, STD),
    "AskedPolicy": lambda: AskedPolicy(
        lambda seen: (MEAN[at(seen)], STD[at(seen)]), gym.spaces.Box(0, 1, (1,)), gym.spaces.Box(-1, 1, (2,))
    ),
}


@pytest.mark.parametrize("make_form", FORMS.values(), ids=FORMS)
def test_every_form_is_read_as_the_same_policy(make_form):
    read = SPACE.read(make_form())
    np.testing.assert_array_equal(read.mean, MEAN)
    np.testing.assert_array_equal(read.std, STD)


def test_what_says_actions_alone_takes_them_for_certain():
    class Posts:
        def predict(self, observations, deterministic=True):
            return MEAN, None

    for form in (Posts(), lambda observation: MEAN[at(observation)]):
        read = SPACE.read(form)
        np.testing.assert_array_equal(read.mean, MEAN)
        np.testing.assert_array_equal(read.std, 0.0)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_a_gaussian_model_is_asked_for_its_gaussian_or_for_its_mean(algorithm):
    env = make(**TWO)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu")
    read, certain = env.policies.read(model), env.policies.read(model, deterministic=True)
    means, _ = model.predict(env.query_observations, deterministic=True)
    np.testing.assert_allclose(read.mean, means, atol=SINGLE)
    np.testing.assert_allclose(read.std, 1.0, atol=SINGLE)  # log_std_init = 0
    np.testing.assert_allclose(certain.mean, means, atol=SINGLE)
    np.testing.assert_array_equal(certain.std, 0.0)
    np.testing.assert_array_equal(np.stack(gaussian_policy(model, env.query_observations, 2)), read.array)


def test_a_squashed_model_is_read_as_its_mean_action_and_a_deterministic_one_as_its_action():
    env = make(**TWO)
    squashed = SAC("MlpPolicy", env, seed=0, device="cpu", buffer_size=10)
    torch.manual_seed(0)
    drawn = np.stack([squashed.predict(env.query_observations, deterministic=False)[0] for _ in range(4000)])
    read = env.policies.read(squashed)
    assert (np.abs(read.mean - drawn.mean(0)) < 4.5 * drawn.std(0) / np.sqrt(4000)).all()
    np.testing.assert_array_equal(read.std, 0.0)
    certain = TD3("MlpPolicy", env, seed=0, device="cpu", buffer_size=10)
    np.testing.assert_array_equal(env.policies.read(certain).mean, certain.predict(env.query_observations)[0])


def test_one_of_its_own_comes_back_as_it_is_and_one_of_another_size_is_refused():
    gaussian = SPACE.read((MEAN, STD))
    assert SPACE.read(gaussian) is gaussian
    with pytest.raises(ValueError, match=r"mean of the policy must have shape \(5, 1\), got \(5, 2\)"):
        GaussianPolicies(OBSERVATIONS, 1).read(gaussian)
    with pytest.raises(ValueError, match=r"must be \(mean, std\), got 5 entries"):
        SPACE.read(TablePolicies(5, 2).uniform())


BAD = {
    "one array": (MEAN, r"policy must be \(mean, std\), a callable .* got ndarray"),
    "three arrays": ((MEAN, STD, STD), r"must be \(mean, std\), got 3 entries"),
    "another shape": ((MEAN[:4], STD), r"mean of the policy must have shape \(5, 2\), got \(4, 2\)"),
    "negative deviation": ((MEAN, -STD), "std of the policy must be non-negative"),
    "not a number": ((MEAN, np.full((5, 2), np.nan)), "std of the policy must be finite"),
    "words": (("a", "b"), r"mean of the policy must be an array of numbers \[5, 2\], got str"),
}


@pytest.mark.parametrize(("policy", "message"), BAD.values(), ids=BAD)
def test_what_is_no_policy_is_refused_in_words(policy, message):
    with pytest.raises(ValueError, match=message):
        SPACE.read(policy)


def test_from_array_undoes_array():
    gaussian = SPACE.read((MEAN, STD))
    assert gaussian.array.shape == (2, 5, 2)
    np.testing.assert_array_equal(SPACE.from_array(gaussian.array).array, gaussian.array)
    for bad in (MEAN, np.zeros((3, 5, 2)), np.zeros((2, 4, 2))):
        with pytest.raises(ValueError, match="must have shape"):
            SPACE.from_array(bad)
    with pytest.raises(ValueError, match="std of the policy must be non-negative"):
        SPACE.from_array(np.stack([MEAN, -STD]))


def test_a_policy_cannot_be_written_to_nor_changed_through_what_it_was_made_of():
    mean, std = MEAN.copy(), STD.copy()
    gaussian = SPACE.read((mean, std))
    mean[:], std[:] = 0.0, 0.0
    for array in (gaussian.mean, gaussian.std, gaussian.array, np.asarray(gaussian)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    for copied in (*gaussian(2), *gaussian(np.array([2, 3])), np.array(gaussian)):
        copied[0] = 0.0
    np.testing.assert_array_equal(gaussian.array, np.stack([MEAN, STD]))


def test_it_says_what_is_done_at_an_observation_or_at_several():
    gaussian = Gaussian(MEAN, STD)
    for said, expected in zip(gaussian(3), (MEAN[3], STD[3]), strict=True):
        np.testing.assert_array_equal(said, expected)
    for said, expected in zip(gaussian(np.array([3, 0])), (MEAN[[3, 0]], STD[[3, 0]]), strict=True):
        np.testing.assert_array_equal(said, expected)
    assert repr(gaussian) == "Gaussian(5 observations, 2 actions)"


def test_actions_are_drawn_from_the_gaussian_of_their_observation():
    """Mean, and the sum of squares, which has a chi-square distribution: each out of bounds once in a million."""
    n = 20_000
    where = np.repeat([1, 4], n)
    actions = SPACE.sample(Gaussian(MEAN, STD), where, np.random.default_rng(0))
    assert actions.shape == (2 * n, 2)
    for index in (1, 4):
        scores = (actions[where == index] - MEAN[index]) / STD[index]
        assert (np.abs(scores.mean(0)) < 4.9 / np.sqrt(n)).all()
        squares = (scores**2).sum(0)
        assert (chi2.ppf(1e-6, n) < squares).all()
        assert (squares < chi2.isf(1e-6, n)).all()
        assert abs((scores[:, 0] * scores[:, 1]).mean()) < 4.9 / np.sqrt(n)  # the dimensions are independent


def test_the_uniform_policy_is_worth_as_much_as_random_actions():
    n = 20_000
    venv = gym.make_vec(ID, n, deployment="declared", autoreset_mode="Disabled", gamma=0.9, **TWO)
    problem = venv.problem
    venv.reset(seed=0)
    venv.deploy(problem.policies.uniform())
    rng = np.random.default_rng(0)
    returns = sum(problem.gamma**period * venv.step(rng.uniform(-1.0, 1.0, size=(n, 2)))[1] for period in range(20))
    error = returns.std() / np.sqrt(n)
    assert abs(returns.mean() - problem.value(problem.policies.uniform())) < 4.5 * error


def test_the_initial_policy_is_that_of_fresh_networks():
    initial = SPACE.initial()
    np.testing.assert_array_equal(initial.mean, 0.0)
    np.testing.assert_array_equal(initial.std, 1.0)


def test_a_share_of_the_actions_can_be_random():
    gaussian = SPACE.read((MEAN, STD))
    np.testing.assert_allclose(SPACE.with_random_actions(gaussian, 0.25).mean, 0.75 * MEAN)
    assert SPACE.with_random_actions(gaussian, 0.0) is gaussian
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share must be >= 0 and <= 1"):
            SPACE.with_random_actions(gaussian, share)
    problem = make(**TWO).problem
    random = problem.policies.with_random_actions(problem.policies.posting(5.0), 1.0)
    assert problem.value(random) == pytest.approx(problem.value(problem.policies.uniform()), rel=1e-12)


@pytest.mark.parametrize("use_sde", [False, True])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (1.0, 3.0)])
def test_the_mean_action_of_a_squashed_policy_is_that_of_its_actions(low, high, use_sde):
    class Anything(gym.Env):
        observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        action_space = spaces.Box(low, high, (2,), np.float32)

    model = SAC("MlpPolicy", Anything(), seed=0, device="cpu", buffer_size=10, use_sde=use_sde)
    observation = np.array([[0.3, -0.8, 0.5]], np.float32)
    mean, std = gaussian_policy(model, observation, 2)
    assert (std == 0.0).all()
    drawn = []
    for _ in range(20 if use_sde else 1):
        batch = np.repeat(observation, 2000, axis=0)
        if use_sde:  # one noise for each of the batch
            model.actor.reset_noise(2000)
        drawn.append(model.predict(batch, deterministic=False)[0])
    actions = np.concatenate(drawn)
    assert (np.abs(actions.mean(0) - mean[0]) < 5 * actions.std(0) / len(actions) ** 0.5).all()
