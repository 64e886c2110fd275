"""LinearPricing-v0 as an environment: the contracts of Gymnasium, deployments, and play against the closed forms."""

import ast
import inspect
import pickle
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from perf_envs import PerformativeVectorEnv, WorldEnv
from perf_envs.worlds.linear_pricing.env import LinearPricing, LinearPricingVectorEnv
from tests.perf_envs.linear_world import ID, TWO, life, make
from tests.worlds import CONTINUOUS_WORLDS, TABULAR_WORLDS


def test_it_is_registered_beside_the_tabular_worlds():
    assert list(CONTINUOUS_WORLDS) == [ID]
    assert not set(CONTINUOUS_WORLDS) & set(TABULAR_WORLDS)
    assert gym.spec(ID).max_episode_steps is CONTINUOUS_WORLDS[ID] is None
    assert isinstance(make(), WorldEnv)


@pytest.mark.parametrize("settings", [{}, TWO])
@pytest.mark.parametrize("deployment", ["observed", "declared"])
@pytest.mark.filterwarnings("error")
def test_gymnasium_and_stable_baselines_check_it_without_a_warning(settings, deployment):
    check_env(make(deployment=deployment, round_length=3, **settings))
    check_env_sb3(make(deployment=deployment, round_length=3, **settings), warn=True)


@pytest.mark.filterwarnings("error")
def test_the_passive_checker_is_content_over_seasons_and_rounds():
    env = gym.make(ID, round_length=30)
    assert len(life(env, 130)) > 130
    assert env.unwrapped.round == 4


def test_the_same_seed_gives_the_same_life_and_restarts_the_world():
    env = make(round_length=25, **TWO)
    first = life(env, seed=3)
    assert env.round == 2
    assert life(env, seed=3) == first
    assert life(env, seed=4) != first
    env.reset(seed=3)
    assert env.round == 0
    np.testing.assert_array_equal(env.dynamics.demand, env.problem.base_demand)
    np.testing.assert_array_equal(env.rounds.mean_price, [3.0, 3.0])


def test_reset_without_a_seed_keeps_the_world():
    env = make(deployment="declared")
    env.reset(seed=0)
    env.deploy(1.0)
    env.reset()
    assert env.round == 1
    assert float(env.dynamics.demand[0]) == pytest.approx(3.0, abs=1e-14)


def test_a_pickled_environment_goes_on_where_it_was():
    env = gym.make(ID, round_length=15)
    life(env, 22)
    env.unwrapped.deploy(2.5)
    copy = pickle.loads(pickle.dumps(env))
    ends = [[e.step([0.3])[1] for _ in range(12)] + [e.unwrapped.rounds.estimate().tolist()] for e in (env, copy)]
    assert ends[0] == ends[1]


def test_the_spec_survives_json():
    env = gym.make(ID, **TWO, gamma=0.7, horizon=4, price_high=9.0, deployment="declared")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    np.testing.assert_array_equal(again.unwrapped.problem.optimal_price, env.unwrapped.problem.optimal_price)
    assert again.unwrapped.problem.optimal_value == env.unwrapped.problem.optimal_value


def test_the_docstring_keeps_its_promises():
    text = inspect.getdoc(LinearPricing)
    parameters = inspect.signature(LinearPricing).parameters
    documented = dict(re.findall(r"``(\w+)=([^`]+)``", text.split("## Arguments")[1].split("## References")[0]))
    assert {name: ast.literal_eval(default) for name, default in documented.items()} == {
        name: parameters[name].default for name in documented
    }
    assert set(parameters) <= set(re.findall(r"``(\w+)[`=]", text))
    sections = "Action Space,Observation Space,Starting State,Rewards,Episode End,Information,Arguments,References"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [*sections.split(","), "Version History"]


def test_info_has_the_documented_keys_and_tells_a_shift_once():
    env = make(round_length=15)
    _, info = env.reset(seed=0)
    assert info == {"round": 0}
    found = []
    for _ in range(40):
        *_, terminated, _, info = env.step([0.5])
        assert info.keys() - {"shift", "reward_shift"} == {"round", "price", "demand"}
        found.append("reward_shift" in info)
        if found[-1]:
            assert info["shift"] == 0.0
        if terminated:
            env.reset()
    assert np.flatnonzero(found).tolist() == [15, 30]


def test_a_step_pays_price_times_demand_and_moves_the_season_on():
    env = make(**TWO, horizon=4)
    env.reset(seed=0)
    ends = []
    for period in range(4):
        observation, reward, terminated, truncated, info = env.step([-0.5, 3.0])
        np.testing.assert_allclose(info["price"], [1.5, 6.0], atol=1e-12)
        assert reward == pytest.approx(info["price"] @ info["demand"], rel=1e-14)
        assert info["demand"][1] == 3.0
        assert observation == np.float32((period + 1) / 4)
        assert env.observation_space.contains(observation)
        ends.append((terminated, truncated))
    assert ends == [(False, False)] * 3 + [(True, False)]
    with pytest.raises(ResetNeeded):
        env.step([0.0, 0.0])


def test_negative_demand_is_paid_back():
    env = make(demand_std=0.0, deployment="declared")
    env.reset(seed=0)
    env.deploy(5.0)
    *_, info = env.step([1.0])
    assert info["demand"].tolist() == pytest.approx([-1.0], abs=1e-14)
    assert env.step([1.0])[1] == pytest.approx(-6.0, abs=1e-13)


def test_the_observations_asked_about_are_those_of_the_season():
    env = make(horizon=7)
    seen = [env.reset(seed=0)[0]]
    while len(seen) < 7:
        seen.append(env.step([0.0])[0])
    np.testing.assert_array_equal(env.query_observations, seen)
    assert env.query_observations.dtype == np.float32


@pytest.mark.parametrize("action", [[0.0], 0.0, [0.0, np.nan], "high", [[0.0, 0.0]]])
def test_a_bad_action_is_refused_and_nothing_changes(action):
    env = make(**TWO)
    vector = LinearPricingVectorEnv(num_envs=1, **TWO)
    env.reset(seed=0)
    vector.reset(seed=0)
    with pytest.raises(ValueError, match="action must"):
        env.step(action)
    with pytest.raises(ValueError, match="actions must"):
        vector.step([action, action])
    assert (env.state, vector.state.tolist()) == (0, [0])
    assert env.np_random.random() == vector.np_random.random()


@pytest.mark.parametrize("settings", [{}, TWO])
@pytest.mark.parametrize("limit", [None, 7])
def test_a_single_sub_environment_walks_the_path_of_the_scalar_one(settings, limit):
    common = {"round_length": 45, "adaptation_rate": 0.5, **settings}
    scalar = gym.make(ID, max_episode_steps=limit, **common)
    vector = gym.make_vec(ID, num_envs=1, max_episode_steps=limit, autoreset_mode="SameStep", **common)
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(vector.reset(seed=3)[0][0], scalar.reset(seed=3)[0])
    ended = 0
    for _ in range(200):
        action = rng.normal(0, 1, scalar.action_space.shape)
        observation, *rest, info = scalar.step(action)
        observations, *others, infos = vector.step(action[None])
        assert [other[0] for other in others] == rest
        for key, value in info.items():
            np.testing.assert_array_equal(infos[key][0], value)
        if rest[1] or rest[2]:
            ended += 1
            np.testing.assert_array_equal(infos["final_obs"][0], observation)
            observation, _ = scalar.reset()
        np.testing.assert_array_equal(observations[0], observation)
    assert scalar.unwrapped.round == vector.round == 4
    assert ended == 200 // (limit or 20)
    np.testing.assert_array_equal(scalar.unwrapped.rounds.mean_price, vector.rounds.mean_price)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_finished_sub_environments_are_treated_as_gymnasium_does(mode):
    settings = {"deployment": "declared", "n_products": 2, "demand_std": 0.0, "horizon": 4}
    ours = gym.make_vec(ID, num_envs=3, max_episode_steps=3, autoreset_mode=mode, **settings)
    theirs = SyncVectorEnv([lambda: gym.make(ID, max_episode_steps=3, **settings)] * 3, autoreset_mode=mode)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset(seed=0)[0], theirs.reset(seed=0)[0])
    if mode is AutoresetMode.DISABLED:  # so that not all finish together
        options = [{"reset_mask": np.array([True, False, False])} for _ in range(2)]
        ours.step(np.zeros((3, 2)))
        theirs.step(np.zeros((3, 2)))
        ours.reset(options=options[0])
        theirs.reset(options=options[1])
    ends = 0
    for _ in range(15):
        actions = rng.uniform(-1, 1, (3, 2))
        (*mine, infos), (*expected, their_infos) = ours.step(actions), theirs.step(actions)
        for array, other in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(array, other)
            assert array.dtype == other.dtype
        finished = mine[2] | mine[3]
        ends += int(finished.sum())
        for key in ("price", "demand"):
            source = infos["final_info"] if mode is AutoresetMode.SAME_STEP and finished.any() else infos
            other = their_infos["final_info"] if mode is AutoresetMode.SAME_STEP and finished.any() else their_infos
            if key in other:
                mask = other[f"_{key}"]
                np.testing.assert_array_equal(source[f"_{key}"], mask)
                np.testing.assert_array_equal(source[key][mask], other[key][mask])
        if mode is AutoresetMode.SAME_STEP and finished.any():
            np.testing.assert_array_equal(infos["final_obs"], np.stack(their_infos["final_obs"]))
        if mode is AutoresetMode.DISABLED and finished.any():
            reset = [env.reset(options={"reset_mask": finished.copy()})[0] for env in (ours, theirs)]
            np.testing.assert_array_equal(*reset)
    assert ends >= 9


def test_all_sub_environments_live_in_one_market():
    env = gym.make_vec(ID, num_envs=3, deployment="declared")
    env.reset(seed=0)
    shift = env.deploy(2.0)
    assert env.round == env.single.round == 1
    *_, infos = env.step(np.zeros((3, 1), dtype=np.float32))
    assert infos["reward_shift"].tolist() == [shift.reward] * 3


def test_a_vector_walk_repeats_and_make_vec_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make_vec(ID, num_envs=4, round_length=10)
        assert isinstance(env, PerformativeVectorEnv)
        lives = []
        for _ in range(2):
            env.action_space.seed(1)
            seen = [env.reset(seed=5)[0].tolist()]
            for _ in range(50):
                observations, rewards, *_ = env.step(env.action_space.sample())
                assert env.observation_space.contains(observations)
                seen.append([observations.tolist(), rewards.tolist(), env.round])
            lives.append(seen)
        env.close()
    assert lives[0] == lives[1]
    assert lives[0][-1][-1] >= 4
