"""What happens in a round: who is in which mode, which steps are taken, what is logged."""

import inspect

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback

from agents import PePG, PePGPolicy, make_vec_env

from .worlds import season, some_batch


class Watched(PePGPolicy):
    """Keeps the losses, and the mode in which they were computed."""

    def pepg_loss(self, batch, *args, **kwargs):
        loss = super().pepg_loss(batch, *args, **kwargs)
        self.losses = [*getattr(self, "losses", []), (self.training, [term.item() for term in loss])]
        return loss


class Modes(BaseCallback):
    def __init__(self):
        super().__init__()
        self.modes = set()

    def _on_step(self):
        self.modes.add(self.model.policy.training)
        return True


class EveryRound(BaseCallback):
    """Keeps what was logged of every round but the last one, and the rollout it is about."""

    def __init__(self):
        super().__init__()
        self.logged, self.rollouts = [], []

    def _on_rollout_start(self):
        if self.rollouts:
            self.logged.append(dict(self.logger.name_to_value))

    def _on_rollout_end(self):
        buffer = self.model.rollout_buffer
        self.rollouts.append((buffer.values.copy(), buffer.returns.copy()))

    def _on_step(self):
        return True


def test_networks_are_in_training_mode_while_they_learn_and_not_while_they_act():
    modes = Modes()
    model = PePG(Watched, season(), n_steps=4, seed=0, device="cpu").learn(48, callback=modes)
    assert modes.modes == {False}
    assert [mode for mode, _ in model.policy.losses] == [True] * 3


@pytest.mark.parametrize(("max_grad_norm", "is_clipped"), [(1e-3, True), (1e6, False)])
def test_gradients_are_clipped_to_their_norm(max_grad_norm, is_clipped):
    model = PePG("MlpPolicy", season(), n_steps=8, max_grad_norm=max_grad_norm, seed=0, device="cpu")
    norms, step = [], model.policy.optimizer.step

    def watched_step():
        norms.append(np.sqrt(sum(float((p.grad**2).sum()) for p in model.policy.parameters() if p.grad is not None)))
        step()

    model.policy.optimizer.step = watched_step
    model.learn(96)
    assert len(norms) == 3
    if is_clipped:
        np.testing.assert_allclose(norms, max_grad_norm, rtol=1e-2)
    else:
        assert max(norms) > 1e-2


def test_the_log_is_about_all_gradient_steps_of_the_round():
    """48 visits in batches of 20 make three steps a pass."""
    callback = EveryRound()
    arguments = {"n_steps": 12, "n_epochs": 2, "batch_size": 20, "ent_coef": 0.1, "performative_coef": 0.7}
    model = PePG(Watched, season(), seed=0, device="cpu", **arguments)
    model.learn(48 * 4, callback=callback, log_interval=10**6)
    losses = np.array([terms for _, terms in model.policy.losses])
    assert len(losses) == 4 * 6
    for round_, logged in enumerate(callback.logged):
        expected = losses[6 * round_ : 6 * round_ + 6].mean(0)
        names = ("loss", "policy_gradient_loss", "response_loss", "entropy_loss", "value_loss")
        np.testing.assert_allclose([logged[f"train/{name}"] for name in names], expected, rtol=1e-5)
        values, returns = callback.rollouts[round_]
        explained = 1.0 - np.var(returns - values) / np.var(returns)
        # One minus a ratio near one, of sums in single precision: what is left is known to their rounding.
        assert logged["train/explained_variance"] == pytest.approx(
            explained, abs=32.0 * float(np.finfo(np.float32).eps)
        )
        assert logged["train/n_updates"] == 6 * (round_ + 1)
        assert logged["train/performative_coef"] == 0.7
        assert logged["train/ent_coef"] == pytest.approx(0.1 * model.reward_scale)


def test_the_deviation_of_continuous_actions_is_logged():
    callback = EveryRound()
    venv = make_vec_env("LinearPricing-v0", n_envs=4, seed=0, env_kwargs={"n_products": 2})
    model = PePG("MlpPolicy", venv, n_steps=8, learning_rate=1e-9, seed=0, device="cpu")
    with torch.no_grad():
        model.policy.log_std.copy_(torch.log(torch.tensor([0.2, 0.8])))
    model.learn(64, callback=callback, log_interval=10**6)
    assert callback.logged[0]["train/std"] == pytest.approx(0.5, rel=1e-5)


def test_a_schedule_of_the_step_size_is_followed():
    rates = []

    class Rates(BaseCallback):
        def _on_rollout_start(self):
            rates.append(self.model.policy.optimizer.param_groups[0]["lr"])

        def _on_step(self):
            return True

    model = PePG("MlpPolicy", season(), n_steps=4, learning_rate=lambda left: 0.01 * left, seed=0, device="cpu")
    model.learn(64, callback=Rates())
    np.testing.assert_allclose(rates[1:], [0.0075, 0.005, 0.0025])


@pytest.mark.parametrize(
    "name", ["n_steps", "vf_coef", "max_grad_norm", "use_sde", "sde_sample_freq", "stats_window_size", "verbose"]
)
def test_what_is_as_in_stable_baselines_has_its_default(name):
    mine, theirs = (inspect.signature(algorithm).parameters[name].default for algorithm in (PePG, A2C))
    assert mine == theirs


def test_by_default_it_is_the_method_of_the_theory():
    """One pass over a whole round, in the units of the world, with the whole answer and without sampled actions."""
    explicit = {
        "n_epochs": 1,
        "batch_size": None,
        "normalize_advantage": False,
        "policy_gradient": "expected",
        "response_terms": "both",
        "discount_visits": False,
    }
    policies = []
    for arguments in ({}, explicit):
        model = PePG("MlpPolicy", season(), seed=0, device="cpu", **arguments).learn(80)
        policies.append(torch.cat([part.detach().flatten() for part in model.policy.parameters()]))
    assert torch.equal(*policies)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"gae_lambda": 1.01}, "gae_lambda"),
        ({"vf_coef": -1e-9}, "vf_coef"),
        ({"max_grad_norm": -1.0}, "max_grad_norm"),
        ({"batch_size": 1}, "batch_size"),
        ({"policy_gradient": "both"}, "policy_gradient"),
    ],
)
def test_arguments_just_out_of_range_are_refused(arguments, names):
    with pytest.raises(ValueError, match=names):
        PePG("MlpPolicy", season(), **arguments)


def test_arguments_at_the_ends_of_their_ranges_are_taken():
    for arguments in ({"gae_lambda": 0.0, "vf_coef": 0.0, "max_grad_norm": 1e-9}, {"gae_lambda": 1.0, "batch_size": 2}):
        model = PePG("MlpPolicy", season(), n_steps=2, device="cpu", **arguments).learn(8)
        assert model.gae_lambda == arguments["gae_lambda"]


def test_advantages_and_returns_are_those_of_the_given_lambda_and_discount():
    """With ``lambda = 0`` an advantage is a difference of two values, with 1 a return less a value."""
    advantages = {}
    for gae_lambda in (0.0, 1.0):
        model = PePG(
            "SoftmaxPolicy",
            season(),
            n_steps=6,
            gamma=0.6,
            gae_lambda=gae_lambda,
            learning_rate=0.0,
            device="cpu",
            seed=0,
        )
        with torch.no_grad():
            model.policy.value_net.weight.normal_(generator=torch.Generator().manual_seed(0))
        model.learn(24)
        buffer = model.rollout_buffer  # of which batches have been taken: some of it is flattened
        advantages[gae_lambda] = buffer.advantages.reshape(4, 6).T
        values, rewards, starts = buffer.values.reshape(4, 6).T, buffer.rewards, buffer.episode_starts
    one_step = rewards[:-1] + 0.6 * values[1:] * (1 - starts[1:]) - values[:-1]
    np.testing.assert_allclose(advantages[0.0][:-1], one_step, atol=1e-5)
    returns = advantages[1.0] + values
    np.testing.assert_allclose(returns[:-1], rewards[:-1] + 0.6 * returns[1:] * (1 - starts[1:]), atol=1e-5)


@pytest.mark.parametrize("is_indexed", [True, False])
def test_deterministic_actions_are_the_likeliest_ones_also_while_it_acts_from_a_table(is_indexed):
    model = PePG("SoftmaxPolicy", season(), seed=0, device="cpu")
    with torch.no_grad():
        model.policy.action_net.weight.normal_(generator=torch.Generator().manual_seed(1))
    states = torch.arange(12)
    table = model.policy.tabulate(torch.arange(13)) if is_indexed else None
    with model.policy.acting_from(table):
        actions, _, _ = model.policy(states, deterministic=True)
    np.testing.assert_array_equal(actions, model.policy.action_net.weight.argmax(0)[:12])


def test_after_a_round_the_networks_are_asked_again():
    """The table that served a round is old when the networks have moved."""
    model = PePG("SoftmaxPolicy", season(), n_steps=4, seed=0, device="cpu").learn(16)
    with torch.no_grad():
        model.policy.value_net.weight.fill_(5.0)
    np.testing.assert_array_equal(model.policy.predict_values(torch.arange(12)).detach(), 5.0)


@pytest.mark.parametrize("name", ["callback", "reset_num_timesteps", "progress_bar"])
def test_learning_has_the_defaults_of_stable_baselines(name):
    mine, theirs = (inspect.signature(algorithm.learn).parameters[name].default for algorithm in (PePG, A2C))
    assert mine == theirs


def test_a_loss_asked_for_without_settings_is_that_of_the_whole_answer_and_the_usual_critic():
    venv = season()
    model = PePG("SoftmaxPolicy", venv, seed=0, device="cpu")
    model._answer.deploy(model.policy, venv)
    batch = some_batch()
    bare = model.policy.pepg_loss(batch, model._answer)
    vf_coef = inspect.signature(PePG).parameters["vf_coef"].default
    explicit = model.policy.pepg_loss(batch, model._answer, 1.0, 0.0, vf_coef, normalize_advantage=False, expected=True)
    assert [term.item() for term in bare] == [term.item() for term in explicit]


class Coin(gym.Env):
    """Pays 3 for one action and takes 2 for the other; episodes of four steps."""

    observation_space, action_space = gym.spaces.Discrete(4), gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return 0, {}

    def step(self, action):
        self.now += 1
        return self.now % 4, 3.0 if action else -2.0, self.now == 4, False, {}


def test_where_no_world_tells_the_range_of_rewards_it_is_that_of_those_seen():
    with pytest.warns(UserWarning, match="no response map"):
        model = PePG("MlpPolicy", Coin(), n_steps=64, seed=0, device="cpu")
    assert model.learn(64).reward_scale == pytest.approx(5.0)


def test_logs_are_dumped_as_in_stable_baselines():
    mine, theirs = (inspect.signature(one.dump_logs).parameters["iteration"].default for one in (PePG, A2C))
    assert mine == theirs
