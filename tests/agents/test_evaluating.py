"""Evaluation in the world that answers the model, and notices where it is not."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common import callbacks
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from agents import DeployCallback, EvalCallback, PePG, deploy, make_vec_env
from agents.retraining import RepeatedRetraining
from perf_envs import policy_table

PRICING = "PerformativePricing-v0"


def undiscounted_value(dynamics, pi, start):
    """Return the expected revenue of a season, by following the distribution over states period by period."""
    P, r = dynamics.dense()
    moves, paid = np.einsum("sa,sat->st", pi, P), (pi * np.asarray(r)).sum(-1)
    at, total = start.copy(), 0.0
    for _ in range(10):
        total += at @ paid
        at = at @ moves
    return total


def trained(**arguments):
    return PPO("MlpPolicy", make_vec_env(PRICING, 8, seed=0), n_steps=64, batch_size=128, seed=0, **arguments)


@pytest.mark.parametrize("deterministic", [False, True])
def test_returns_are_those_of_the_world_that_answers_what_is_played(deterministic):
    model = trained(learning_rate=3e-3)
    evaluation = EvalCallback(
        make_vec_env(PRICING, 50, seed=1),
        n_eval_episodes=1500,
        eval_freq=64 * 6,
        deterministic=deterministic,
        verbose=0,
    )
    shown = {}

    class Last(callbacks.BaseCallback):
        def _on_step(self):
            if self.n_calls == 64 * 6:  # the policy has not been updated since
                shown["pi"] = policy_table(model, np.arange(81), 8, deterministic)
            return True

    model.learn(64 * 8 * 6, [DeployCallback(), evaluation, Last()])
    problem, rho = evaluation.eval_env.get_attr("problem")[0], np.eye(81)[7]
    answered = undiscounted_value(problem.response(shown["pi"]), shown["pi"], rho)
    unanswered = undiscounted_value(problem.unshifted(), shown["pi"], rho)
    error = 3.0 / np.sqrt(1500)  # the return of a season has a standard deviation below 3
    assert abs(evaluation.last_mean_reward - answered) < 4.0 * error
    assert abs(evaluation.last_mean_reward - unanswered) > 8.0 * error


def test_the_evaluation_deploys_at_every_evaluation_and_leaves_the_training_alone():
    evaluation = EvalCallback(make_vec_env(PRICING, 2, seed=1), eval_freq=64, n_eval_episodes=2, verbose=0)
    with_it = trained().learn(64 * 8 * 3, [DeployCallback(), evaluation])
    assert evaluation.eval_env.get_attr("round")[0] == 3
    assert with_it.get_env().get_attr("round")[0] == 3
    without = trained().learn(64 * 8 * 3, DeployCallback())
    for one, other in zip(with_it.policy.parameters(), without.policy.parameters(), strict=True):
        assert one.equal(other)


def test_it_has_all_that_the_callback_of_stable_baselines3_has(tmp_path):
    ended = callbacks.StopTrainingOnRewardThreshold(reward_threshold=-1.0)
    evaluation = EvalCallback(
        make_vec_env(PRICING, 2, seed=1),
        callback_on_new_best=ended,
        eval_freq=32,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    model = trained().learn(64 * 8 * 3, [DeployCallback(), evaluation])
    assert model.num_timesteps == 32 * 8
    assert (tmp_path / "best_model.zip").is_file()
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [32 * 8]


def test_normalised_observations_are_those_of_the_training():
    def normalised(seed):
        return VecNormalize(make_vec_env("LinearPricing-v0", 4, seed=seed), norm_reward=False)

    model = A2C("MlpPolicy", normalised(0), n_steps=20, seed=0)
    evaluation = EvalCallback(normalised(1), eval_freq=40, verbose=0)
    model.learn(400, [DeployCallback(), evaluation])
    assert evaluation.eval_env.get_attr("round")[0] == 2


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ValueError, match="eval_env must be a performative world"):
        EvalCallback(gym.make("CartPole-v1"))
    venv = make_vec_env(PRICING, 2, seed=0)
    model = A2C("MlpPolicy", venv, seed=0)
    with pytest.raises(ValueError, match="another environment than the one in training"):
        model.learn(10, EvalCallback(venv))


def test_wrappers_that_change_actions_are_refused_in_evaluations_too():
    class Reversed(gym.ActionWrapper):
        def action(self, action):
            return 7 - action

    evaluation = EvalCallback(Reversed(gym.make(PRICING)), eval_freq=8, verbose=0, warn=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training and eval env are not of the same type")
        with pytest.raises(ValueError, match="hand on the actions"):
            trained().learn(64 * 8, [DeployCallback(), evaluation])


def learners():
    def others(env):
        return callbacks.EvalCallback(env, eval_freq=16, n_eval_episodes=1, verbose=0)

    def nested(env):
        return callbacks.EveryNTimesteps(64, others(env))

    venv = make_vec_env(PRICING, 4, seed=0)
    return {
        "ppo": lambda env: PPO("MlpPolicy", venv, n_steps=16, batch_size=64).learn(64, [DeployCallback(), others(env)]),
        "nested": lambda env: A2C("MlpPolicy", venv, n_steps=16).learn(64, [nested(env), DeployCallback()]),
        "pepg": lambda env: PePG("MlpPolicy", venv, n_steps=16).learn(64, others(env)),
        "pepg and callback": lambda env: PePG("MlpPolicy", venv, n_steps=16).learn(64, [DeployCallback(), others(env)]),
        "rr": lambda env: RepeatedRetraining("TabularPolicy", venv, n_steps=16).learn(64, others(env)),
    }


@pytest.mark.parametrize("name", list(learners()))
def test_an_evaluation_in_a_world_that_nobody_deploys_to_is_noticed(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learners()[name](make_vec_env(PRICING, 1, seed=1))
    told = [str(one.message) for one in caught if "never deployed to" in str(one.message)]
    assert len(told) == 1
    assert "agents.EvalCallback" in told[0]


@pytest.mark.parametrize("how", ["load", "set_env"])
def test_a_model_in_an_environment_it_has_not_deployed_to_says_so_when_it_is_played(how, tmp_path):
    model = PePG("MlpPolicy", make_vec_env(PRICING, 4, seed=0), n_steps=16, seed=0, device="cpu").learn(64)
    model.save(tmp_path / "model")
    if how == "load":
        model = PePG.load(tmp_path / "model", env=make_vec_env(PRICING, 4, seed=0), device="cpu")
    else:
        model.set_env(make_vec_env(PRICING, 4, seed=0))
    with pytest.warns(UserWarning, match=r"has not deployed yet.*agents\.deploy"):
        evaluate_policy(model, model.get_env(), 4)
    deploy(model)
    evaluate_policy(model, model.get_env(), 4)  # no word more
    model.learn(64)
    model.save(tmp_path / "again")  # what belongs to the environment is left out


def test_a_loaded_model_that_goes_on_training_deploys_first(tmp_path):
    PePG("MlpPolicy", make_vec_env(PRICING, 4, seed=0), n_steps=16, seed=0, device="cpu").learn(64).save(tmp_path / "m")
    model = PePG.load(tmp_path / "m", env=make_vec_env(PRICING, 4, seed=0), device="cpu")
    model.learn(64)
    assert model.get_env().get_attr("round")[0] == 1


def test_a_model_can_be_deployed_to_an_environment_as_it_is():
    model = trained()
    env = gym.make("PerformativePricing-v0", deployment="declared")
    deploy(model, env)
    np.testing.assert_allclose(env.unwrapped.rounds.policy.probs, policy_table(model, np.arange(81), 8), rtol=1e-6)
    deploy(model, env, deterministic=True)
    assert set(np.unique(env.unwrapped.rounds.policy.probs)) == {0.0, 1.0}
    with pytest.raises(ValueError, match="performative worlds"):
        deploy(model, gym.make_vec("PerformativePricing-v0", num_envs=2))
