"""The performative trust region methods: first gradient, trust region, and what they are without answers."""

import copy
import functools

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

from agents import NPG, DeployCallback, PePG, PerformativeNPG, PerformativePPO, make_vec_env
from agents.planning.ascent import natural_step
from perf_envs import exact, policy_table
from perf_envs.wrappers import VectorStateObservation
from tests.worlds import TABULAR_WORLDS

SMALL = {
    "PerformativeGridWorld-v0": {"n_followers": 3, "grid": "small4x4"},
    "PerformativePricing-v0": {"horizon": 4, "inventory": 3, "n_prices": 4},
    "SoftmaxPeMDP-v0": {"n_states": 5, "n_actions": 3},
}
PPO_ARGUMENTS = {
    "n_steps": 12,
    "batch_size": 48,
    "n_epochs": 1,
    "gamma": 0.97,
    "vf_coef": 0.3,
    "seed": 3,
    "device": "cpu",
}


FEATURES = np.random.default_rng(0).normal(size=(13, 3)).astype(np.float32)  # of the states of small pricing


def world(env_id="PerformativePricing-v0", n_envs=4, seed=3):
    return make_vec_env(env_id, n_envs=n_envs, seed=seed, env_kwargs=SMALL.get(env_id, {}))


def seen_by_features(table=FEATURES):
    show = functools.partial(VectorStateObservation, observations=table)
    return make_vec_env(
        "PerformativePricing-v0", 4, seed=3, env_kwargs=SMALL["PerformativePricing-v0"], vector_wrapper=show
    )


EVERY_WORLD = {env_id: functools.partial(world, env_id) for env_id in [*TABULAR_WORLDS, "LinearPricing-v0"]} | {
    "features": seen_by_features,
    "dictionary": functools.partial(seen_by_features, {"stock": FEATURES[:, :1], "rest": FEATURES[:, 1:]}),
}


def collect(model):
    """Collect a rollout with a policy that is not uniform, without learning from it."""
    with torch.no_grad():
        model.policy.action_net.weight.normal_(generator=torch.Generator().manual_seed(5))
    _, callback = model._setup_learn(48)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    model.set_logger(Logger(folder=None, output_formats=[]))


def first_gradient(model):
    kept = []

    def keep():
        kept.append({name: p.grad.clone() for name, p in model.policy.named_parameters() if p.grad is not None})

    model.policy.optimizer.step = keep
    model.train()
    return kept[0]


@pytest.mark.parametrize("make", EVERY_WORLD.values(), ids=EVERY_WORLD)
@pytest.mark.parametrize("normalize", [False, True])
def test_the_first_gradient_is_that_of_ppo_plus_the_response_term_of_pepg(make, normalize):
    arguments = PPO_ARGUMENTS | {"normalize_advantage": normalize, "max_grad_norm": 1e9}
    venv = make()
    policy = "MultiInputPolicy" if isinstance(venv.observation_space, gym.spaces.Dict) else "MlpPolicy"
    mine = PerformativePPO(policy, venv, performative_coef=0.7, ent_coef=0.02, **arguments)
    collect(mine)
    ppo = PPO(policy, venv, ent_coef=0.02, **arguments)
    pepg = PePG(policy, venv, n_steps=12, gamma=0.97, seed=3, device="cpu")
    for other in (ppo, pepg):
        other._setup_learn(48)
        other.policy.load_state_dict(mine.policy.state_dict())
        other.rollout_buffer = copy.deepcopy(mine.rollout_buffer)
        other._recorder = mine._recorder
        other.set_logger(Logger(folder=None, output_formats=[]))
    (batch,) = pepg._batches()
    response = pepg.policy.pepg_loss(batch, pepg._answer).response
    scale = batch.advantages.std() + 1e-8 if normalize else 1.0
    parameters = dict(pepg.policy.named_parameters())
    responses = torch.autograd.grad(response / scale, list(parameters.values()), materialize_grads=True)
    expected, measured = first_gradient(ppo), first_gradient(mine)
    for (name, _), answer in zip(parameters.items(), responses, strict=True):
        total = expected[name] + 0.7 * answer
        torch.testing.assert_close(measured[name], total, rtol=1e-3, atol=1e-6 + 1e-5 * float(total.abs().max()))
    assert float(responses[-1].abs().max()) == 0.0  # the critic's
    assert max(float(answer.abs().max()) for answer in responses) > 1e-5


def policies(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.policy.parameters()])


@pytest.mark.parametrize("target_kl", [None, 1e-3])
def test_without_the_answer_it_is_ppo_bit_for_bit(target_kl):
    arguments = {"n_steps": 16, "batch_size": 24, "n_epochs": 3, "gamma": 0.97, "seed": 3, "device": "cpu"}
    arguments |= {"ent_coef": 0.01, "clip_range": 0.1, "target_kl": target_kl, "learning_rate": 3e-3}
    ppo = PPO("MlpPolicy", world(), **arguments).learn(256, callback=DeployCallback())
    mine = PerformativePPO("MlpPolicy", world(), performative_coef=0.0, **arguments).learn(256)
    assert torch.equal(policies(ppo), policies(mine))
    answering = PerformativePPO("MlpPolicy", world(), performative_coef=1.0, **arguments).learn(256)
    assert not torch.equal(policies(ppo), policies(answering))


def test_without_the_answer_it_is_npg_bit_for_bit():
    arguments = {"n_steps": 16, "batch_size": 24, "gamma": 0.97, "seed": 3, "device": "cpu"}
    npg = NPG("MlpPolicy", world(), **arguments).learn(256, callback=DeployCallback())
    mine = PerformativeNPG("MlpPolicy", world(), performative_coef=0.0, **arguments).learn(256)
    assert torch.equal(policies(npg), policies(mine))
    answering = PerformativeNPG("MlpPolicy", world(), performative_coef=1.0, **arguments).learn(256)
    assert not torch.equal(policies(npg), policies(answering))


@pytest.mark.parametrize("performative_coef", [0.0, 0.5, 1.0])
def test_on_exact_data_the_step_is_the_natural_performative_gradient(filled, table_of, performative_coef):
    """Visits as the occupancy has them, exact advantages and critic: the step of the planner, in closed form."""
    venv = world("SoftmaxPeMDP-v0", n_envs=1)
    problem = venv.get_attr("problem")[0]
    pi = torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double(), -1)
    terms = exact.gradient_terms(problem, pi)
    gradient = terms.policy + performative_coef * terms.response
    planned = torch.softmax(torch.log(pi) + natural_step(0.02)(gradient, terms), -1)
    counts = (20_000 * terms.occupancy[:, None] * pi).round().long().numpy()
    model = filled(
        PerformativeNPG,
        pi,
        counts,
        exact.advantages(problem, pi).numpy(),
        venv,
        performative_coef=performative_coef,
        step_size=0.02 / (1.0 - problem.gamma),
        target_kl=None,
        normalize_advantage=False,
        cg_damping=0.0,
        cg_max_steps=10,  # the rank of the Fisher information
        n_critic_updates=0,
    )
    with torch.no_grad():
        model.policy.value_net.weight.copy_(exact.state_values(problem, pi)[None])
    model.train()
    assert (planned - pi).abs().max() > 0.01
    np.testing.assert_allclose(table_of(model), planned, atol=2e-4)


def test_the_response_is_clipped_action_by_action():
    model = PerformativePPO("SoftmaxPolicy", world(), performative_coef=1.0, clip_range=0.1, **PPO_ARGUMENTS)
    collect(model)
    model._begin_round()
    old, slope = (part.double() for part in model._linear[:2])
    with torch.no_grad():
        model.policy.action_net.weight += 0.3 * torch.randn(4, len(old), generator=torch.Generator().manual_seed(0))
    pi = torch.softmax(model.policy.action_net.weight.detach().T.double(), -1)
    expected, clipped = 0.0, 0
    for s, a in np.ndindex(*pi.shape):
        near = min(max(pi[s, a], 0.9 * old[s, a]), 1.1 * old[s, a])
        expected += float(min((pi - old)[s, a] * slope[s, a], (near - old[s, a]) * slope[s, a]))
        clipped += float(near * slope[s, a]) < float(pi[s, a] * slope[s, a])
    assert clipped > 0
    assert model._response_surrogate(0.1).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert model._response_surrogate().item() == pytest.approx(float((pi * slope).sum()), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("algorithm", [PerformativePPO, PerformativeNPG])
def test_the_policy_is_deployed_at_the_start_of_every_rollout(algorithm):
    agree = []

    class Deployed(BaseCallback):
        def _on_rollout_start(self):
            problem = self.training_env.get_attr("problem")[0]
            table = policy_table(self.model, np.arange(problem.n_states), problem.n_actions)
            agree.append(np.allclose(self.training_env.get_attr("rounds")[0].policy.probs, table))

        def _on_step(self):
            return True

    model = algorithm("MlpPolicy", world(), n_steps=8, batch_size=32, learning_rate=0.05, seed=0, device="cpu")
    model.learn(160, callback=Deployed(), log_interval=1000)
    assert agree == [True] * 5
    assert model.get_env().get_attr("round")[0] == 5
    assert {"perf/round", "perf/shift", "perf/reward_shift"} <= set(model.logger.name_to_value)
    assert {"train/performative_coef", "train/response_loss"} <= set(model.logger.name_to_value)


@pytest.mark.parametrize("algorithm", [PerformativePPO, PerformativeNPG])
def test_a_saved_model_comes_back_and_meets_its_world_again(algorithm, tmp_path):
    model = algorithm("SoftmaxPolicy", world(), n_steps=8, batch_size=32, seed=0, device="cpu").learn(64)
    model.save(tmp_path / "model")
    alone = algorithm.load(tmp_path / "model", device="cpu")
    assert torch.equal(policies(model), policies(alone))
    assert alone.gamma == model.gamma == model.get_env().get_attr("problem")[0].gamma
    assert alone.performative_coef == model.performative_coef
    alone.set_env(world())
    alone.learn(64)
    again = algorithm.load(tmp_path / "model", env=world(seed=5), device="cpu")
    assert again._answer is not None
    again.learn(64)


@pytest.mark.parametrize("algorithm", [PerformativePPO, PerformativeNPG])
def test_in_an_ordinary_environment_it_warns_or_refuses(algorithm):
    with pytest.warns(UserWarning, match=f"{algorithm.__name__} trains without response terms"):
        algorithm("MlpPolicy", gym.make("CartPole-v1"), n_steps=16, batch_size=16, device="cpu").learn(16)
    with pytest.raises(ValueError, match="strict=True"):
        algorithm("MlpPolicy", gym.make("CartPole-v1"), strict=True)


@pytest.mark.parametrize("algorithm", [PerformativePPO, PerformativeNPG])
def test_normalised_rewards_are_refused(algorithm):
    with pytest.raises(ValueError, match="norm_reward=False"):
        algorithm("MlpPolicy", VecNormalize(world(), norm_obs=False))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [PerformativePPO, PerformativeNPG])
def test_it_learns_prices_that_stay_good_after_the_customers_have_answered(algorithm):
    venv = make_vec_env("PerformativePricing-v0", n_envs=64, seed=0)
    problem = venv.get_attr("problem")[0]
    model = algorithm("MlpPolicy", venv, seed=0, device="cpu").learn(30_000)
    # The best a policy can do that takes the market as it stands is 9.40; uniform prices earn 6.48.
    assert exact.performative_value(problem, policy_table(model, np.arange(81), 8)).item() > 10.0


def test_normalised_the_natural_step_keeps_its_direction(filled, table_of):
    """Divided by the deviation of the advantages as they are: a step size that much longer goes to the same place."""
    venv = world("SoftmaxPeMDP-v0", n_envs=1)
    problem = venv.get_attr("problem")[0]
    pi = torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double(), -1)
    occupancy, advantages = exact.occupancy(problem, pi), exact.advantages(problem, pi).numpy()
    counts = (5_000 * occupancy[:, None] * pi).round().long().numpy()
    scale = float(np.repeat(advantages.ravel(), counts.ravel()).std(ddof=1))
    assert abs(scale - 1.0) > 0.1
    settings = {"performative_coef": 1.0, "target_kl": None, "cg_damping": 0.0, "n_critic_updates": 0}
    tables = []
    for normalize, step_size in ((False, 0.1), (True, 0.1 * scale)):
        arguments = settings | {"normalize_advantage": normalize, "step_size": step_size, "cg_max_steps": 10}
        model = filled(PerformativeNPG, pi, counts, advantages, venv, **arguments)
        with torch.no_grad():
            model.policy.value_net.weight.copy_(exact.state_values(problem, pi)[None])
        model.train()
        tables.append(table_of(model))
    assert np.abs(tables[0] - pi.numpy()).max() > 0.01
    np.testing.assert_allclose(tables[1], tables[0], atol=2e-4)
