"""PePG in worlds that show more than the index of their state, and in worlds of continuous actions."""

import functools

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor, VecNormalize

from agents import DeployCallback, PePG, make_vec_env
from agents.common.deploying import performative_problem
from agents.common.reading import read_policy
from agents.pepg.states import read_states
from perf_envs import exact
from perf_envs.wrappers import StateObservation, VectorStateObservation
from tests.precision import SINGLE

SMALL = {"horizon": 4, "inventory": 3, "n_prices": 4}
N_STATES = 13
FEATURES = np.random.default_rng(0).normal(size=(N_STATES, 5)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, size=(N_STATES, 36, 36, 1), dtype=np.uint8)
TABLES = {
    "features": ("MlpPolicy", FEATURES, {}),
    "images": ("CnnPolicy", IMAGES, {"features_extractor_kwargs": {"features_dim": 8}}),
    "dictionary": (
        "MultiInputPolicy",
        {"features": FEATURES, "image": IMAGES},
        {"features_extractor_kwargs": {"cnn_output_dim": 8}},
    ),
}


def native(table=None, n_envs=4, **kwargs):
    wrapper = None if table is None else functools.partial(VectorStateObservation, observations=table)
    return make_vec_env("PerformativePricing-v0", n_envs, 0, {**SMALL, **kwargs}, vector_wrapper=wrapper)


def scalar(table=None, **kwargs):
    env = gym.make("PerformativePricing-v0", **{**SMALL, **kwargs})
    return env if table is None else StateObservation(env, table)


def copies(*worlds, build=DummyVecEnv):
    venv = VecMonitor(build([functools.partial(scalar, **world) for world in worlds]))
    venv.seed(0)
    return venv


def policy_of(model):
    venv = model.get_env()
    return read_policy(model, venv).array


@pytest.mark.parametrize(
    "build", [native, lambda table=None: copies(*[{"table": table}] * 4)], ids=["native", "copies"]
)
@pytest.mark.parametrize("discount_visits", [False, True])
def test_one_hot_features_are_the_index(build, discount_visits):
    """A linear policy of unit vectors is a table: the same numbers come out, by another way."""
    trained = []
    for table in (None, np.eye(N_STATES)):
        model = PePG(
            "MlpPolicy",
            build(table),
            n_steps=8,
            learning_rate=0.02,
            performative_coef=1.0,
            discount_visits=discount_visits,
            policy_kwargs={"net_arch": []},
            seed=0,
            device="cpu",
        )
        trained.append(policy_of(model.learn(640)))
    assert np.abs(trained[0] - 1 / 4).max() > 0.1  # it has learnt something
    np.testing.assert_allclose(trained[0], trained[1], atol=1e-5)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("build", [native, lambda table: copies(*[{"table": table}] * 2)], ids=["native", "copies"])
def test_every_kind_of_observation_is_deployed_and_trained_on(name, build):
    policy, table, kwargs = TABLES[name]
    model = PePG(policy, build(table), n_steps=8, policy_kwargs=kwargs, performative_coef=1.0, seed=0)
    before = policy_of(model)
    agree = []

    class Compare(BaseCallback):
        def _on_rollout_start(self):
            agree.append(
                np.allclose(self.training_env.get_attr("rounds")[0].policy.probs, policy_of(self.model), atol=SINGLE)
            )

        def _on_step(self):
            return True

    model.learn(64, callback=Compare())
    assert all(agree)
    assert model.get_env().get_attr("round")[0] == len(agree)
    assert not np.allclose(before, policy_of(model), atol=SINGLE)


def test_states_are_read_off_every_kind_of_environment():
    for venv in (native(FEATURES), copies(*[{"table": FEATURES}] * 3)):
        observations = venv.reset()
        for _ in range(20):
            np.testing.assert_allclose(observations, FEATURES[read_states(venv)])
            observations, *_ = venv.step(np.array([venv.action_space.sample() for _ in range(venv.num_envs)]))


def test_normalised_features_are_asked_about_as_they_are_seen():
    venv = VecNormalize(native(FEATURES), norm_reward=False)
    model = PePG("MlpPolicy", venv, n_steps=8, seed=0).learn(96)
    seen = {}

    class Deployed(BaseCallback):
        def _on_rollout_start(self):
            seen["told"] = self.training_env.get_attr("rounds")[0].policy.probs
            seen["asked"] = policy_of(self.model)  # before the statistics move on

        def _on_step(self):
            return True

    model.learn(32, callback=Deployed(), reset_num_timesteps=False)
    np.testing.assert_allclose(seen["told"], seen["asked"], atol=SINGLE)
    assert not np.allclose(venv.obs_rms.mean, 0.0)


@pytest.mark.parametrize(
    "build", [native, lambda: copies({}, {}, {}), lambda: native(FEATURES)], ids=["native", "copies", "features"]
)
def test_the_world_answers_once_per_round_whatever_the_number_of_copies(build, monkeypatch):
    venv, calls = build(), []
    model = PePG("MlpPolicy", venv, n_steps=8, seed=0)
    for problem in {id(problem): problem for problem in venv.get_attr("problem")}.values():
        respond = problem.response_map.respond
        monkeypatch.setattr(problem.response_map, "respond", lambda pi, f=respond: calls.append(1) or f(pi))
    model.learn(8 * venv.num_envs * 3)
    assert len(calls) == 3


def test_copies_of_different_worlds_are_refused():
    with pytest.raises(ValueError, match="sub-environment 1 differs"):
        PePG("MlpPolicy", copies({}, {"shift": 1.0}), n_steps=8)
    with pytest.raises(ValueError, match="sub-environment 2 differs"):
        PePG("MlpPolicy", copies({}, {}, {"gamma": 0.5}), n_steps=8)
    markets = [functools.partial(gym.make, "LinearPricing-v0", shift=shift) for shift in (1.0, 2.0)]
    with pytest.raises(ValueError, match="sub-environment 1 differs"):
        PePG("MlpPolicy", DummyVecEnv(markets), n_steps=8)
    PePG("MlpPolicy", DummyVecEnv([markets[0]] * 2), n_steps=8).learn(32)


def test_copies_may_run_in_processes_of_their_own():
    venv = copies({}, {}, build=functools.partial(SubprocVecEnv, start_method="fork"))
    try:
        model = PePG("MlpPolicy", venv, n_steps=8, seed=0, device="cpu").learn(32)
        assert venv.get_attr("round") == [2, 2]
        again = PePG("MlpPolicy", copies({}, {}), n_steps=8, seed=0, device="cpu").learn(32)
        np.testing.assert_allclose(policy_of(model), policy_of(again), atol=SINGLE)
    finally:
        venv.close()


def test_a_wrapper_that_changes_what_is_seen_but_not_what_is_asked_is_refused():
    flattened = gym.wrappers.FlattenObservation(scalar({"a": FEATURES, "b": FEATURES}))
    with pytest.raises(ValueError, match="query_observations"):
        PePG("MlpPolicy", flattened)
    doubled = gym.wrappers.TransformObservation(scalar(FEATURES), lambda seen: 2 * seen, None)
    with pytest.raises(ValueError, match="query_observations"):
        PePG("MlpPolicy", doubled).learn(10)


def test_a_callback_that_deploys_leaves_it_to_pepg():
    venv = native()
    PePG("MlpPolicy", venv, n_steps=8).learn(96, callback=DeployCallback())
    assert venv.get_attr("round")[0] == 3
    with pytest.warns(UserWarning, match="every=2 has no effect"):
        PePG("MlpPolicy", venv, n_steps=8).learn(32, callback=DeployCallback(every=2))


def prices(model):
    venv = model.get_env()
    problem = performative_problem(venv)
    return problem, *policy_of(model)


def test_it_finds_the_price_that_pays_once_customers_have_learnt_it():
    """Closed form: the optimum is half the price at which nobody buys; that price is where myopic agents drift."""
    pepg = PePG("MlpPolicy", make_vec_env("LinearPricing-v0", n_envs=64, seed=0), seed=0).learn(40_000)
    problem, mean, std = prices(pepg)
    assert problem.mean_price(mean, std).item() == pytest.approx(problem.optimal_price.item(), abs=0.4)
    assert problem.performative_value(mean, std) > 0.95 * problem.optimal_value
    a2c = A2C("MlpPolicy", make_vec_env("LinearPricing-v0", n_envs=64, seed=0), gamma=0.99, seed=0)
    problem, mean, std = prices(a2c.learn(40_000, callback=DeployCallback()))
    assert problem.mean_price(mean, std).item() == pytest.approx(problem.stable_price.item(), abs=0.4)
    assert problem.performative_value(mean, std) < 0.3 * problem.optimal_value


def test_squashed_actions_are_refused_where_a_gaussian_is_answered():
    with pytest.raises(ValueError, match="squash_output"):
        PePG(
            "MlpPolicy",
            make_vec_env("LinearPricing-v0", n_envs=4),
            use_sde=True,
            policy_kwargs={"squash_output": True},
        )


def test_state_dependent_exploration_is_deployed_with_its_deviation():
    venv = make_vec_env("LinearPricing-v0", n_envs=4, seed=0)
    model = PePG("MlpPolicy", venv, n_steps=8, use_sde=True, performative_coef=1.0, seed=0).learn(64)
    _, std = policy_of(model)
    assert (std > 0.0).all()
    assert len(np.unique(std)) > 1


@pytest.mark.parametrize("env_id", ["PerformativePricing-v0", "LinearPricing-v0"])
def test_exact_figures_are_logged_for_those_who_read_the_log(env_id, tmp_path):
    from stable_baselines3.common.logger import configure

    venv = make_vec_env(env_id, n_envs=4, seed=0)
    model = PePG("MlpPolicy", venv, n_steps=8, seed=0)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    deployed = []

    class Deployed(BaseCallback):
        def _on_rollout_start(self):
            deployed.append(policy_of(self.model))

        def _on_step(self):
            return True

    model.learn(64, log_interval=1, callback=Deployed())
    model.logger.close()
    logged = np.genfromtxt(tmp_path / "progress.csv", delimiter=",", names=True, deletechars="")
    problem = performative_problem(venv)
    if env_id == "LinearPricing-v0":
        expected = [float(problem.performative_value(mean, std)) for mean, std in deployed]
        gaps = [problem.stability_gap(mean, std) for mean, std in deployed]
    else:
        expected = [float(exact.performative_value(problem, table)) for table in deployed]
        gaps = [exact.stability_gap(problem, table) for table in deployed]
    np.testing.assert_allclose(logged["perf/value"], expected, rtol=1e-5)
    np.testing.assert_allclose(logged["perf/stability_gap"], gaps, rtol=1e-4, atol=1e-6)


def test_acting_from_the_table_is_acting_from_the_networks():
    """Same probabilities, values and log-probabilities, and the same actions from the same random numbers."""
    model = PePG("MlpPolicy", native(n_envs=64), n_steps=4, seed=0, device="cpu").learn(512)
    states = torch.arange(64) % N_STATES
    table = model.policy.tabulate(torch.arange(N_STATES))
    for _ in range(3):
        seed = int(torch.randint(1000, ()).item())
        torch.manual_seed(seed)
        from_networks = model.policy(states)
        with model.policy.acting_from(table):
            torch.manual_seed(seed)
            from_table = model.policy(states)
            values = model.policy.predict_values(states)
        torch.testing.assert_close(from_table[0], from_networks[0])
        torch.testing.assert_close(from_table[1].flatten(), from_networks[1].flatten())
        torch.testing.assert_close(from_table[2], from_networks[2])
        torch.testing.assert_close(values, from_networks[1])


def test_a_world_whose_answer_has_no_gradient_is_trained_in_with_a_warning_or_refused():
    with pytest.warns(UserWarning, match="no gradient"):
        PePG("MlpPolicy", native(response_wrapper="quantised"), n_steps=8, performative_coef=1.0).learn(64)
    with pytest.raises(ValueError, match="no gradient"):
        PePG("MlpPolicy", native(response_wrapper="quantised"), strict=True)


@pytest.mark.parametrize(
    "wrapper", ["piecewise-linear", {"name": "quantised", "surrogate": "straight-through"}, "noisy"], ids=str
)
def test_it_trains_in_worlds_that_answer_less_smoothly(wrapper):
    model = PePG("MlpPolicy", native(response_wrapper=wrapper), n_steps=8, performative_coef=1.0, strict=True, seed=0)
    model.learn(96)
    problem = performative_problem(model.get_env())
    figures, told = model._answer.figures(), model.get_env().get_attr("rounds")[0].policy.probs
    if problem.is_random:  # exact figures are averages that nobody should wait for while training
        assert figures == {}
        return
    assert figures["value"] == pytest.approx(float(exact.performative_value(problem, told)))
    assert figures["stability_gap"] == pytest.approx(exact.stability_gap(problem, told), abs=1e-9)


def test_environments_without_a_native_vector_form_take_no_vector_wrapper():
    with pytest.raises(ValueError, match="vector_wrapper"):
        make_vec_env("CartPole-v1", vector_wrapper=functools.partial(VectorStateObservation, observations=FEATURES))
