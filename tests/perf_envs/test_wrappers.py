import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from perf_envs.wrappers import StateObservation, VectorStateObservation

N_STATES = 13
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(N_STATES, 5))
IMAGES = RNG.integers(0, 256, size=(N_STATES, 6, 4, 3), dtype=np.uint8)
TABLES = {"features": FEATURES, "images": IMAGES, "dictionary": {"image": IMAGES, "features": FEATURES}}
SMALL = {"horizon": 4, "inventory": 3, "n_prices": 4, "deployment": "declared"}
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def pricing(**kwargs):
    return gym.make("PerformativePricing-v0", **{**SMALL, **kwargs})


def vector(table, mode=AutoresetMode.SAME_STEP, num_envs=3, **kwargs):
    env = gym.make_vec(
        "PerformativePricing-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=mode,
        **{**SMALL, **kwargs},
    )
    return VectorStateObservation(env, table)


def rows(table, states):
    if isinstance(table, dict):
        return {key: rows(part, states) for key, part in table.items()}
    return np.asarray(table, dtype=np.float32 if table.dtype.kind == "f" else None)[states]


def equal(first, second):
    if isinstance(first, dict):
        return set(first) == set(second) and all(equal(first[key], second[key]) for key in first)
    return first.dtype == second.dtype and np.array_equal(first, second)


@each_table
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_it_is_a_good_gymnasium_environment(table):
    check_env(StateObservation(pricing().unwrapped, table), skip_render_check=True)


@each_table
def test_a_state_is_shown_as_its_row(table):
    env = StateObservation(pricing(), table)
    observation, _ = env.reset(seed=0)
    for _ in range(30):
        assert equal(observation, rows(table, env.unwrapped.state))
        assert env.observation_space.contains(observation)
        observation, _, terminated, _, _ = env.step(env.action_space.sample())
        if terminated:
            observation, _ = env.reset()


@each_table
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_the_vector_form_shows_the_same_rows(table, mode):
    env = vector(table, mode)
    observations, _ = env.reset(seed=0)
    n_finished = 0
    for _ in range(30):
        assert equal(observations, rows(table, env.state))
        assert env.observation_space.contains(observations)
        observations, _, terminated, _, infos = env.step(env.action_space.sample())
        if mode is AutoresetMode.SAME_STEP and terminated.any():
            n_finished += 1
            for index in np.flatnonzero(terminated):
                final = infos["final_obs"][index]
                assert equal(final, rows(table, N_STATES - 1))  # the absorbing end
    assert n_finished or mode is AutoresetMode.NEXT_STEP


@each_table
def test_policies_are_deployed_over_what_is_shown(table):
    asked = []

    def policy(observation):
        asked.append(observation)
        return np.full(4, 0.25)

    for env in (StateObservation(pricing(), table), vector(table)):
        asked.clear()
        env.reset(seed=0)
        shift = env.deploy(policy)
        assert shift.transition > 0.0
        assert len(asked) == N_STATES
        assert all(equal(observation, rows(table, state)) for state, observation in enumerate(asked))
        assert env.get_wrapper_attr("round") == 1 if isinstance(env, gym.Env) else env.round == 1


def test_what_is_handed_out_can_be_changed_without_harm():
    env = StateObservation(pricing(), FEATURES)
    observation, _ = env.reset(seed=0)
    observation[:] = 7.0
    env.query_observations[:] = 7.0
    again, _ = env.reset(seed=0)
    assert equal(again, rows(FEATURES, env.unwrapped.state))


@each_table
def test_its_specification_survives_json(table):
    env = StateObservation(pricing(), table)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    assert equal(again.query_observations, env.query_observations)


def test_data_types():
    assert StateObservation(pricing(), FEATURES).observation_space.dtype == np.float32
    assert StateObservation(pricing(), FEATURES, dtype="float64").observation_space.dtype == np.float64
    assert StateObservation(pricing(), IMAGES).observation_space == gym.spaces.Box(0, 255, (6, 4, 3), np.uint8)
    counts = StateObservation(pricing(), np.arange(N_STATES)[:, None].tolist())
    assert counts.observation_space == gym.spaces.Box(0, N_STATES - 1, (1,), np.int64)
    both = StateObservation(pricing(), {"a": FEATURES, "b": FEATURES}, dtype={"a": "float64"})
    assert {key: space.dtype for key, space in both.observation_space.items()} == {"a": np.float64, "b": np.float32}
    constant = StateObservation(pricing(), np.zeros((N_STATES, 2)))
    assert (constant.observation_space.high > constant.observation_space.low).all()


@pytest.mark.parametrize("wrap", [lambda table: StateObservation(pricing(), table), vector], ids=["scalar", "vector"])
@pytest.mark.parametrize(
    ("table", "names"),
    [
        (FEATURES[:-1], r"\[13, \.\.\.\]"),
        (np.arange(N_STATES), "observations"),
        (np.full((N_STATES, 2), np.nan), "state 0"),
        (np.array([["a"]] * N_STATES), "observations"),
        ({"a": FEATURES, "b": FEATURES[:2]}, r"observations\['b'\]"),
    ],
)
def test_bad_tables_are_named(wrap, table, names):
    with pytest.raises(ValueError, match=names):
        wrap(table)


def test_only_tabular_worlds_that_show_their_state_can_be_wrapped():
    wrapped = functools.partial(StateObservation, observations=FEATURES)
    for env in (gym.make("CartPole-v1"), gym.make("LinearPricing-v0"), wrapped(pricing())):
        with pytest.raises(ValueError, match="env must"):
            wrapped(env)
