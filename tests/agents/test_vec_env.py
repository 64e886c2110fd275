import copy
import csv
import os
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize

from agents import SB3VecEnv, make_vec_env
from agents.common.vec_env import EpisodeMonitor
from perf_envs import PerformativeEnv, PerformativeVectorEnv
from tests.worlds import TABULAR_WORLDS


def native(env_id="PerformativeGridWorld-v0", num_envs=4, **kwargs):
    return gym.make_vec(env_id, num_envs, "vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
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


@pytest.mark.parametrize(
    "make",
    [
        lambda keys: make_vec_env("PerformativePricing-v0", 3, info_keys=keys),
        lambda keys: SB3VecEnv(native("PerformativePricing-v0", 3), keys),
    ],
)
def test_infos_asked_for_tell_of_the_last_step_where_an_episode_ends(make):
    """The info of a finished episode is that of its last step, as it is without autoreset, not of the next start."""
    venv = make(("sale", "round"))
    venv.seed(0)
    venv.reset()
    assert [info["round"] for info in getattr(venv, "venv", venv).reset_infos] == [0, 0, 0]
    ends = 0
    for _ in range(30):
        _, rewards, dones, infos = venv.step(np.zeros(3, dtype=int))
        for reward, done, info in zip(rewards, dones, infos, strict=True):
            assert info["sale"] == (reward > 0)
            assert ("terminal_observation" in info) == done
            ends += done
    assert ends > 3


def test_an_info_key_the_world_does_not_have_is_named_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"info_keys must be one of .*got 'prise' .did you mean 'price'"):
        make_vec_env("PerformativePricing-v0", info_keys=["prise"])
    with pytest.raises(ValueError, match="info_keys must be a sequence of keys, got the string 'price'"):
        SB3VecEnv(native("PerformativePricing-v0"), info_keys="price")


def test_infos_with_nothing_to_tell_cannot_be_written_into_but_replaced():
    venv = make_vec_env("PerformativeGridWorld-v0", n_envs=2, seed=0)
    venv.reset()
    infos = venv.step(np.zeros(2, dtype=int))[3]
    for write in (
        lambda info: info.update(a=1),
        lambda info: info.setdefault("a", 1),
        lambda info: info.__setitem__("a", 1),
    ):
        with pytest.raises(TypeError, match="shared by all sub-environments"):
            write(infos[0])
    infos[0] = {**infos[0], "a": 1}
    for same in (copy.deepcopy(infos), pickle.loads(pickle.dumps(infos))):
        assert same == [{"a": 1}, {}]
    assert venv.step(np.zeros(2, dtype=int))[3] == [{}, {}]
    assert infos[1].copy() | {"b": 2} == {"b": 2}


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


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
def test_episodes_are_monitored_as_by_stable_baselines(env_id):
    ours, theirs = (monitor(SB3VecEnv(native(env_id, 5), ("round",))) for monitor in (EpisodeMonitor, VecMonitor))
    rng = np.random.default_rng(0)
    episodes = 0
    for venv in (ours, theirs):
        venv.seed(3)
        venv.reset()
    for _ in range(230):
        actions = rng.integers(ours.action_space.n, size=5)
        (*mine, infos), (*expected, other) = ours.step(actions), theirs.step(actions)
        for array, same in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(array, same)
        for info in (*infos, *other):
            if "episode" in info:
                info["episode"].pop("t")
                episodes += 1
        assert infos == other
    assert episodes > 10
    assert ours.episode_count == theirs.episode_count == episodes / 2


def test_monitored_episodes_are_written_to_a_file(tmp_path):
    path = str(tmp_path / "run.monitor.csv")
    venv = EpisodeMonitor(SB3VecEnv(native("PerformativePricing-v0", 3), ("price",)), path, info_keywords=("price",))
    venv.reset()
    for _ in range(25):
        venv.step(np.full(3, 2))
    venv.close()
    with open(path) as file:
        assert file.readline().startswith("#")
        rows = list(csv.DictReader(file))
    assert len(rows) == venv.episode_count >= 6
    assert {row["price"] for row in rows} == {"1.5"}
    assert all(0 < int(row["l"]) <= 10 for row in rows)


def test_made_environments_are_monitored_and_evaluated_without_a_warning():
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0)
    assert isinstance(venv, VecMonitor)
    model = PPO("MlpPolicy", venv, n_steps=32, seed=0, device="cpu").learn(256)
    assert len(model.ep_info_buffer) > 10
    rewards, lengths = evaluate_policy(model, venv, n_eval_episodes=8, return_episode_rewards=True)
    assert len(rewards) == 8
    assert all(length <= 10 for length in lengths)


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


class SameStepCartPole(CartPoleVectorEnv):
    """Gymnasium's native CartPole, which only knows the next-step mode, made to reset at once."""

    metadata = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def step(self, action):
        observations, rewards, terminated, truncated, infos = super().step(action)
        over = self.prev_done
        if over.any():
            infos = {"final_obs": observations.copy(), "_final_obs": over.copy()}
            self.state[:, over] = self.np_random.uniform(self.low, self.high, size=(4, over.sum()))
            self.steps[over] = 0
            self.prev_done = np.zeros_like(over)
            observations = self.state.T.astype(np.float32)
        return observations, rewards, terminated, truncated, infos


class Thermostat(gym.Env):
    """Observations of two kinds in a dictionary; ends after ``limit`` steps, and can be told to fail."""

    def __init__(self, limit=4, fail=None):
        box = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = gym.spaces.Dict(room=box, clock=gym.spaces.Discrete(100))
        self.action_space = gym.spaces.Discrete(2)
        self.limit, self.fail, self.time = limit, fail, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = (options or {}).get("time", 0)
        return self._observation(), {"step": 0}

    def step(self, action):
        self.time += 1
        reward = self.fail(self.time) if self.fail else 1.0
        return self._observation(), reward, self.time >= self.limit, False, {"step": self.time}

    def _observation(self):
        return {"room": np.full(2, self.time / 100, dtype=np.float32), "clock": self.time}


def sync(*makers, **kwargs):
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)


@pytest.mark.parametrize(
    "make",
    [lambda: SameStepCartPole(4), lambda: sync(*[lambda: gym.make("CartPole-v1")] * 4)],
    ids=["native", "sync"],
)
def test_ppo_learns_cartpole_through_the_adapter(make):
    venv = EpisodeMonitor(SB3VecEnv(make()))
    model = PPO("MlpPolicy", venv, n_steps=128, n_epochs=8, learning_rate=1e-3, seed=0, device="cpu").learn(6144)
    assert np.mean([episode["r"] for episode in list(model.ep_info_buffer)[-20:]]) > 60  # random play: 22


@pytest.mark.parametrize(
    "make", [lambda env_id: gym.make_vec(env_id, 3, "sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})]
)
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_the_adapter_steps_as_dummy_vec_env_does(make, env_id):
    """Same seeds, same actions: what SB3's own vector environment says, the adapter says."""
    venvs = SB3VecEnv(make(env_id)), DummyVecEnv([lambda: gym.make(env_id)] * 3)
    for venv in venvs:
        venv.action_space.seed(0)
        venv.seed(7)
    np.testing.assert_array_equal(*(venv.reset() for venv in venvs))
    ends = 0
    for _ in range(420):
        actions = np.stack([venvs[0].action_space.sample() for _ in range(3)])
        (*mine, infos), (*expected, other) = (venv.step(actions) for venv in venvs)
        for array, same in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(array, same)
            assert array.dtype == same.dtype
        for index in np.flatnonzero(mine[2]):
            ends += 1
            np.testing.assert_array_equal(*(told[index]["terminal_observation"] for told in (infos, other)))
            assert infos[index]["TimeLimit.truncated"] == other[index]["TimeLimit.truncated"]
    assert ends > 5


def test_dictionary_observations_are_handed_on_with_those_of_the_last_step():
    venv = SB3VecEnv(sync(lambda: Thermostat(3), lambda: Thermostat(5)), info_keys=("step",))
    observations = venv.reset()
    for time in range(1, 6):
        observations, rewards, dones, infos = venv.step(np.zeros(2, dtype=int))
        assert rewards.tolist() == [1.0, 1.0]
        assert dones.tolist() == [time == 3, time == 5]
        assert observations["clock"].tolist() == [time % 3, time % 5]
        if dones[0]:
            np.testing.assert_array_equal(infos[0]["terminal_observation"]["room"], np.full(2, 0.03, np.float32))
            assert infos[0]["terminal_observation"]["clock"] == 3
            assert not infos[0]["TimeLimit.truncated"]
            assert [info["step"] for info in infos] == [3, 3]
    venv.set_options({"time": 2})
    assert venv.reset()["clock"].tolist() == [2, 2]
    assert venv.reset()["clock"].tolist() == [0, 0]
    venv.set_options([{"time": 1}, {"time": 2}])
    with pytest.raises(ValueError, match="options must be the same for all sub-environments"):
        venv.reset()


def test_an_agent_learns_from_dictionary_observations_through_the_adapter():
    venv = EpisodeMonitor(SB3VecEnv(sync(Thermostat, Thermostat)))
    model = PPO("MultiInputPolicy", venv, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(64)
    assert [episode["l"] for episode in model.ep_info_buffer] == [4] * 16


def test_nested_dictionaries_of_vector_infos_are_taken_apart():
    venv = SB3VecEnv(RecordEpisodeStatistics(sync(Thermostat, Thermostat)), info_keys=("episode",))
    venv.reset()
    infos = [venv.step(np.zeros(2, dtype=int))[3] for _ in range(4)]
    assert [info.keys() & {"episode"} for info in infos[2]] == [set(), set()]
    assert [(info["episode"]["r"], info["episode"]["l"]) for info in infos[3]] == [(4.0, 4), (4.0, 4)]


def test_wrappers_of_stable_baselines_work_on_top():
    venv = VecNormalize(VecFrameStack(EpisodeMonitor(SB3VecEnv(SameStepCartPole(3))), 2))
    assert venv.reset().shape == (3, 8)
    ends = 0
    for _ in range(60):
        _, _, dones, infos = venv.step(np.ones(3, dtype=int))
        for info in np.array(infos)[dones]:
            assert info["terminal_observation"].shape == (8,)
            assert info["episode"]["l"] > 5
            ends += 1
    assert ends > 5


def test_an_off_policy_agent_learns_on_the_native_environment():
    venv = make_vec_env("PerformativePricing-v0", n_envs=4, seed=0)
    model = DQN("MlpPolicy", venv, learning_starts=40, buffer_size=400, seed=0, device="cpu").learn(200)
    assert len(model.ep_info_buffer) > 5


def test_pictures_are_taken_where_the_vector_environment_draws_them():
    def make():
        return gym.make("PerformativePricing-v0", render_mode="rgb_array")

    frames = SB3VecEnv(sync(make, make))
    frames.reset()
    pictures = frames.get_images()
    assert len(pictures) == 2
    assert all(picture.ndim == 3 for picture in pictures)


def fails_at(step, how):
    return lambda time: how() if time == step else 1.0


def test_a_sub_environment_that_fails_is_reported_with_where_it_happened():
    def how():
        raise ZeroDivisionError("no such temperature")

    venv = SB3VecEnv(sync(Thermostat, lambda: Thermostat(fail=fails_at(3, how))))
    venv.reset()
    for _ in range(2):
        venv.step(np.zeros(2, dtype=int))
    with pytest.raises(ZeroDivisionError, match="no such temperature") as error:
        venv.step(np.zeros(2, dtype=int))
    assert "SyncVectorEnv" in error.value.__notes__[0]
    assert "2 sub-environments, after 2 steps" in error.value.__notes__[0]


def test_a_sub_environment_whose_process_dies_is_reported():
    makers = [Thermostat, lambda: Thermostat(fail=fails_at(2, lambda: os._exit(1)))]
    env = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    venv = SB3VecEnv(env)
    try:
        venv.reset()
        venv.step(np.zeros(2, dtype=int))
        with pytest.raises(RuntimeError, match=r"process has died in AsyncVectorEnv.* after 1 steps"):
            venv.step(np.zeros(2, dtype=int))
    finally:
        with warnings.catch_warnings(action="ignore"):  # Gymnasium remarks that a step was never completed
            env.close(terminate=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_reward_that_is_not_finite_is_refused(value):
    venv = SB3VecEnv(sync(Thermostat, lambda: Thermostat(fail=fails_at(2, lambda: value))))
    venv.reset()
    venv.step(np.zeros(2, dtype=int))
    with pytest.raises(
        ValueError, match=rf"rewards must be finite, got \[{value}\] from sub-environments \[1\] at step 2"
    ):
        venv.step(np.zeros(2, dtype=int))


def test_a_large_reward_is_a_reward():
    venv = SB3VecEnv(sync(lambda: Thermostat(fail=lambda time: 1e30)))
    venv.reset()
    assert venv.step(np.zeros(1, dtype=int))[1].tolist() == [np.float32(1e30)]


def test_nan_rewards_stop_training_and_leave_the_saved_model_intact(tmp_path):
    venv = SB3VecEnv(sync(lambda: Thermostat(fail=fails_at(3, lambda: np.nan))))
    model = PPO("MultiInputPolicy", venv, n_steps=2, batch_size=2, seed=0, device="cpu")
    model.save(tmp_path / "model")
    before = (tmp_path / "model.zip").read_bytes()
    with pytest.raises(ValueError, match="rewards must be finite"):
        model.learn(20)
    assert (tmp_path / "model.zip").read_bytes() == before
    PPO.load(tmp_path / "model", device="cpu")


def test_reused_observations_are_refused():
    with pytest.raises(ValueError, match="copy=True"):
        SB3VecEnv(sync(Thermostat, copy=False))


@pytest.mark.parametrize("actions", [np.zeros(3, dtype=int), np.zeros(2), np.array([0, 99])])
def test_bad_actions_are_refused(actions):
    venv = make_vec_env("PerformativePricing-v0", n_envs=2, seed=0)
    venv.reset()
    with pytest.raises(ValueError, match="actions must"):
        venv.step(actions)


def registered(monkeypatch, vector_class, **spec):
    """Register an environment of somebody else, with a native form, for one test."""
    name = "SomebodyElses-v0"
    entry_point = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
    monkeypatch.setitem(gym.registry, name, gym.envs.registration.EnvSpec(name, entry_point, **spec))
    gym.registry[name].vector_entry_point = vector_class
    return name


def test_the_native_form_of_somebody_elses_environment_is_used_if_it_resets_in_the_same_step(monkeypatch):
    class Native(PerformativeVectorEnv):
        def __init__(self, num_envs, autoreset_mode, max_episode_steps=None):
            problem = gym.make("SoftmaxPeMDP-v0").unwrapped.problem
            super().__init__(num_envs, max_episode_steps, autoreset_mode=autoreset_mode, problem=problem)

        world_class = PerformativeEnv

    venv = make_vec_env(registered(monkeypatch, Native, max_episode_steps=7), 3, seed=0)
    assert isinstance(venv.unwrapped.env, Native)
    venv.reset()
    ends = [venv.step(np.zeros(3, dtype=np.int64))[2].all() for _ in range(14)]
    assert np.flatnonzero(ends).tolist() == [6, 13]


def test_a_native_form_that_resets_otherwise_or_fails_is_passed_over(monkeypatch):
    class Refusing:
        def __init__(self, num_envs, autoreset_mode, max_episode_steps=None):
            raise ValueError(f"autoreset_mode {autoreset_mode} is not supported")

    for name in ("CartPole-v1", registered(monkeypatch, Refusing)):
        venv = make_vec_env(name, 2, seed=0)
        assert isinstance(venv, DummyVecEnv)
        assert venv.reset().shape == (2, 4)
