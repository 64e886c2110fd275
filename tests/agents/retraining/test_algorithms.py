"""The retraining methods as Stable-Baselines3 algorithms."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents import make_vec_env
from agents.retraining import (
    OccupancyProgram,
    RepeatedRetraining,
    TabularPolicy,
    ZerothOrderFrankWolfe,
    empirical_model,
    repeated_retraining,
    round_weights,
)
from perf_envs import exact, policy_table
from tests.agents.retraining.worlds import GRID, SOFTMAX
from tests.perf_envs.worlds import make_world, random_policy

SMALL = {"n_states": 3, "n_actions": 2}
BUILD = {
    "rr": (RepeatedRetraining, {}),
    "rga": (RepeatedRetraining, {"ascent_rate": 0.1}),
    "drr": (RepeatedRetraining, {"k": 2}),
    "mdrr": (RepeatedRetraining, {"k": 2, "v": 1.5}),
    "zofw": (ZerothOrderFrankWolfe, {"n_directions": 1}),
}
algorithms = pytest.mark.parametrize("name", BUILD)


def make(name, world=SOFTMAX, n_envs=8, env_kwargs=SMALL, seed=0, **settings):
    build, own = BUILD[name]
    venv = make_vec_env(world, n_envs, seed=seed, env_kwargs=env_kwargs)
    return build("TabularPolicy", venv, seed=seed, **{"n_steps": 25, **own, **settings})


@algorithms
def test_it_runs_deploys_saves_and_loads(name, tmp_path):
    model = make(name).learn(2000)
    assert model.num_timesteps == 2000
    assert model.get_env().get_attr("round")[0] == 10  # one deployment per rollout of 200 steps
    table = model.policy.table.numpy()
    np.testing.assert_allclose(table.sum(-1), 1.0)
    assert np.abs(table - 0.5).max() > 1e-3
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=model.get_env())
    np.testing.assert_array_equal(loaded.policy.table.numpy(), table)
    loaded.learn(200)


@algorithms
def test_the_same_seed_learns_the_same_policy(name):
    first, again, other = (make(name, seed=seed).learn(2000).policy.table for seed in (3, 3, 4))
    assert torch.equal(first, again)
    if name != "zofw":  # whose policies are few: vertices of a small polytope
        assert not torch.equal(first, other)


def test_repeated_retraining_on_many_samples_ends_near_the_exact_method():
    env_kwargs = {"n_followers": 3}
    model = make("rr", GRID, 64, env_kwargs, n_steps=500).learn(8 * 32_000)
    target = repeated_retraining(make_world(GRID, **env_kwargs).problem, 1.0, 8)
    visits = exact.occupancy(make_world(GRID, **env_kwargs).problem, target.policy).numpy()
    error = np.abs(model.policy.table.numpy() - target.policy.numpy()).max(-1)
    assert (visits * error).sum() < 0.1


@pytest.mark.parametrize(("name", "weights"), [("drr", [0.0, 1.0]), ("mdrr", list(round_weights(2, 1.5)))])
def test_it_retrains_after_k_rounds_of_one_policy_with_their_weights(name, weights, monkeypatch):
    seen = []
    play = RepeatedRetraining._play
    monkeypatch.setattr(
        RepeatedRetraining,
        "_play",
        lambda self, *args: seen.append((args[-1].clone(), play(self, *args))) or seen[-1][1],
    )
    model = make(name, env_kwargs={**SMALL, "adaptation_rate": 0.5}).learn(400)
    assert len(seen) == 2
    assert torch.equal(seen[0][0], seen[1][0])
    used = [(drawn, w) for (_, drawn), w in zip(seen, weights, strict=True) if w > 0]
    rounds, shares = zip(*used, strict=True)
    world = make_world(SOFTMAX, **SMALL)
    expected = empirical_model(rounds, world.problem.rho.numpy(), 2, shares, "avoid")
    solution = OccupancyProgram(world.problem.rho, world.gamma).solve(expected)
    np.testing.assert_allclose(model.policy.table, solution.policy, atol=1e-12)


def test_terminal_states_are_recorded_as_ends_and_truncations_are_not():
    model = make("rr", GRID, 16, {"n_followers": 2}, n_steps=300)
    rounds = []
    train = model.train
    model.train = lambda: rounds.extend(model._rounds) or train()
    model.learn(16 * 300)
    (drawn,) = rounds
    goal = 63
    assert drawn.terminated.any()
    assert (drawn.next_states[drawn.terminated] == goal).all()
    assert not (drawn.states == goal).any()
    # Every step leads where a step can lead: the cell itself or a neighbour, not the start of the next episode.
    rows, columns = np.divmod(drawn.states, 8)
    next_rows, next_columns = np.divmod(drawn.next_states, 8)
    assert (np.abs(rows - next_rows) + np.abs(columns - next_columns) <= 1).all()


def test_frank_wolfe_deploys_perturbed_policies_and_climbs():
    venv = make_vec_env(SOFTMAX, 64, seed=0, env_kwargs=SMALL)
    deployed = []
    deploy = venv.env_method
    venv.env_method = lambda name, *args, **kwargs: (
        (deployed.append(args[0]) if name == "deploy" else None) or deploy(name, *args, **kwargs)
    )
    model = ZerothOrderFrankWolfe("TabularPolicy", venv, n_steps=50, n_directions=4, border=0.1, seed=0)
    model.learn(64 * 50 * 40)
    assert len(deployed) == 40
    np.testing.assert_allclose(deployed[0] + deployed[1], 1.0)  # around the uniform policy
    np.testing.assert_allclose(np.linalg.norm(deployed[0] - 0.5), 0.09)
    problem = make_world(SOFTMAX, **SMALL).problem
    start = float(exact.performative_value(problem, np.full((3, 2), 0.5)))
    assert float(exact.performative_value(problem, model.policy.table)) > start
    assert float(model.policy.table.min()) >= 0.1 - 1e-12


def test_a_tabular_policy_gives_and_samples_its_probabilities():
    world = make_world(SOFTMAX, n_states=3, n_actions=4)
    policy = TabularPolicy(world.observation_space, world.action_space)
    table = random_policy(world.problem, 0)
    table[0] = [0.0, 1.0, 0.0, 0.0]
    policy.set_table(table)
    np.testing.assert_allclose(policy_table(policy, world.query_observations, 4), table, atol=1e-12)
    rng = np.random.default_rng(0)
    drawn = policy.sample(np.repeat(np.arange(3), 20_000), rng).reshape(3, -1)
    shares = np.stack([np.bincount(row, minlength=4) for row in drawn]) / 20_000
    np.testing.assert_allclose(shares, table, atol=0.015)
    actions, _ = policy.predict(np.arange(3), deterministic=True)
    np.testing.assert_array_equal(actions, table.argmax(-1))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("rr", {"k": 0}, "k must be >= 1, got 0"),
        ("mdrr", {"v": 1.0}, "v must be > 1, got 1.0"),
        ("rr", {"regularization": -1.0}, "regularization must be >= 0, got -1"),
        ("rr", {"regularizer": "l3"}, "regularizer must be one of"),
        ("rga", {"ascent_rate": 0.0}, "ascent_rate must be > 0, got 0"),
        ("rga", {"regularizer": "entropy"}, "regularizer must be 'l2' with an ascent_rate, got 'entropy'"),
        ("rr", {"n_steps": 0}, "n_steps must be >= 1, got 0"),
        ("rr", {"gamma": 1.0}, "gamma must be > 0 and < 1, got 1"),
        ("zofw", {"border": 0.5}, "border must be > 0 and < 0.5, got 0.5"),
        ("zofw", {"radius": 0.2}, "radius must be > 0 and < 0.05, got 0.2"),
        ("zofw", {"step_size": 0.0}, "step_size must be > 0 and <= 1, got 0"),
        ("zofw", {"n_directions": 0}, "n_directions must be >= 1, got 0"),
    ],
)
def test_bad_arguments_are_named_with_their_value(name, settings, message):
    with pytest.raises(ValueError, match=message):
        make(name, **settings)


def test_worlds_that_are_not_performative_or_are_normalised_are_refused():
    with pytest.raises(ValueError, match="env must be a performative world"):
        RepeatedRetraining("TabularPolicy", DummyVecEnv([lambda: gym.make("FrozenLake-v1")]))
    venv = VecNormalize(make_vec_env(SOFTMAX, 2, env_kwargs=SMALL), norm_obs=False)
    with pytest.raises(ValueError, match="must not be normalised"):
        RepeatedRetraining("TabularPolicy", venv)
    box = gym.spaces.Box(-1, 1, (2,))
    with pytest.raises(ValueError, match="observation_space of TabularPolicy must be Discrete"):
        TabularPolicy(box, gym.spaces.Discrete(2))


def test_a_callback_can_stop_the_training():
    model = make("rr").learn(2000, callback=lambda *_: False)
    assert model.num_timesteps == 8
