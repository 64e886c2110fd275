import io

import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv, IdentityEnvBox, SimpleMultiObsEnv
from stable_baselines3.common.save_util import load_from_zip_file

from tests.agents.sb3.algorithms import ACTION_ENVS, every_algorithm

OBSERVATIONS = np.linspace(-1.0, 1.0, 20, dtype=np.float32).reshape(5, 4)


def cartpole(n_envs=2):
    return make_vec_env("CartPole-v1", n_envs=n_envs, seed=0)


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first) and set(first) == set(second)


@pytest.fixture
def model(case):
    return case.make("MlpPolicy", cartpole()).learn(64)


@every_algorithm
def test_a_loaded_model_is_the_model(case, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = case.build.load(tmp_path / "model", device="cpu")
    assert same(model.policy.state_dict(), loaded.policy.state_dict())
    assert loaded.num_timesteps == model.num_timesteps
    mine, _ = model.predict(OBSERVATIONS, deterministic=True)
    theirs, _ = loaded.predict(OBSERVATIONS, deterministic=True)
    np.testing.assert_array_equal(mine, theirs)
    assert loaded.get_env() is None


@pytest.mark.parametrize("kind", ACTION_ENVS)
@every_algorithm
def test_it_trains_on_after_loading(case, kind, tmp_path):
    if kind not in case.actions:
        pytest.skip("it does not take these actions")
    case.make("MlpPolicy", ACTION_ENVS[kind]()).learn(32).save(tmp_path / "model.zip")
    loaded = case.build.load(tmp_path / "model.zip", env=make_vec_env(ACTION_ENVS[kind], n_envs=3), device="cpu")
    assert loaded.n_envs == 3
    before = loaded.num_timesteps
    loaded.learn(96, reset_num_timesteps=False)
    assert loaded.num_timesteps == before + 96


@every_algorithm
def test_the_optimiser_comes_back_too(case, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = case.build.load(tmp_path / "model", device="cpu")
    mine, theirs = model.policy.optimizer.state_dict(), loaded.policy.optimizer.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    for index, state in mine["state"].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs["state"][index][name]))


@every_algorithm
def test_a_model_can_be_kept_in_memory(case, model):
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    assert same(model.policy.state_dict(), case.build.load(file, device="cpu").policy.state_dict())


@every_algorithm
def test_what_is_saved_can_be_chosen(case, model, tmp_path):
    model.save(tmp_path / "less", exclude=["learning_rate"])
    model.save(tmp_path / "more", include=["rollout_buffer"])
    less, _, _ = load_from_zip_file(tmp_path / "less")
    more, _, _ = load_from_zip_file(tmp_path / "more")
    assert "learning_rate" not in less
    assert "learning_rate" in more
    assert "rollout_buffer" not in less
    assert more["rollout_buffer"].buffer_size == model.n_steps
    assert not {"env", "policy", "device", "_logger"} & set(more)


@every_algorithm
def test_arguments_can_be_changed_when_loading(case, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = case.build.load(tmp_path / "model", env=cartpole(), learning_rate=0.123, n_steps=8, device="cpu")
    assert loaded.lr_schedule(1.0) == 0.123
    loaded.learn(16)
    assert loaded.rollout_buffer.buffer_size == 8
    with pytest.raises(ValueError, match="policy kwargs"):
        case.build.load(tmp_path / "model", policy_kwargs={"net_arch": [3]})


@every_algorithm
def test_parameters_can_be_read_and_set(case, model):
    kept = model.get_parameters()
    changed = {
        "policy": {name: torch.rand_like(value) for name, value in kept["policy"].items()},
        "policy.optimizer": kept["policy.optimizer"],
    }
    model.set_parameters(changed)
    assert same(model.policy.state_dict(), changed["policy"])
    with pytest.raises(ValueError, match="expected"):
        model.set_parameters({"policy": changed["policy"]})
    with pytest.raises(ValueError, match="nonsense"):
        model.set_parameters({"nonsense": {}})
    name = next(iter(kept["policy"]))
    with pytest.raises(RuntimeError, match=name):
        model.set_parameters({"policy": {}, "policy.optimizer": kept["policy.optimizer"]})
    model.set_parameters({"policy": {name: torch.zeros_like(kept["policy"][name])}}, exact_match=False)
    assert not model.policy.state_dict()[name].any()


@every_algorithm
def test_another_environment_can_be_set(case, model):
    other = cartpole()
    model.set_env(other)
    assert model.get_env() is other
    model.learn(64)
    kept = model._last_obs
    model.set_env(other, force_reset=False)
    assert model._last_obs is kept
    model.learn(64, reset_num_timesteps=False)


@every_algorithm
def test_an_environment_that_does_not_fit_is_refused_and_changes_nothing(case, model):
    env = model.get_env()
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env(make_vec_env(lambda: IdentityEnvBox(), n_envs=2))
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(cartpole(5))
    assert model.get_env() is env
    model.learn(64)


@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy", "CnnPolicy", "SoftmaxPolicy"])
@every_algorithm
def test_a_policy_can_be_saved_alone(case, policy, tmp_path):
    if policy not in case.build.policy_aliases:
        pytest.skip("it has no such policy")
    env = {
        "MlpPolicy": lambda: "CartPole-v1",
        "SoftmaxPolicy": lambda: ACTION_ENVS["Discrete"](),
        "MultiInputPolicy": lambda: SimpleMultiObsEnv(random_start=False),
        "CnnPolicy": lambda: FakeImageEnv(screen_height=36, screen_width=36, discrete=True),
    }[policy]()
    small = {"features_extractor_kwargs": {"features_dim": 8}} if policy == "CnnPolicy" else {}
    model = case.make(policy, env, policy_kwargs=small)
    model.policy.save(tmp_path / "policy")
    loaded = type(model.policy).load(tmp_path / "policy", device="cpu")
    assert same(model.policy.state_dict(), loaded.state_dict())
    observation = model.get_env().observation_space.sample()
    mine, _ = model.policy.predict(observation, deterministic=True)
    theirs, _ = loaded.predict(observation, deterministic=True)
    np.testing.assert_array_equal(mine, theirs)
