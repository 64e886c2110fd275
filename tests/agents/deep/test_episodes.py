import numpy as np
import pytest

from agents.deep.episodes import reward_to_go, segments


@pytest.fixture
def rollout():
    rng = np.random.default_rng(3)
    return rng.normal(size=(40, 5)), rng.random((40, 5)) < 0.15, rng.random(5) < 0.5


def brute_force_segments(starts, done):
    """Walk every sub-environment and cut it where an episode starts."""
    found = []
    for env in range(starts.shape[1]):
        begin = 0
        for step in range(1, len(starts) + 1):
            if step == len(starts) or starts[step, env]:
                found.append((env, begin, step, bool(done[env]) if step == len(starts) else True))
                begin = step
    return found


def test_segments_are_the_parts_of_episodes_in_the_rollout(rollout):
    _, starts, done = rollout
    found, expected = segments(starts, done), brute_force_segments(starts, done)
    assert found.n == len(expected)
    for number, (env, begin, end, finished) in enumerate(expected):
        assert [tuple(where) for where in np.argwhere(found.index == number)] == [(t, env) for t in range(begin, end)]
        assert found.finished[number] == finished
        assert found.lengths[number] == end - begin


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_reward_to_go_is_the_discounted_sum_to_the_end_of_the_episode_or_the_rollout(rollout, gamma):
    rewards, starts, done = rollout
    measured = reward_to_go(rewards, starts, gamma)
    for env, begin, end, _ in brute_force_segments(starts, done):
        for step in range(begin, end):
            expected = sum(gamma ** (k - step) * rewards[k, env] for k in range(step, end))
            assert measured[step, env] == pytest.approx(expected)
