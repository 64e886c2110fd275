"""Native vector forms of anybody's worlds: used where Stable-Baselines3 can, and told from copies by nothing else."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, VectorWrapper
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import SB3VecEnv, make_vec_env
from tests.agents import countdown  # registers the worlds
from tests.worlds import ALL_WORLDS

NATIVE = ["Countdown-v0", "CountdownConfigurable-v0", "CountdownFactory-v0"]
COPIES = ["CountdownLate-v0", "CountdownLending-v0", "CountdownMissing-v0", "CartPole-v1", "FrozenLake-v1"]


def is_native(venv):
    return isinstance(getattr(venv, "venv", None), SB3VecEnv)


@pytest.mark.parametrize("env_id", [*NATIVE, *ALL_WORLDS])
def test_a_native_form_that_resets_in_the_same_step_is_used_whoever_made_it(env_id):
    venv = make_vec_env(env_id, n_envs=3, seed=0)
    assert is_native(venv)
    assert (venv.num_envs, venv.reset().shape[0]) == (3, 3)


@pytest.mark.parametrize("env_id", COPIES)
def test_an_environment_whose_native_form_cannot_be_used_comes_as_copies_without_a_word(env_id):
    venv = make_vec_env(env_id, n_envs=3, seed=0)
    assert isinstance(venv, DummyVecEnv)
    assert venv.num_envs == 3
    with pytest.raises(ValueError, match="vector_wrapper must be None"):
        make_vec_env(env_id, vector_wrapper=RecordEpisodeStatistics)


def test_gymnasiums_own_cartpole_knows_the_next_step_only():
    """Why it comes as copies: as long as this holds, its native form would show an agent steps that are none."""
    assert CartPoleVectorEnv(2).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    with pytest.raises(TypeError, match="autoreset_mode"):
        CartPoleVectorEnv(2, autoreset_mode=AutoresetMode.SAME_STEP)
    venv = make_vec_env("CartPole-v1", n_envs=2, env_kwargs={"sutton_barto_reward": True, "disable_env_checker": True})
    assert venv.get_attr("spec")[0].kwargs["sutton_barto_reward"]


def play(venv, n_steps=40):
    """Yield observations, rewards, dones and infos under fixed actions."""
    rng = np.random.default_rng(0)
    yield venv.reset(), None, None, None
    for _ in range(n_steps):
        yield venv.step(rng.integers(2, size=venv.num_envs))


def check_episodes(venv, size, bonus, limit):
    """Replay what a venv says by the rules of the world; return the number of episodes."""
    ends = 0
    before, rng = None, np.random.default_rng(0)
    for observations, rewards, dones, infos in play(venv):
        if before is not None:
            actions = rng.integers(2, size=venv.num_envs)
            reached = before + np.stack([np.ones_like(actions), actions], 1)
            terminated, truncated = reached[:, 1] >= size, reached[:, 0] >= limit
            np.testing.assert_array_equal(rewards, np.float32(bonus) * actions)
            np.testing.assert_array_equal(dones, terminated | truncated)
            np.testing.assert_array_equal(observations[~dones], reached[~dones])
            assert not observations[dones, 0].any()
            for index in np.flatnonzero(dones):
                np.testing.assert_array_equal(infos[index]["terminal_observation"], reached[index])
                assert infos[index]["TimeLimit.truncated"] == (not terminated[index])
                assert infos[index]["episode"]["l"] == reached[index, 0]
                assert infos[index]["chosen"] == reached[index, 1]
                ends += 1
        before = observations  # as Stable-Baselines3 keeps it, without a copy
    return ends


@pytest.mark.parametrize("env_id", [*NATIVE, "CountdownLate-v0", "CountdownMissing-v0"])
@pytest.mark.parametrize(
    ("env_kwargs", "limit", "effective"),
    [({}, None, 5), ({"size": 9, "bonus": 0.5}, None, 5), ({"size": 4}, 7, 7), ({"max_episode_steps": 3}, None, 3)],
)
def test_arguments_and_step_limits_mean_the_same_natively_and_as_copies(env_id, env_kwargs, limit, effective):
    venv = make_vec_env(env_id, 3, 0, env_kwargs, limit, info_keys=("chosen",))
    assert check_episodes(venv, env_kwargs.get("size", 3), env_kwargs.get("bonus", 1.0), effective) >= 8
    assert env_kwargs.get("max_episode_steps", 3) == 3  # not written into


@pytest.mark.parametrize("env_id", ["Countdown-v0", "CountdownLate-v0"])
def test_a_seed_replays_natively_and_as_copies(env_id):
    def seen(seed):
        return np.stack([step[0] for step in play(make_vec_env(env_id, 4, seed))])

    np.testing.assert_array_equal(seen(3), seen(3))
    assert not np.array_equal(seen(3), seen(4))


@pytest.mark.parametrize("env_id", ["Countdown-v0", "CountdownLate-v0", "PerformativePricing-v0"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_envs": 0}, "n_envs"),
        ({"max_episode_steps": 0}, "max_episode_steps"),
        ({"max_episode_steps": -1}, "max_episode_steps"),
        ({"seed": -1}, "seed"),
        ({"env_kwargs": 5}, "env_kwargs must be a dictionary"),
        ({"env_kwargs": {"sise": 3}}, "sise"),
        ({"info_keys": "chosen"}, "info_keys must be a sequence"),
    ],
)
def test_wrong_arguments_are_value_errors_natively_and_as_copies(env_id, arguments, words):
    with pytest.raises(ValueError, match=words):
        make_vec_env(env_id, **arguments)


def test_observations_in_memory_that_is_used_again_are_copied():
    venv = make_vec_env("Countdown-v0", 3, 0, {"reuses": True}, info_keys=("chosen",))
    assert is_native(venv)
    assert check_episodes(venv, 3, 1.0, 5) >= 8


def test_arguments_that_only_the_copies_take_are_taken_with_a_warning():
    with pytest.warns(UserWarning, match=r"CountdownUnlimited-v0 comes as copies .* 'max_episode_steps'"):
        venv = make_vec_env("CountdownUnlimited-v0", 3, 0, max_episode_steps=4, info_keys=("chosen",))
    assert check_episodes(venv, 3, 1.0, 4) >= 8
    assert is_native(make_vec_env("CountdownUnlimited-v0", 3, 0))


def test_copies_never_stand_in_for_agents_who_share_a_world():
    with pytest.raises(ValueError, match="disable_env_checker"):
        make_vec_env("PerformativePricing-v0", env_kwargs={"disable_env_checker": True})


def test_a_native_form_can_be_wrapped():
    class Doubled(VectorWrapper):
        def step(self, actions):
            observations, rewards, *rest = self.env.step(actions)
            return observations, 2 * rewards, *rest

    venv = make_vec_env("Countdown-v0", 2, 0, vector_wrapper=Doubled)
    venv.reset()
    assert venv.step(np.array([0, 1]))[1].tolist() == [0.0, 2.0]


def test_a_form_that_does_not_tell_how_episodes_end_is_named():
    venv = make_vec_env("CountdownSilent-v0", 1, 0)
    venv.reset()
    with pytest.raises(ValueError, match=r"last observations .* info\['final_obs'\]"):
        [venv.step(np.ones(1, int)) for _ in range(5)]


def test_an_id_may_name_its_module_or_be_a_registration():
    spec = gym.spec("Countdown-v0")
    for env_id in (
        "tests.agents.countdown:Countdown-v0",
        spec,
        "perf_envs:PerformativePricing-v0",
        gym.spec("SoftmaxPeMDP-v0"),
    ):
        assert is_native(make_vec_env(env_id, n_envs=2, seed=0))
    for env_id in ("tests.agents.countdown:CountdownLate-v0", gym.spec("CountdownLate-v0")):
        venv = make_vec_env(env_id, 2, 0, {"size": 4}, 6)
        assert isinstance(venv, DummyVecEnv)
        assert venv.get_attr("size") == [4, 4]
        assert [env.spec.max_episode_steps for env in venv.envs] == [6, 6]


def test_unknown_environments_and_arguments_are_also_what_gymnasium_raises():
    for error, arguments, words in (
        (gym.error.NameNotFound, ("NoSuchWorld-v0",), "NoSuchWorld-v0"),
        (ModuleNotFoundError, ("no_such_module:World-v0",), "no_such_module"),
        (TypeError, ("PerformativePricing-v0", 1, 0, {"horizn": 3}), "horizn"),
        (TypeError, ("CartPole-v1", 1, 0, {"horizn": 3}), "horizn"),
    ):
        for expected in (ValueError, error):
            with pytest.raises(expected, match=words):
                make_vec_env(*arguments)


def test_an_agent_learns_in_somebody_elses_native_form():
    venv = make_vec_env("Countdown-v0", 8, 0, {"size": 9})
    model = PPO("MlpPolicy", venv, n_steps=32, n_epochs=4, learning_rate=1e-2, seed=0, device="cpu")
    model.learn(2048)
    assert np.mean([episode["r"] for episode in list(model.ep_info_buffer)[-20:]]) > 3.5  # at most 5; by chance 2.5


def test_a_vector_environment_that_does_not_count_from_0_is_refused():
    class FromOne(countdown.CountdownVectorEnv):
        def __init__(self):
            super().__init__(2)
            self.single_action_space = gym.spaces.Discrete(2, start=1)

    with pytest.raises(ValueError, match="action_space must count from 0"):
        SB3VecEnv(FromOne())
