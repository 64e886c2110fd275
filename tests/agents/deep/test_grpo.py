import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger

from agents import GRPO


def collected(env, n_envs=3, n_steps=20, **arguments):
    venv = make_vec_env(env, n_envs, seed=2)
    model = GRPO("MlpPolicy", venv, n_steps=n_steps, seed=2, device="cpu", **arguments)
    _, callback = model._setup_learn(n_envs * n_steps)
    for _ in range(2):  # the second rollout finds the environments in the middle of episodes
        model.collect_rollouts(model.env, callback, model.rollout_buffer, n_steps)
    return model


def episodes_of(model):
    """Return every episode as a list of its steps ``(t, e)``, and whether it ended."""
    buffer, found = model.rollout_buffer, []
    for env in range(buffer.n_envs):
        steps = []
        for step in range(buffer.buffer_size):
            if steps and buffer.episode_starts[step, env]:
                found.append((steps, True))
                steps = []
            steps.append((step, env))
        found.append((steps, bool(model._last_episode_starts[env])))
    return found


def test_every_rollout_begins_with_new_episodes(table_env):
    model = collected(table_env)
    assert model.rollout_buffer.episode_starts[0].all()


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_outcome_supervision_compares_whole_episodes(table_env, gamma):
    model = collected(table_env, gamma=gamma)
    model._begin_round()
    buffer = model.rollout_buffer
    group = [steps for steps, ended in episodes_of(model) if ended]
    returns = np.array([sum(gamma**t * buffer.rewards[step] for t, step in enumerate(steps)) for steps in group])
    judged = (returns - returns.mean()) / returns.std()
    advantages, weights = np.zeros((20, 3)), np.zeros((20, 3))
    total = sum(map(len, group))
    for steps, advantage in zip(group, judged, strict=True):
        for step in steps:
            advantages[step], weights[step] = advantage, total / (len(group) * len(steps))
    assert 2 < len(group) < len(episodes_of(model))
    np.testing.assert_allclose(buffer.advantages, advantages, atol=1e-5)
    np.testing.assert_allclose(buffer.returns, weights, rtol=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_process_supervision_sums_normalised_rewards_to_the_end(table_env, gamma):
    model = collected(table_env, gamma=gamma, supervision="process")
    model._begin_round()
    buffer = model.rollout_buffer
    rewards = (buffer.rewards - buffer.rewards.mean()) / buffer.rewards.std()
    expected = np.zeros((20, 3))
    for steps, _ in episodes_of(model):
        for t, step in enumerate(steps):
            expected[step] = sum(gamma**k * rewards[later] for k, later in enumerate(steps[t:]))
    np.testing.assert_allclose(buffer.advantages, expected, atol=1e-4)
    assert (buffer.returns > 0.0).all()


def test_episodes_as_long_as_the_rollout_are_judged_by_what_they_earned_in_it(table_env):
    model = collected(lambda: table_env(end=0.0), n_steps=6)
    model._begin_round()
    earned = model.rollout_buffer.rewards.sum(0)
    np.testing.assert_allclose(
        model.rollout_buffer.advantages, np.tile((earned - earned.mean()) / earned.std(), (6, 1)), atol=1e-5
    )


def test_the_loss_is_that_of_the_paper(table_env):
    model = collected(table_env, clip_range=0.1, beta=0.3, batch_size=None, n_epochs=1)
    model.set_logger(Logger(folder=None, output_formats=[]))
    log_probs = model.rollout_buffer.log_probs.copy()
    shift = np.random.default_rng(0).normal(scale=0.2, size=log_probs.shape)
    model.rollout_buffer.log_probs += shift.astype(np.float32)  # as if the rollout came from another policy
    model._begin_round()
    buffer, group = model.rollout_buffer, [steps for steps, ended in episodes_of(model) if ended]
    expected = 0.0
    for steps in group:
        terms = []
        for step in steps:
            ratio, advantage = np.exp(-shift[step]), buffer.advantages[step]
            kl = 1.0 / ratio + np.log(ratio) - 1.0
            terms.append(min(ratio * advantage, np.clip(ratio, 0.9, 1.1) * advantage) - 0.3 * kl)
        expected -= np.mean(terms) / len(group)
    (data,) = model._minibatches()
    loss, _ = model._loss(data)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_value_network_is_neither_trained_nor_asked(table_env):
    model = GRPO("MlpPolicy", table_env(), n_steps=32, batch_size=16, seed=0, device="cpu")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(96)
    assert (model.rollout_buffer.values == 0.0).all()
    for name, value in model.policy.state_dict().items():
        if "value_net" in name:
            assert torch.equal(before[name], value)
        else:
            assert not torch.equal(before[name], value)


def test_where_all_episodes_earn_the_same_there_is_nothing_to_learn(table_env):
    class Flat(table_env):
        def step(self, action):
            observation, _, _, truncated, info = super().step(action)
            return observation, 1.0, False, truncated, info

    model = GRPO("MlpPolicy", Flat(), n_steps=36, batch_size=None, seed=0, device="cpu")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(36)
    assert all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())
