"""Pictures of native vector environments, against those of scalar ones that lead the same lives."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import HumanRendering

from agents import make_vec_env
from perf_envs.wrappers import VectorStateObservation
from tests.perf_envs.worlds import CorridorVectorEnv
from tests.worlds import ALL_WORLDS

every_world = pytest.mark.parametrize("world_id", list(ALL_WORLDS))
every_mode = pytest.mark.parametrize("mode", ["rgb_array", "ansi"])


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def same(first, second):
    return first == second if isinstance(first, str) else np.array_equal(first, second)


@every_mode
@every_world
def test_a_single_sub_environment_is_drawn_as_the_scalar_environment(world_id, mode):
    scalar = gym.make(world_id, render_mode=mode, round_length=4)
    vector = gym.make_vec(world_id, num_envs=1, render_mode=mode, round_length=4, autoreset_mode="SameStep")
    scalar.reset(seed=3)
    vector.reset(seed=3)
    scalar.action_space.seed(0)
    for _ in range(25):  # long enough for a season's end and some rounds
        action = scalar.action_space.sample()
        *_, terminated, truncated, _ = scalar.step(action)
        vector.step(np.array([action]))
        if terminated or truncated:
            scalar.reset()
        (frame,) = vector.render()
        assert same(frame, scalar.render())
    assert vector.round == scalar.unwrapped.round > 0


def lives(world_id, mode, autoreset):
    """Return the frames of three sub-environments and, by hand, those of scalar environments put where they are."""
    settings = {"deployment": "declared", "max_episode_steps": 3}
    vector = gym.make_vec(world_id, num_envs=3, render_mode=mode, autoreset_mode=autoreset, **settings)
    alone = [gym.make(world_id, render_mode=mode, deployment="declared").unwrapped for _ in range(3)]
    vector.reset(seed=1)
    vector.action_space.seed(1)
    before, done = vector.state, np.zeros(3, dtype=bool)
    for env, state in zip(alone, before, strict=True):
        env.reset(seed=1)
        env.state = int(state)
    yield vector.render(), [env.render() for env in alone]
    for _ in range(7):
        actions = vector.action_space.sample()
        _, rewards, terminated, truncated, infos = vector.step(actions)
        fresh = done if autoreset is AutoresetMode.NEXT_STEP else terminated | truncated
        for index, env in enumerate(alone):
            env.state = int(vector.state[index])
            told = {
                key: value[index] for key, value in infos.items() if key in ("price", "sale", "demand", "intervention")
            }
            step = {"state": int(before[index]), "action": actions[index], "reward": float(rewards[index]), **told}
            env._last = {} if fresh[index] else step
        before, done = vector.state, terminated | truncated
        yield vector.render(), [env.render() for env in alone]


@pytest.mark.parametrize("autoreset", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@every_mode
@every_world
def test_every_sub_environment_is_drawn_where_it_is_and_with_its_own_last_step(world_id, mode, autoreset):
    differ = False
    for frames, expected in lives(world_id, mode, autoreset):
        assert all(same(*pair) for pair in zip(frames, expected, strict=True))
        differ |= not same(frames[0], frames[1])
    assert differ


@every_world
def test_drawing_does_not_change_the_walk(world_id):
    walks = []
    for mode in ("rgb_array", None):
        env = gym.make_vec(world_id, num_envs=2, render_mode=mode, round_length=5)
        env.action_space.seed(0)
        walk = [env.reset(seed=0)[0].tolist()]
        for _ in range(12):
            observations, rewards, *_ = env.step(env.action_space.sample())
            walk.append((observations.tolist(), rewards.tolist(), env.round))
            if mode:
                env.render()
        walks.append(walk)
    assert walks[0] == walks[1]


def test_a_partial_reset_begins_the_pictures_of_those_who_were_reset():
    env = gym.make_vec("SoftmaxPeMDP-v0", num_envs=2, render_mode="ansi", autoreset_mode="Disabled")
    env.reset(seed=0)
    env.step(np.array([0, 0]))
    env.reset(options={"reset_mask": np.array([True, False])})
    first, second = env.render()
    assert "start of an episode" in first
    assert "action 0 led from" in second


def test_wrappers_of_vector_environments_find_the_pictures():
    env = gym.make_vec("PerformativePricing-v0", num_envs=4, render_mode="rgb_array")
    features = VectorStateObservation(env, np.eye(env.problem.n_states))
    features.reset(seed=0)
    assert np.array_equal(features.render(), env.render())
    HumanRendering(env)  # refuses what it could not show; the window itself needs opencv


def test_stable_baselines_gets_a_picture_of_every_sub_environment():
    venv = make_vec_env("PerformativeGridWorld-v0", n_envs=3, seed=0, env_kwargs={"render_mode": "rgb_array"})
    venv.reset()
    venv.step([0, 1, 2])  # no info is asked for, and the picture shows who made the move all the same
    assert [image.shape[2] for image in venv.get_images()] == [3, 3, 3]
    assert venv.render("rgb_array").ndim == 3


def test_without_a_render_mode_there_is_nothing_to_see():
    env = gym.make_vec("SoftmaxPeMDP-v0", num_envs=2)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert env.render() is None


@pytest.mark.parametrize(("mode", "message"), [("human", "HumanRendering"), ("svg", "'rgb_array', 'ansi', got 'svg'")])
def test_modes_without_one_result_per_sub_environment_are_refused(mode, message):
    with pytest.raises(ValueError, match=message):
        gym.make_vec("SoftmaxPeMDP-v0", num_envs=2, render_mode=mode)


def test_the_metadata_offers_what_is_drawn():
    env = gym.make_vec("SoftmaxPeMDP-v0", num_envs=1)
    assert env.metadata["render_modes"] == ["rgb_array", "ansi"]
    assert env.metadata["render_fps"] > 0
    assert CorridorVectorEnv().metadata["render_modes"] == []
