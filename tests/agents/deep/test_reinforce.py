import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from agents import REINFORCE, SoftmaxPolicy
from tests.precision import SINGLE


class Record(BaseCallback):
    """Keeps what the environment paid, before anything is added to it."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def _on_step(self):
        self.steps.append((self.locals["rewards"].copy(), self.locals["dones"].copy()))
        return True


def collected(model, steps):
    record = Record()
    _, callback = model._setup_learn(steps, callback=record)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    rewards, dones = map(np.array, zip(*record.steps, strict=True))
    return rewards, dones


def returns_by_hand(rewards, dones, gamma, cut_value=lambda step, env: 0.0):
    """Sum rewards step by step to the end of each episode; ``None`` where the rollout cuts it."""
    returns = np.zeros_like(rewards, dtype=float)
    finished = np.zeros_like(dones)
    for env in range(rewards.shape[1]):
        for start in range(len(rewards)):
            factor, total, step = 1.0, 0.0, start
            while True:
                total += factor * rewards[step, env]
                factor *= gamma
                if dones[step, env] or step == len(rewards) - 1:
                    break
                step += 1
            finished[start, env] = dones[step, env]
            returns[start, env] = total
    return returns, finished


def test_without_a_baseline_a_finished_episode_counts_with_its_discounted_reward_to_go(table_env):
    venv = make_vec_env(table_env, 3, seed=1)
    model = REINFORCE("MlpPolicy", venv, n_steps=40, gamma=0.9, baseline=False, seed=1, device="cpu")
    rewards, dones = collected(model, 120)
    returns, finished = returns_by_hand(rewards, dones, 0.9)
    model._begin_round()
    buffer = model.rollout_buffer
    assert 0 < finished.sum() < finished.size
    np.testing.assert_array_equal(buffer.returns > 0.0, finished)  # the weights of the steps
    np.testing.assert_allclose(buffer.advantages[finished], returns[finished], rtol=1e-4, atol=1e-5)
    assert sum(len(data.actions) for data in model._minibatches()) == finished.sum()


def test_where_no_episode_ends_all_steps_count_as_they_are(table_env):
    venv = make_vec_env(lambda: table_env(end=0.0), 2, seed=1)
    model = REINFORCE("MlpPolicy", venv, n_steps=5, gamma=0.9, baseline=False, seed=1, device="cpu")
    rewards, dones = collected(model, 10)
    model._begin_round()
    assert not dones.any()
    np.testing.assert_allclose(
        model.rollout_buffer.advantages, returns_by_hand(rewards, dones, 0.9)[0], rtol=1e-4, atol=1e-5
    )
    assert (model.rollout_buffer.returns == 1.0).all()


def test_without_a_baseline_the_value_network_has_no_say_even_if_it_was_trained_elsewhere(table_env):
    venv = make_vec_env(table_env, 3, seed=1)
    trained = REINFORCE("MlpPolicy", venv, n_steps=40, seed=1, device="cpu").learn(480)
    model = REINFORCE("MlpPolicy", venv, n_steps=40, gamma=0.9, baseline=False, seed=1, device="cpu")
    model.set_parameters(trained.get_parameters(), exact_match=False)
    head = {name: value.clone() for name, value in model.policy.mlp_extractor.value_net.state_dict().items()}
    rewards, dones = collected(model, 120)
    np.testing.assert_allclose(
        model.rollout_buffer.returns, returns_by_hand(rewards, dones, 0.9)[0], rtol=1e-4, atol=1e-5
    )
    model.train()
    assert all(
        torch.equal(head[name], value) for name, value in model.policy.mlp_extractor.value_net.state_dict().items()
    )


def test_with_a_baseline_cut_episodes_go_on_with_its_estimate(table_env):
    venv = make_vec_env(lambda: table_env(end=0.0), 2, seed=1)  # nothing ends but by the limit of 9 steps
    model = REINFORCE(SoftmaxPolicy, venv, n_steps=7, gamma=0.9, seed=1, device="cpu")
    with torch.no_grad():
        model.policy.value_net.weight.fill_(100.0)
    rewards, dones = collected(model, 14)
    returns, _ = returns_by_hand(rewards, dones, 0.9)
    still_to_come = 100.0 * 0.9 ** np.arange(7, 0, -1)[:, None]
    np.testing.assert_allclose(model.rollout_buffer.returns, returns + still_to_come, rtol=1e-4)
    np.testing.assert_allclose(model.rollout_buffer.advantages, returns + still_to_come - 100.0, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_step_follows_the_score_function_times_the_advantage(filled, table_of, normalize):
    pi = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    counts = np.array([[2, 1, 1], [3, 0, 2]])
    advantages = np.random.default_rng(0).normal(size=(2, 3))
    model = filled(REINFORCE, pi, counts, advantages, normalize_advantage=normalize, max_grad_norm=1e9)
    kept = {}
    model.policy.optimizer.step = lambda: kept.update(gradient=model.policy.action_net.weight.grad.T.clone())
    model.train()
    every = np.repeat(advantages.ravel(), counts.ravel())
    scaled = (advantages - every.mean()) / every.std(ddof=1) if normalize else advantages
    expected = np.zeros_like(pi)
    for state, action in np.ndindex(*pi.shape):
        score = -pi[state].copy()
        score[action] += 1.0
        expected[state] -= counts[state, action] * scaled[state, action] * score / counts.sum()
    np.testing.assert_allclose(kept["gradient"], expected, atol=SINGLE)
