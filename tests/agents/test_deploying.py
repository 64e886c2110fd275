import itertools

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C, DDPG, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import SubprocVecEnv

from agents import DeployCallback, PePG, deploy, make_vec_env
from agents.retraining import RepeatedRetraining
from perf_envs import policy_table


class Recorder(BaseCallback):
    """Remembers round and believed policy at the end of every rollout."""

    def __init__(self):
        super().__init__()
        self.rounds, self.agree = [], []

    def _on_rollout_end(self):
        world = self.training_env.get_attr("rounds")[0]
        self.rounds.append(world.round)
        current = policy_table(self.model, np.arange(world.problem.n_states), world.problem.n_actions)
        self.agree.append(np.allclose(world.policy, current))

    def _on_step(self):
        return True


@pytest.mark.parametrize(("algorithm", "arguments"), [(PPO, {"n_steps": 16, "batch_size": 32}), (A2C, {"n_steps": 16})])
def test_the_callback_deploys_the_current_policy_once_per_rollout(algorithm, arguments):
    model = algorithm("MlpPolicy", make_vec_env("PerformativePricing-v0", n_envs=4, seed=0), seed=0, **arguments)
    recorder = Recorder()
    model.learn(16 * 4 * 5, callback=[DeployCallback(), recorder])
    assert recorder.rounds == [1, 2, 3, 4, 5]
    assert all(recorder.agree)


def test_nothing_but_the_callback_moves_the_world():
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0, env_kwargs={"round_length": 10})
    model = A2C("MlpPolicy", venv, n_steps=50, seed=0)
    model.learn(50 * 4 * 3, callback=DeployCallback())
    assert venv.get_attr("round")[0] == 3


def test_without_the_callback_the_world_watches_by_itself():
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0, env_kwargs={"round_length": 25})
    A2C("MlpPolicy", venv, n_steps=50, seed=0).learn(600)
    assert venv.get_attr("round")[0] == 6


def test_an_off_policy_algorithm_can_deploy_at_every_nth_rollout():
    venv = make_vec_env("PerformativePricing-v0", n_envs=1, seed=0)
    model = DQN("MlpPolicy", venv, seed=0, learning_starts=10, train_freq=4, buffer_size=160)
    model.learn(400, callback=DeployCallback(every=20))
    assert venv.get_attr("round")[0] == 5


def rounds_and_moves(algorithm, steps, every_steps, policy="MlpPolicy", **arguments):
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0, env_kwargs=arguments.pop("env_kwargs", {}))
    deployed, asked = [], venv.env.single.rounds.deploy

    def remember(table, *known):
        deployed.append((model.num_timesteps, np.array(table)))
        return asked(table, *known)

    venv.env.single.rounds.deploy = remember
    model = algorithm(policy, venv, seed=0, device="cpu", **arguments)
    model.learn(steps, callback=DeployCallback(every_steps=every_steps))
    return [step for step, _ in deployed], [table for _, table in deployed]


@pytest.mark.parametrize("n_steps", [2, 4, 8, 16])
@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_rounds_can_be_as_long_for_every_algorithm(algorithm, n_steps):
    arguments = {"batch_size": 8} if algorithm is PPO else {}
    steps, tables = rounds_and_moves(algorithm, 4 * 16 * 3, 4 * 8, n_steps=n_steps, **arguments)
    assert steps == [32 * k for k in range(6)]
    same = [np.array_equal(one, other) for one, other in itertools.pairwise(tables)]
    # Rollouts of 16 hand each policy over twice; the others have another one at every deployment.
    assert same == ([True, False] * 3)[:5] if n_steps == 16 else not any(same)


def test_algorithms_that_deploy_by_themselves_hand_their_policy_over_again_inside_of_long_rollouts():
    steps, tables = rounds_and_moves(PePG, 4 * 16 * 2, 4 * 8, n_steps=16)
    assert steps == [0, 32, 64, 96]
    assert np.array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[1], tables[2])
    steps, tables = rounds_and_moves(RepeatedRetraining, 4 * 16 * 2, 4 * 8, "TabularPolicy", n_steps=16)
    assert steps == [0, 32, 64, 96]
    assert np.array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[1], tables[2])


def test_rounds_are_as_long_for_off_policy_algorithms_too():
    steps, _ = rounds_and_moves(DQN, 4 * 32 * 2, 4 * 8, learning_starts=4, train_freq=(32, "step"), buffer_size=64)
    assert steps == [32 * k for k in range(8)]


def test_redeploying_moves_a_gradual_world_on():
    world = gym.make("PerformativePricing-v0", adaptation_rate=0.5, deployment="declared").unwrapped
    policy = np.eye(8)[np.zeros(world.n_states, dtype=int)]
    first, second = world.deploy(policy), world.redeploy()
    assert world.round == 2
    assert second.transition == pytest.approx(first.transition / 2)


def test_algorithms_that_deploy_at_every_rollout_cannot_deploy_less_often():
    model = PePG("MlpPolicy", make_vec_env("PerformativePricing-v0", n_envs=4), n_steps=4, device="cpu")
    with pytest.warns(UserWarning, match="every_steps=32 has no effect"):
        model.learn(16, callback=DeployCallback(every_steps=32))


def test_rollouts_or_steps_not_both():
    with pytest.raises(ValueError, match="every and every_steps"):
        DeployCallback(every=2, every_steps=100)


def test_the_callback_works_on_copies_of_the_scalar_environment_too():
    model = A2C("MlpPolicy", "PerformativePricing-v0", n_steps=20, seed=0)
    model.learn(60, callback=DeployCallback())
    assert model.get_env().get_attr("round") == [3]


def test_deployments_are_logged():
    model = A2C("MlpPolicy", make_vec_env("PerformativePricing-v0", n_envs=4, seed=0), n_steps=16, seed=0)
    seen = {}

    class Keys(BaseCallback):
        def _on_rollout_end(self):
            seen.update(self.logger.name_to_value)

        def _on_step(self):
            return True

    model.learn(128, callback=[DeployCallback(), Keys()])
    assert seen["perf/round"] == 2
    assert seen["perf/shift"] >= 0.0
    assert seen["perf/reward_shift"] >= 0.0


def test_handing_a_policy_over_again_leaves_in_the_log_how_far_it_moved_the_world():
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0)
    model = PPO("MlpPolicy", venv, n_steps=32, batch_size=64, learning_rate=0.01, seed=0, device="cpu")
    seen = []

    class Shifts(BaseCallback):
        def _on_rollout_end(self):
            seen.append((self.logger.name_to_value["perf/round"], self.logger.name_to_value["perf/shift"]))

        def _on_step(self):
            return True

    model.learn(4 * 32 * 2, callback=[DeployCallback(every_steps=4 * 8), Shifts()])
    assert [rounds for rounds, _ in seen] == [4, 8]
    assert min(shift for _, shift in seen) > 1e-4


def test_an_ordinary_environment_cannot_be_deployed_to():
    model = A2C("MlpPolicy", gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="performative"):
        deploy(model)
    with pytest.raises(ValueError, match="performative"):
        model.learn(10, callback=DeployCallback())


def test_never_deploying_is_rejected():
    with pytest.raises(ValueError, match="every"):
        DeployCallback(every=0)


def test_continuous_policies_are_deployed_by_mean_and_deviation():
    venv = make_vec_env("LinearPricing-v0", n_envs=4, seed=0, env_kwargs={"n_products": 2})
    model = A2C("MlpPolicy", venv, n_steps=16, seed=0)
    model.learn(16 * 4 * 3, callback=DeployCallback())
    assert venv.get_attr("round")[0] == 3
    deploy(model)
    world, problem = venv.get_attr("rounds")[0], venv.get_attr("problem")[0]
    questions, _ = model.policy.obs_to_tensor(problem.query_observations)
    normal = model.policy.get_distribution(questions).distribution
    expected = problem.mean_price(normal.mean.detach().cpu(), normal.stddev.detach().cpu())
    np.testing.assert_allclose(world.mean_price, expected, rtol=1e-6)


def test_algorithms_without_a_deviation_deploy_their_actions():
    venv = make_vec_env("LinearPricing-v0", n_envs=1, seed=0)
    model = DDPG("MlpPolicy", venv, seed=0, learning_starts=10, buffer_size=40)
    model.learn(60, callback=DeployCallback(every=20))
    world, problem = venv.get_attr("rounds")[0], venv.get_attr("problem")[0]
    deploy(model)
    actions, _ = model.predict(problem.query_observations, deterministic=True)
    np.testing.assert_allclose(world.mean_price, problem.mean_price(actions, np.zeros_like(actions)), rtol=1e-6)


def test_environments_in_processes_of_their_own_can_be_deployed_to_or_told_apart():
    worlds = SubprocVecEnv([lambda: gym.make("PerformativePricing-v0")] * 2, start_method="fork")
    ordinary = SubprocVecEnv([lambda: gym.make("CartPole-v1")], start_method="fork")
    try:
        model = A2C("MlpPolicy", worlds, n_steps=10, seed=0).learn(60, callback=DeployCallback())
        assert worlds.get_attr("round") == [3, 3]
        deploy(model)
        assert worlds.get_attr("round") == [4, 4]
        with pytest.raises(ValueError, match="performative"):
            deploy(model, ordinary)
        ordinary.reset()  # it is still alive
    finally:
        worlds.close()
        ordinary.close()


def test_rounds_that_end_inside_of_short_rollouts_are_no_misfit():
    venv = make_vec_env("PerformativeGridWorld-v0", n_envs=64, seed=0)
    model = A2C("MlpPolicy", venv, n_steps=5, learning_rate=0.02, seed=0, device="cpu")
    model.learn(64 * 16 * 20, callback=DeployCallback(every_steps=64 * 16))  # warnings are errors
    assert venv.get_attr("round")[0] == 20
