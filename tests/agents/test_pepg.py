import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from agents import PePG, make_vec_env
from agents.common.schedules import ramp
from perf_envs import exact, policy_table
from tests.worlds import TABULAR_WORLDS


def pricing(n_envs=8, seed=0, **kwargs):
    return make_vec_env("PerformativePricing-v0", n_envs=n_envs, seed=seed, env_kwargs=kwargs)


def table(model):
    problem = model.get_env().get_attr("problem")[0]
    return policy_table(model, np.arange(problem.n_states), problem.n_actions)


def value(model):
    return exact.performative_value(model.get_env().get_attr("problem")[0], table(model)).item()


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
@pytest.mark.parametrize("policy", ["MlpPolicy", "SoftmaxPolicy"])
def test_it_trains_on_every_world(env_id, policy):
    model = PePG(policy, make_vec_env(env_id, n_envs=4, seed=0), n_steps=8, seed=0).learn(96)
    assert np.isfinite(table(model)).all()
    assert model.get_env().get_attr("round")[0] == 3


def test_it_learns_prices_that_stay_good_after_the_customers_have_answered():
    model = PePG("MlpPolicy", pricing(64), seed=0)
    before = value(model)
    model.learn(60_000)
    # The best a policy can do that takes the market as it stands is 9.40; uniform prices earn 6.48.
    assert before < 6.6
    assert value(model) > 10.0


@pytest.mark.parametrize("arguments", [{}, {"n_epochs": 3, "batch_size": 32}, {"discount_visits": True}])
def test_the_same_seed_gives_the_same_policy_bit_for_bit(arguments):
    # On a GPU sums come out in any order.
    arguments = {**arguments, "device": "cpu"}
    first, second = (PePG("MlpPolicy", pricing(), seed=1, **arguments).learn(512) for _ in range(2))
    np.testing.assert_array_equal(table(first), table(second))
    other = PePG("MlpPolicy", pricing(seed=2), seed=2, **arguments).learn(512)
    assert not np.array_equal(table(first), table(other))


def test_the_discount_is_the_worlds_own_unless_given():
    assert PePG("MlpPolicy", pricing(gamma=0.8)).gamma == 0.8
    assert PePG("MlpPolicy", pricing(gamma=0.8), gamma=0.6).gamma == 0.6
    assert PePG("MlpPolicy", pricing(gamma=0.8)).rollout_buffer.gamma == 0.8


def test_it_works_on_the_scalar_environment_by_its_id():
    model = PePG("MlpPolicy", "PerformativePricing-v0", n_steps=32, seed=0).learn(64)
    assert model.get_env().get_attr("round") == [2]


def test_the_policy_is_deployed_at_the_start_of_every_rollout():
    agree = []

    class Deployed(BaseCallback):
        def _on_rollout_start(self):
            agree.append(np.allclose(self.training_env.get_attr("rounds")[0].policy.probs, table(self.model)))

        def _on_step(self):
            return True

    PePG("MlpPolicy", pricing(), n_steps=8, learning_rate=0.05, seed=0).learn(320, callback=Deployed())
    assert agree == [True] * 5


def test_a_saved_model_comes_back_and_trains_on(tmp_path):
    model = PePG("MlpPolicy", pricing(), n_steps=8, performative_coef=ramp(0.3), seed=0).learn(256)
    model.save(tmp_path / "model")
    loaded = PePG.load(tmp_path / "model")
    observations = np.arange(81)
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )
    assert loaded.performative_coef == model.performative_coef
    loaded.set_env(pricing())
    loaded.learn(128)
    again = PePG.load(tmp_path / "model", env=pricing(seed=5))
    assert again._answer is not None
    again.learn(128)


def test_another_world_brings_its_own_response_map():
    model = PePG("MlpPolicy", pricing(), n_steps=8, seed=0)
    first = model._answer.problem
    model.set_env(pricing(shift=1.0))
    assert model._answer.problem is not first
    model.learn(64)


def test_the_world_answers_less_at_the_start_of_the_ramp_and_fully_after_it():
    model = PePG("MlpPolicy", pricing(), n_steps=8, performative_coef=ramp(0.5), ent_coef=0.1, seed=0)
    logged = []

    class Log(BaseCallback):
        def _on_rollout_end(self):
            logged.append(dict(self.logger.name_to_value))

        def _on_step(self):
            return True

    model.learn(64 * 11, callback=Log(), log_interval=1000)
    coefficients = [entry["train/performative_coef"] for entry in logged[1:]]
    assert coefficients == pytest.approx([min(1.0, 2 * (index + 1) / 11) for index in range(10)])
    keys = {
        "loss",
        "policy_gradient_loss",
        "response_loss",
        "entropy_loss",
        "value_loss",
        "explained_variance",
        "n_updates",
    }
    assert {f"train/{key}" for key in keys} <= set(logged[-1])
    assert {"perf/round", "perf/shift", "perf/reward_shift"} <= set(logged[-1])
    assert logged[-1]["train/ent_coef"] == pytest.approx(0.1 * model.reward_scale)


def test_the_entropy_weight_is_in_units_of_the_worlds_rewards():
    scales = []
    for factor in (1.0, 10.0):
        venv = make_vec_env(
            "PerformativePricing-v0",
            n_envs=2,
            env_kwargs={
                "min_price": 0.5 * factor,
                "max_price": 4.0 * factor,
                "temperature": factor,
                "base_willingness": 3.0 * factor,
                "reference_price": 2.0 * factor,
            },
        )
        scales.append(PePG("MlpPolicy", venv).reward_scale)
    assert scales[1] == pytest.approx(10.0 * scales[0])


def test_an_ordinary_environment_is_trained_on_with_a_warning_or_refused():
    with pytest.warns(UserWarning, match="no response map"):
        model = PePG("MlpPolicy", gym.make("CartPole-v1"), n_steps=16, seed=0)
    model.learn(64)
    with pytest.raises(ValueError, match="no response map"):
        PePG("MlpPolicy", gym.make("CartPole-v1"), strict=True)


def test_the_table_policy_starts_uniform_and_has_one_logit_per_state_and_action():
    model = PePG("SoftmaxPolicy", pricing(), seed=0)
    np.testing.assert_allclose(table(model), 1 / 8, rtol=1e-6)
    trained = [tuple(p.shape) for p in model.policy.parameters() if p.requires_grad]
    assert sorted(trained) == [(1, 81), (8, 81)]
    with torch.no_grad():
        model.policy.action_net.weight[2, 5] = 50.0
    assert table(model)[5].argmax() == 2
    np.testing.assert_allclose(table(model)[6], 1 / 8, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"n_steps": 0}, "n_steps"),
        ({"n_epochs": 0}, "n_epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"gamma": 1.5}, "gamma"),
        ({"gae_lambda": -0.1}, "gae_lambda"),
        ({"performative_coef": float("nan")}, "performative_coef"),
        ({"ent_coef": "much"}, "ent_coef"),
        ({"ent_coef": -1.0}, "ent_coef"),
        ({"vf_coef": -1.0}, "vf_coef"),
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
        ({"policy": ActorCriticPolicy}, "PePGPolicy"),
        ({"policy_kwargs": {"net_arch": [64]}, "policy": "SoftmaxPolicy"}, "net_arch"),
    ],
)
def test_bad_arguments_are_named(arguments, names):
    with pytest.raises(ValueError, match=names):
        PePG(**{"policy": "MlpPolicy", "env": pricing(2), **arguments})


def test_a_single_sample_is_not_a_batch():
    with pytest.raises(ValueError, match="n_steps \\* n_envs"):
        PePG("MlpPolicy", pricing(1), n_steps=1)


def test_observations_other_than_the_state_are_refused_rather_than_misread():
    class Features(gym.ObservationWrapper):
        observation_space = gym.spaces.Box(0.0, 1.0, (1,))

        def observation(self, observation):
            return np.array([observation / 80], dtype=np.float32)

    with pytest.raises(ValueError, match="observation_space"):
        PePG("MlpPolicy", Features(gym.make("PerformativePricing-v0")))


def test_rewards_in_other_units_than_the_response_map_are_refused():
    with pytest.raises(ValueError, match="norm_reward=False"):
        PePG("MlpPolicy", VecNormalize(pricing(), norm_obs=False))
    PePG("MlpPolicy", VecNormalize(pricing(), norm_obs=False, norm_reward=False), n_steps=8).learn(64)


def test_one_discount_serves_the_critic_and_the_answer():
    assert PePG("MlpPolicy", pricing(), gamma=0.6)._answer.gamma == 0.6
