import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from agents import SB3VecEnv, make_vec_env
from perf_envs import WORLDS


def native(env_id="PerformativeGridWorld-v0", num_envs=4, **kwargs):
    return gym.make_vec(env_id, num_envs, "vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)


@pytest.mark.parametrize("env_id", WORLDS)
def test_the_adapter_hands_on_what_the_native_environment_says(env_id):
    env, venv = native(env_id, 6), SB3VecEnv(native(env_id, 6))
    venv.seed(5)
    observations, _ = env.reset(seed=5)
    np.testing.assert_array_equal(observations, venv.reset())
    rng = np.random.default_rng(0)
    finished = 0
    for _ in range(250):
        actions = rng.integers(env.single_action_space.n, size=6)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        adapted, adapted_rewards, dones, adapted_infos = venv.step(actions)
        np.testing.assert_array_equal(observations, adapted)
        np.testing.assert_allclose(rewards, adapted_rewards, rtol=1e-6)
        np.testing.assert_array_equal(terminated | truncated, dones)
        for index in np.flatnonzero(dones):
            assert adapted_infos[index]["terminal_observation"] == infos["final_obs"][index]
            assert adapted_infos[index]["TimeLimit.truncated"] == (truncated[index] and not terminated[index])
        finished += int(dones.sum())
    assert finished > 0


def test_infos_asked_for_are_handed_on_at_every_step():
    venv = SB3VecEnv(native("PerformativePricing-v0", 3), info_keys=("price", "round"))
    venv.reset()
    _, _, _, infos = venv.step(np.array([0, 3, 7]))
    assert [info["price"] for info in infos] == [0.5, 2.0, 4.0]
    assert [info["round"] for info in infos] == [0, 0, 0]


def test_a_deployment_is_answered_once_for_all_sub_environments():
    venv = make_vec_env("PerformativePricing-v0", n_envs=8, seed=0)
    table = np.full((81, 8), 1 / 8)
    shifts = venv.env_method("deploy", table)
    assert len(shifts) == 8
    assert venv.get_attr("round") == [1] * 8


def test_the_same_seed_gives_the_same_steps_and_another_seed_others():
    def rewards(seed):
        venv = make_vec_env("PerformativePricing-v0", n_envs=5, seed=seed)
        venv.reset()
        return np.array([venv.step(np.full(5, 3))[1] for _ in range(30)])

    np.testing.assert_array_equal(rewards(1), rewards(1))
    assert not np.array_equal(rewards(1), rewards(2))


def test_episodes_are_monitored():
    venv = make_vec_env("PerformativePricing-v0", n_envs=2, seed=0)
    assert isinstance(venv, VecMonitor)
    venv.reset()
    episodes = [
        info["episode"] for _ in range(40) for info in venv.step(np.zeros(2, dtype=int))[3] if "episode" in info
    ]
    assert episodes
    assert all(0 < episode["l"] <= 10 for episode in episodes)


def test_an_ordinary_environment_comes_as_stable_baselines_makes_it():
    assert isinstance(make_vec_env("CartPole-v1", n_envs=2, seed=0), DummyVecEnv)


def test_environments_of_other_libraries_are_adapted_too():
    sync = SyncVectorEnv([lambda: gym.make("FrozenLake-v1")] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    venv = SB3VecEnv(sync)
    venv.reset()
    for _ in range(50):
        _, _, dones, infos = venv.step(np.full(3, 1))
        for done, info in zip(dones, infos, strict=True):
            assert ("terminal_observation" in info) == done
    assert venv.get_attr("render_mode") == [None] * 3


def test_a_step_limit_can_be_set():
    venv = make_vec_env("SoftmaxPeMDP-v0", n_envs=2, seed=0, max_episode_steps=7)
    venv.reset()
    lengths = [
        info["episode"]["l"] for _ in range(21) for info in venv.step(np.zeros(2, dtype=int))[3] if "episode" in info
    ]
    assert lengths == [7] * 6


def test_another_autoreset_mode_is_rejected():
    env = gym.make_vec("SoftmaxPeMDP-v0", 2, "vector_entry_point", autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="SAME_STEP"):
        SB3VecEnv(env)


def test_a_misspelt_world_is_named_with_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'PerformativePricing-v0'"):
        make_vec_env("PerformativePrising-v0")


def test_no_environments_are_rejected():
    with pytest.raises(ValueError, match="n_envs"):
        make_vec_env("PerformativePricing-v0", n_envs=0)


def test_some_sub_environments_of_one_world_cannot_be_called_alone():
    venv = make_vec_env("PerformativePricing-v0", n_envs=4)
    with pytest.raises(ValueError, match="indices"):
        venv.set_attr("render_mode", None, indices=[0])


def test_arguments_the_world_does_not_take_are_named():
    with pytest.raises(ValueError, match="horizn"):
        make_vec_env("PerformativePricing-v0", env_kwargs={"horizn": 3})
