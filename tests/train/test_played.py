from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from perf_envs.policies import AskedPolicy
from tests.train import strangers  # noqa: F401 registers the worlds
from train import played
from train.played import played_returns

FAIR = AskedPolicy(np.array([[0.5, 0.5], [0.0, 1.0]]), spaces.Discrete(2), spaces.Discrete(2))
#: What it is paid for at every step.
PAY = 0.75


def play(n_episodes: int = 100, gamma: float = 0.9, env: str = "Fair-v0", **kwargs: Any) -> Any:
    return played_returns(env, kwargs, FAIR, 0, n_episodes, gamma)


@pytest.mark.parametrize(("asked", "shape"), [(100, (20, 5)), (30, (20, 2)), (7, (7, 1))])
def test_every_sub_environment_plays_as_many_episodes(asked: int, shape: tuple[int, int]) -> None:
    assert play(asked).plain.shape == shape


def test_returns_are_sums_and_discounted_sums_of_an_episode() -> None:
    returns = play()
    np.testing.assert_allclose(returns.plain, 3 * PAY)
    np.testing.assert_allclose(returns.discounted, PAY * (1 + 0.9 + 0.81))
    assert (returns.rest, returns.limit) == (0.0, None)
    np.testing.assert_allclose(play(gamma=1.0).discounted, 3 * PAY)


def test_what_a_time_limit_cuts_off_is_not_known() -> None:
    cut = play(env="FairWithLimit-v0", length=None)
    np.testing.assert_allclose(cut.plain, 4 * PAY)
    assert (cut.rest, cut.limit) == (None, 4)
    ended = play(env="FairWithLimit-v0", length=4)
    assert (ended.rest, ended.limit) == (0.0, 4), "an episode that ends at its limit is not cut"


def test_an_episode_without_end_is_left_and_has_no_plain_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(played, "_MAX_STEPS", 50)
    returns = play(gamma=0.5, length=None)
    assert np.isnan(returns.plain).all()
    np.testing.assert_allclose(returns.discounted, 2 * PAY)
    assert returns.rest is None
    assert returns.figures()["rollout_return_mean"] is None


def test_an_environment_that_adapts_gradually_is_played_when_it_is_at_rest() -> None:
    np.testing.assert_allclose(play(rate=0.2).plain, 3 * PAY, rtol=0.005)
    # Nobody knows how far this one has moved.
    np.testing.assert_allclose(play(rate=0.2, tells=False).plain, 3 * 0.2 * PAY)


def test_the_chance_of_a_response_is_part_of_the_error() -> None:
    found = [
        played_returns("Fair-v0", {"noise": 0.3, "tells": False}, FAIR, seed, 100, 1.0).figures() for seed in range(40)
    ]
    assert {(figures["n_episodes"], figures["played_deployments"]) for figures in found} == {(100, 20)}
    means = np.array([figures["rollout_return_mean"] for figures in found])
    errors = np.array([figures["rollout_return_se"] for figures in found])
    # Of 20 deployments, whatever the number of episodes of each.
    assert errors.mean() == pytest.approx(3 * 0.3 / np.sqrt(20), rel=0.1)
    assert np.abs((means - 3 * PAY) / errors).max() < 4.5


def test_the_seed_decides_everything() -> None:
    space = gym.make("HiddenPricing-v0").observation_space
    assert isinstance(space, spaces.Discrete)
    policy = AskedPolicy(np.full((int(space.n), 8), 0.125), space, spaces.Discrete(8))
    first, again, other = (played_returns("HiddenPricing-v0", {}, policy, seed, 40, 0.99) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.plain, again.plain)
    assert (first.plain != other.plain).any()


def test_a_policy_that_the_environment_does_not_take_is_refused() -> None:
    policy = AskedPolicy(lambda observation: np.ones(3) / 3, spaces.Discrete(2), spaces.Discrete(2))
    with pytest.raises(ValueError, match="policy"):
        played_returns("Fair-v0", {}, policy, 0, 10, 0.9)
