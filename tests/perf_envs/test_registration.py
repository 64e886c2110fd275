"""What Gymnasium and Stable-Baselines3 expect of a registered environment, and what its docstring promises."""

import ast
import inspect
import pickle
import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import perf_envs
from tests.perf_envs.worlds import IDS, dense, make_world, random_policy
from tests.worlds import TABULAR_WORLDS

worlds = pytest.mark.parametrize("world_id", IDS)
modes = pytest.mark.parametrize("deployment", ["observed", "declared"])


def test_importing_the_package_registers_three_worlds():
    assert set(IDS) == {"PerformativeGridWorld-v0", "PerformativePricing-v0", "SoftmaxPeMDP-v0"}
    assert set(IDS) <= set(gym.registry)


@worlds
@modes
@pytest.mark.filterwarnings("error")
def test_gymnasium_checks_the_environment_without_a_warning(world_id, deployment):
    check_env(make_world(world_id, deployment=deployment, round_length=3))


@worlds
@modes
@pytest.mark.filterwarnings("error")
def test_stable_baselines_checks_the_environment_without_a_warning(world_id, deployment):
    check_env_sb3(make_world(world_id, deployment=deployment, round_length=3), warn=True)


@worlds
@modes
@pytest.mark.filterwarnings("error")
def test_the_passive_checker_is_content_over_episodes_and_rounds(world_id, deployment):
    env = gym.make(world_id, deployment=deployment, round_length=20)
    env.reset(seed=0)
    env.action_space.seed(0)
    ended = 0
    for _ in range(300):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            ended += 1
            env.reset()
    assert ended > 0


@worlds
def test_the_step_limit_can_be_chosen(world_id):
    env = gym.make(world_id, max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


@worlds
def test_the_default_step_limit_is_the_one_the_docstring_tells(world_id):
    limit = gym.spec(world_id).max_episode_steps
    told = re.findall(r"truncation after (\d+) steps", inspect.getdoc(type(make_world(world_id))))
    assert told == ([] if limit is None else [str(limit)])
    assert TABULAR_WORLDS[world_id] == limit


@worlds
def test_the_spec_survives_json(world_id):
    settings = {"gamma": 0.7, "deployment": "declared", "round_length": 12}
    if world_id == "PerformativeGridWorld-v0":
        settings |= {"grid": ["..F", ".HG"], "follower_grids": [[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]}
    env = gym.make(world_id, **settings)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert (again.unwrapped.gamma, again.unwrapped.rounds.round_length) == (0.7, 12)
    pi = random_policy(env.unwrapped, 0)
    for one, other in zip(*(dense(e.unwrapped.problem.response(pi)) for e in (env, again)), strict=True):
        np.testing.assert_array_equal(one, other)


@worlds
def test_a_pickled_environment_goes_on_where_it_was(world_id):
    env = gym.make(world_id, round_length=15)
    env.reset(seed=0)
    for _ in range(9):
        env.step(0)
    env.unwrapped.deploy(random_policy(env.unwrapped, 0))
    copy = pickle.loads(pickle.dumps(env))

    def go_on(environment):
        seen = []
        for _ in range(40):
            seen.append(environment.step(1))
            if seen[-1][2] or seen[-1][3]:
                seen.append(environment.reset())
        return seen

    assert go_on(copy) == go_on(env)
    assert copy.unwrapped.round == env.unwrapped.round >= 3


@worlds
def test_every_documented_argument_exists_with_its_documented_default(world_id):
    world_class = type(make_world(world_id))
    arguments = inspect.getdoc(world_class).split("## Arguments")[1].split("## References")[0]
    documented = dict(re.findall(r"``(\w+)=([^`]+)``", arguments))
    parameters = inspect.signature(world_class).parameters
    assert documented
    for name, default in documented.items():
        assert parameters[name].default == ast.literal_eval(default), name
    mentioned = set(re.findall(r"``(\w+)[`=]", arguments))
    assert set(parameters) <= mentioned


@worlds
def test_info_has_the_documented_keys_and_no_others(world_id):
    env = make_world(world_id, round_length=25)
    text = inspect.getdoc(type(env)).split("## Information")[1].split("## Arguments")[0]
    documented = set(re.findall(r"``(\w+)``", text))
    _, info = env.reset(seed=0)
    assert info.keys() == {"round"}
    usual, news = documented - {"shift", "reward_shift"}, documented
    found = []
    for _ in range(60):
        *_, terminated, _, info = env.step(env.action_space.sample())
        assert info.keys() in ({*usual}, {*news})
        found.append("shift" in info)
        if terminated:
            env.reset()
    assert {"shift", "reward_shift", "round"} <= documented
    assert np.flatnonzero(found).tolist() == [25, 50]


@worlds
def test_every_section_of_the_docstring_is_there(world_id):
    text = inspect.getdoc(type(make_world(world_id)))
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sections == [
        "Action Space",
        "Observation Space",
        "Starting State",
        "Rewards",
        "Episode End",
        "Information",
        "Arguments",
        "References",
        "Version History",
    ]


def test_the_spaces_are_those_of_the_docstrings():
    grid = make_world("PerformativeGridWorld-v0", grid=["...", "..G"])
    pricing = make_world("PerformativePricing-v0", horizon=4, inventory=3, n_prices=5)
    softmax = make_world("SoftmaxPeMDP-v0", n_states=6, n_actions=2)
    sizes = [(env.observation_space.n, env.action_space.n) for env in (grid, pricing, softmax)]
    assert sizes == [(6, 4), (4 * 3 + 1, 5), (6, 2)]


@worlds
def test_the_performative_interface_of_the_environment(world_id):
    env = make_world(world_id)
    assert isinstance(env, perf_envs.PerformativeEnv)
    assert isinstance(env.problem, perf_envs.PerformativeMDP)
    assert (env.n_states, env.n_actions) == (env.observation_space.n, env.action_space.n)
    assert env.initial_distribution.sum() == pytest.approx(1.0, abs=1e-15)
    np.testing.assert_array_equal(env.query_observations, np.arange(env.n_states))
    P, r = env.dynamics.dense()
    assert (P.shape, r.shape) == ((env.n_states, env.n_actions, env.n_states), (env.n_states, env.n_actions))
