"""Settings count whoever gives them: the constructor, ``load``, or an attribute set later."""

import inspect
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.utils import LinearSchedule

from agents import GRPO, MDPO, NPG, REINFORCE, PePG, PerformativeNPG, PerformativePPO, PPOPenalty, make_vec_env
from agents.common.schedules import ramp
from agents.retraining import RepeatedRetraining, ZerothOrderFrankWolfe
from train.settings import resolve_settings

MODELS = Path(__file__).parent.parent / "data" / "models"
SMALL = {"horizon": 3, "inventory": 2, "n_prices": 3}
DEEP = (PePG, PerformativePPO, PerformativeNPG, PPOPenalty, MDPO, GRPO, NPG, REINFORCE)
TABULAR = (RepeatedRetraining, ZerothOrderFrankWolfe)
#: What all on-policy algorithms of Stable-Baselines3 are made with and do not change afterwards.
OF_THE_MACHINE = {
    "policy",
    "env",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "tensorboard_log",
    "policy_kwargs",
    "verbose",
    "seed",
    "device",
    "use_sde",
    "sde_sample_freq",
    "stats_window_size",
    "_init_setup_model",
    "strict",
}
#: Another value than the default, and one that must be refused (``None``: every value means something).
CHANGED = {
    "learning_rate": (0.05, -1.0),
    "n_steps": (4, 0),
    "gamma": (0.2, 1.5),
    "gae_lambda": (0.3, 1.5),
    "performative_coef": (0.7, -0.1),
    "ent_coef": (0.3, -0.1),
    "vf_coef": (2.0, -1.0),
    "max_grad_norm": (0.01, 0.0),
    "normalize_advantage": (None, None),  # the opposite
    "policy_gradient": ("sampled", "none"),
    "response_terms": ("reward", "none"),
    "n_epochs": (3, 0),
    "batch_size": (4, -1),
    "discount_visits": (True, None),
    "clip_range": (0.01, -0.1),
    "target_kl": (1e-4, -1.0),
    "beta": (5.0, -1.0),
    "step_size": (0.05, -1.0),
    "supervision": ("process", "none"),
    "cg_max_steps": (1, 0),
    "cg_damping": (3.0, -1.0),
    "n_critic_updates": (1, -1),
    "baseline": (False, None),
    "regularization": (7.0, -1.0),
    "regularizer": ("entropy", "none"),
    "k": (2, 0),
    "v": (3.0, 0.5),
    "ascent_rate": (0.1, -0.1),
    "n_directions": (2, 0),
    "border": (0.2, 0.9),
    "radius": (0.01, 0.9),
}


def venv(**more):
    return make_vec_env("PerformativePricing-v0", 2, seed=0, env_kwargs=SMALL | more)


def make(algorithm, **arguments):
    if algorithm in TABULAR:
        return algorithm("TabularPolicy", venv(), **{"n_steps": 8, "seed": 0} | arguments)
    net = {"net_arch": [4]}
    return algorithm(
        "MlpPolicy", venv(), **{"n_steps": 8, "seed": 0, "device": "cpu", "policy_kwargs": net} | arguments
    )


def names(algorithm):
    return [name for name in inspect.signature(algorithm.__init__).parameters if name != "self"]


def cases():
    for algorithm in (*DEEP, *TABULAR):
        for name in names(algorithm):
            if name not in OF_THE_MACHINE:
                yield pytest.param(algorithm, name, id=f"{algorithm.__name__}-{name}")


def learned(model):
    """Return all that a short training came to."""
    model.set_random_seed(3)
    model.env.seed(5)
    model.learn(8 * 2 * 8)
    parameters = model.get_parameters()
    return np.concatenate([np.asarray(value).ravel() for value in parameters["policy"].values()])


def changed(algorithm, name):
    value, _ = CHANGED[name]
    return not getattr(make(algorithm), name) if name == "normalize_advantage" else value


def others(algorithm, name):
    """Return what a setting needs to have an effect at all."""
    more = {}
    if name == "v" or (name == "ascent_rate" and algorithm is RepeatedRetraining):
        more["k"] = 2
    if algorithm is PePG and name in ("gae_lambda", "normalize_advantage", "n_epochs", "batch_size"):
        more["policy_gradient"] = "sampled"  # the expected gradient has no use for advantages
    if name == "batch_size":
        more["n_epochs" if algorithm in DEEP and "n_epochs" in names(algorithm) else "n_steps"] = 8
    if name == "clip_range" or (name == "target_kl" and algorithm is PerformativePPO):
        more |= {"learning_rate": 0.05}
    if algorithm is ZerothOrderFrankWolfe and name != "n_directions":
        more["n_directions"] = 2
    if algorithm is RepeatedRetraining and name == "gamma":
        more["regularization"] = 0.3
    return more


@pytest.mark.filterwarnings("ignore:.*truncated mini-batch")
@pytest.mark.parametrize(("algorithm", "name"), list(cases()))
def test_a_setting_given_to_load_or_set_later_does_what_it_does_in_the_constructor(algorithm, name, tmp_path):
    more, value = others(algorithm, name), changed(algorithm, name)
    before = learned(make(algorithm, **more))
    built = learned(make(algorithm, **more | {name: value}))
    assert not np.array_equal(before, built), "the setting has no effect here: the test says nothing"

    make(algorithm, **more).save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=venv(), device="cpu", **{name: value})
    np.testing.assert_array_equal(learned(loaded), built)

    model = make(algorithm, **more)
    setattr(model, name, value)
    np.testing.assert_array_equal(learned(model), built)
    if (algorithm, name) != (PPOPenalty, "beta"):  # which adapts
        assert getattr(model, name) == value


@pytest.mark.parametrize(("algorithm", "name"), list(cases()))
def test_what_the_constructor_refuses_is_refused_from_load_and_attributes_too(algorithm, name, tmp_path):
    wrong = CHANGED[name][1]
    if wrong is None:
        pytest.skip("every value means something")
    with pytest.raises(ValueError, match=name) as said:
        make(algorithm, **{name: wrong})
    model = make(algorithm)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=name) as loading:
        algorithm.load(tmp_path / "model", env=venv(), device="cpu", **{name: wrong})
    setattr(model, name, wrong)
    with pytest.raises(ValueError, match=name) as learning:
        model.learn(16)
    assert str(loading.value) == str(learning.value) == str(said.value)


def test_what_load_would_ignore_is_refused(tmp_path):
    make(PePG).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"'ent_coeff' is not a setting of PePG.*did you mean 'ent_coef'"):
        PePG.load(tmp_path / "model", ent_coeff=0.0)
    with pytest.raises(ValueError, match="policy cannot be given to load"):
        PePG.load(tmp_path / "model", policy="MlpPolicy")
    assert PePG.load(tmp_path / "model", seed=3, custom_objects={"ent_coef": 0.5}, device="cpu").ent_coef == 0.5


SCHEDULES = [
    (PePG, "ent_coef"),
    (PePG, "performative_coef"),
    (PePG, "learning_rate"),
    (PerformativePPO, "clip_range"),
    (PPOPenalty, "target_kl"),
    (MDPO, "step_size"),
    (GRPO, "beta"),
    (NPG, "step_size"),
    (NPG, "target_kl"),
    (REINFORCE, "learning_rate"),
]


@pytest.mark.parametrize(("algorithm", "name"), SCHEDULES)
def test_schedules_have_the_bounds_of_numbers(algorithm, name):
    with pytest.raises(ValueError, match=f"{name} at progress 1 must be .*-0.2"):
        make(algorithm, **{name: {"points": [[0.0, 0.1], [1.0, -0.2]]}})
    with pytest.raises(ValueError, match=f"{name} at progress 1 must be"):
        make(algorithm, **{name: ramp(1.0, 0.1, -0.2)})
    falling = make(algorithm, **{name: LinearSchedule(0.1, -0.2, 1.0)})
    with pytest.raises(ValueError, match=rf"{name} at progress 0\.\d+ must be"):
        falling.learn(8 * 2 * 8)


def test_schedules_of_settings_files_have_them_too():
    falling = {"points": [[0, 0.006], [1, -0.006]]}
    with pytest.raises(ValueError, match="learning_rate at progress 1 must be"):
        resolve_settings("ppo", "PerformativePricing-v0", overrides={"learning_rate": falling})


def test_a_schedule_may_replace_a_number_and_a_number_a_schedule(tmp_path):
    model = make(PePG, ent_coef=0.01)
    model.ent_coef = ramp(1.0, 0.0, 0.5)
    model.performative_coef = 1.0
    model.learn(64)
    assert model.logger.name_to_value["train/performative_coef"] == 1.0
    model.save(tmp_path / "model")
    again = PePG.load(tmp_path / "model", env=venv(), device="cpu", ent_coef=0.0)
    assert again.ent_coef == 0.0
    assert again.performative_coef == 1.0
    again.learn(64)
    assert again.logger.name_to_value["train/ent_coef"] == 0.0


# -- discounts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [PePG, PerformativePPO, PerformativeNPG, *TABULAR])
def test_a_discount_that_was_given_stays_and_otherwise_it_is_the_worlds(algorithm, tmp_path):
    for given, expected in ((None, 0.8), (0.7, 0.7)):
        model = make(algorithm, gamma=given)
        assert model.gamma == (0.99 if given is None else given)
        model.save(tmp_path / "model")
        loaded = algorithm.load(tmp_path / "model", env=venv(gamma=0.8), device="cpu")
        model.set_env(venv(gamma=0.8))
        for one in (model, loaded):
            assert one.gamma == expected
            one.learn(32)
            assert one.gamma == expected
            if one.rollout_buffer is not None:
                assert one.rollout_buffer.gamma == expected
        given_later = algorithm.load(tmp_path / "model", env=venv(gamma=0.8), device="cpu", gamma=0.6)
        given_later.set_env(venv(gamma=0.9))
        assert given_later.gamma == 0.6
        model.gamma = 0.55
        model.set_env(venv(gamma=0.9))
        assert model.gamma == 0.55


def test_without_a_world_the_discount_is_that_of_ordinary_environments():
    with pytest.warns(UserWarning, match="no response map"):
        model = PePG("MlpPolicy", gym.make("FrozenLake-v1"), n_steps=8, device="cpu")
    assert model.gamma == 0.99


def test_a_refused_environment_leaves_the_discount_as_it_was():
    model = make(PePG)
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env(make_vec_env("PerformativePricing-v0", 2, env_kwargs={"gamma": 0.5}))
    assert model.gamma == 0.99


def test_tabular_methods_meet_the_world_of_a_new_environment():
    model = make(RepeatedRetraining)
    new = venv(shift=1.0)
    model.set_env(new)
    assert new.get_attr("rounds")[0].deployment == "declared"
    ordinary = Paying((1.0,))
    ordinary.observation_space, ordinary.action_space = gym.spaces.Discrete(7), gym.spaces.Discrete(3)
    with pytest.raises(ValueError, match="performative world"):
        model.set_env(ordinary)


def test_strict_set_later_is_heeded():
    with pytest.warns(UserWarning, match="no response map"):
        model = PePG("MlpPolicy", gym.make("FrozenLake-v1"), n_steps=8, device="cpu")
    model.strict = True
    with pytest.raises(ValueError, match="strict=True forbids"):
        model.learn(8)


# -- what was saved before ---------------------------------------------------------------------------------


def test_models_saved_by_an_older_version_have_the_settings_they_were_saved_with():
    pepg = PePG.load(MODELS / "pepg", env=venv(), device="cpu")
    assert pepg.gamma == 0.99
    pepg._current_progress_remaining = 0.875
    assert pepg.value_of("performative_coef") == pytest.approx(0.5)
    assert pepg.value_of("ent_coef") == pytest.approx(0.02)
    assert PePG.load(MODELS / "pepg", env=venv(gamma=0.8), device="cpu").gamma == 0.8
    assert PePG.load(MODELS / "pepg", env=venv(), device="cpu", ent_coef=0.0).value_of("ent_coef") == 0.0
    npg = PerformativeNPG.load(MODELS / "performative_npg", env=venv(), device="cpu")
    assert npg.value_of("target_kl") == pytest.approx(0.05)
    mdpo = MDPO.load(MODELS / "mdpo", env=venv(), device="cpu")
    assert mdpo.value_of("ent_coef") == pytest.approx(0.03)
    rr = RepeatedRetraining.load(MODELS / "rr", env=venv())
    assert rr.regularization == 2.0
    for model in (pepg, npg, mdpo, rr):
        model.learn(32)


# -- units of the entropy ----------------------------------------------------------------------------------


class Paying(gym.Env):
    """Pays given rewards in turn; episodes are cut by a time limit, so that values are added to rewards."""

    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)

    def __init__(self, rewards):
        self.rewards, self.time = rewards, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        self.time += 1
        return self.time % 3, self.rewards[self.time % len(self.rewards)], False, self.time % 10 == 0, {}


@pytest.mark.filterwarnings("ignore:the environment has no response map")
@pytest.mark.parametrize(("rewards", "scale"), [((100.0, 101.0), 1.0), ((1.0,), 1.0), ((-5.0, -2.0, -4.0), 3.0)])
def test_the_scale_of_rewards_is_the_range_of_those_paid(rewards, scale):
    model = PePG("MlpPolicy", Paying(rewards), n_steps=8, seed=0, device="cpu", learning_rate=0.1)
    assert model.reward_scale == 1.0  # nothing is known yet
    model.learn(400)
    assert model.reward_scale == pytest.approx(scale)


@pytest.mark.filterwarnings("ignore:the environment has no response map")
def test_values_at_time_limits_are_no_rewards():
    model = PePG("MlpPolicy", gym.make("CartPole-v1", max_episode_steps=10), n_steps=16, seed=0, device="cpu")
    model.learn(4000)
    assert model.policy.predict_values(model.policy.obs_to_tensor(model._last_obs)[0]).item() > 2.0
    assert model.reward_scale == 1.0


# -- losses that are not finite ----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_leaves_the_policy_as_it_was():
    model = make(PePG)
    model.learn(32)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.rollout_buffer.returns[:] = np.nan
    model.policy_gradient = "sampled"
    with pytest.raises(ValueError, match="loss must be finite, got nan"):
        model.train()
    assert all(value.equal(before[name]) for name, value in model.policy.state_dict().items())
