import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv

from agents import DeployCallback
from agents import make_vec_env as make_world
from tests.agents.sb3.algorithms import ACTION_ENVS, ALGORITHMS, every_algorithm
from tests.worlds import CONTINUOUS_WORLDS, TABULAR_WORLDS


def parameters(model):
    return torch.cat([part.detach().flatten().clone() for part in model.policy.parameters()])


@pytest.mark.parametrize("kind", ACTION_ENVS)
@every_algorithm
def test_it_trains_with_every_kind_of_action(case, kind):
    if kind not in case.actions:
        with pytest.raises((ValueError, AssertionError), match="action space"):
            case.make("MlpPolicy", ACTION_ENVS[kind]())
        return
    model = case.make("MlpPolicy", make_vec_env(ACTION_ENVS[kind], n_envs=2))
    before = parameters(model)
    model.learn(100)
    after = parameters(model)
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    assert 100 <= model.num_timesteps < 200


@pytest.mark.parametrize(("name", "variant"), [(name, v) for name, c in ALGORITHMS.items() for v in c.variants])
def test_it_takes_its_arguments(name, variant):
    model = ALGORITHMS[name].make("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2), **variant).learn(100)
    assert torch.isfinite(parameters(model)).all()


@every_algorithm
def test_normalised_advantages_make_a_difference(case):
    if not case.takes("normalize_advantage"):
        pytest.skip("it has no such argument")
    trained = [
        parameters(
            case.make("MlpPolicy", make_vec_env("CartPole-v1", 1, seed=0), normalize_advantage=on, n_steps=8).learn(24)
        )
        for on in (False, True)
    ]
    assert torch.isfinite(torch.stack(trained)).all()
    assert not torch.equal(*trained)


@every_algorithm
def test_state_dependent_exploration(case):
    if not case.takes("use_sde"):
        pytest.skip("it has no such argument")
    model = case.make("MlpPolicy", ACTION_ENVS["Box"](), use_sde=True, sde_sample_freq=4).learn(64)
    assert torch.isfinite(parameters(model)).all()


@every_algorithm
def test_a_rollout_buffer_of_ones_own(case):
    class Counting(RolloutBuffer):
        resets = 0

        def reset(self):
            Counting.resets += 1
            super().reset()

    if not case.takes("rollout_buffer_class"):
        pytest.skip("it has no such argument")
    model = case.make("MlpPolicy", "CartPole-v1", rollout_buffer_class=Counting).learn(64)
    assert isinstance(model.rollout_buffer, Counting)
    assert Counting.resets > 1


@every_algorithm
def test_the_window_of_the_statistics(case):
    model = case.make("MlpPolicy", IdentityEnv(2, ep_length=5), stats_window_size=3).learn(64)
    assert model.ep_info_buffer.maxlen == 3
    assert len(model.ep_info_buffer) == 3


@pytest.mark.parametrize("env_id", [*TABULAR_WORLDS, *CONTINUOUS_WORLDS])
@every_algorithm
def test_it_deploys_and_trains_in_every_world(case, env_id):
    if ("Box" if env_id in CONTINUOUS_WORLDS else "Discrete") not in case.actions:
        pytest.skip("it does not take this world's actions")
    model = case.make("MlpPolicy", make_world(env_id, n_envs=4, seed=0))
    rollout = model.n_steps * 4
    model.learn(2 * rollout, callback=DeployCallback())
    assert torch.isfinite(parameters(model)).all()
    assert model.get_env().get_attr("round")[0] == 2


class Odd(gym.Env):
    """An environment with the spaces given; it is never stepped."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (spaces.Box(-1.0, 1.0, (2,)), spaces.Dict({"a": spaces.Discrete(2)})),
        (spaces.Box(-1.0, 1.0, (2,)), spaces.Box(-np.inf, np.inf, (1,))),
        (spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))), spaces.Discrete(2)),
        (spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})}), spaces.Discrete(2)),
    ],
)
@every_algorithm
def test_spaces_it_cannot_work_with_are_refused(case, observation, action):
    with pytest.raises(ValueError, match=r"(?i)space"):
        case.make("MlpPolicy", Odd(observation, action))


@every_algorithm
def test_a_single_sample_per_rollout_is_refused(case):
    with pytest.raises((ValueError, AssertionError), match=r"n_steps \* n_envs"):
        case.make("MlpPolicy", "CartPole-v1", n_steps=1)


@every_algorithm
def test_an_unknown_policy_is_named(case):
    with pytest.raises(ValueError, match="NoPolicy"):
        case.make("NoPolicy", "CartPole-v1")
