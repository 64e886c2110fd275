"""One step of the methods that learn from samples, worked out again from what was deployed and what it paid."""

import inspect

import numpy as np
import pytest
from stable_baselines3 import A2C

from agents import make_vec_env
from agents.retraining import (
    OccupancyProgram,
    RepeatedRetraining,
    ZerothOrderFrankWolfe,
    delayed_repeated_retraining,
    empirical_model,
    mixed_delayed_repeated_retraining,
    repeated_gradient_ascent,
    repeated_retraining,
    zeroth_order_frank_wolfe,
)
from perf_envs import exact
from tests.agents.retraining.worlds import PRICING, SOFTMAX
from tests.perf_envs.worlds import make_world

SEASON = {"horizon": 4, "inventory": 3, "n_prices": 3}


class Diary:
    """Writes down every deployment, and the rewards and ends that followed it."""

    def __init__(self, venv):
        self.tables, self.rounds = [], []
        call, step = venv.env_method, venv.step

        def env_method(name, *args, **kwargs):
            if name == "deploy":
                self.tables.append(np.array(args[0]))
                self.rounds.append([])
            return call(name, *args, **kwargs)

        def noted_step(actions):
            result = step(actions)
            self.rounds[-1].append((result[1].copy(), result[2].copy()))
            return result

        venv.env_method, venv.step = env_method, noted_step

    def value(self, round_, gamma):
        """Return the mean discounted return of the first episode of every agent."""
        n_agents = len(self.rounds[round_][0][0])
        returns = np.zeros(n_agents)
        for agent in range(n_agents):
            for t, (rewards, dones) in enumerate(self.rounds[round_]):
                returns[agent] += gamma**t * rewards[agent]
                if dones[agent]:
                    break
        return returns.mean()


@pytest.mark.parametrize("step_size", [None, 0.3])
def test_a_step_of_frank_wolfe_is_that_of_the_returns_of_first_episodes(step_size):
    """Seasons last four steps and rounds ten: what is earned after the first season must not count."""
    venv = make_vec_env(PRICING, 8, seed=0, env_kwargs=SEASON)
    diary = Diary(venv)
    model = ZerothOrderFrankWolfe(
        "TabularPolicy",
        venv,
        n_steps=10,
        gamma=0.7,
        n_directions=3,
        border=0.1,
        radius=0.05,
        step_size=step_size,
        seed=0,
    )
    model.learn(2 * 6 * 80)
    pi = np.full((13, 3), 1 / 3)
    for update in range(2):
        rounds = range(6 * update, 6 * update + 6)
        gradient = np.zeros_like(pi)
        for ahead, behind in zip(rounds[::2], rounds[1::2], strict=True):
            direction = (diary.tables[ahead] - pi) / 0.05
            np.testing.assert_allclose(np.linalg.norm(direction), 1.0)
            np.testing.assert_allclose(direction.sum(-1), 0.0, atol=1e-12)
            np.testing.assert_allclose(diary.tables[behind], pi - 0.05 * direction)
            difference = diary.value(ahead, 0.7) - diary.value(behind, 0.7)
            gradient += 13 * (3 - 1) / (2 * 3 * 0.05) * difference * direction
        vertex = np.where(np.arange(3) == gradient.argmax(-1)[:, None], 0.8, 0.1)
        gap = (gradient * (vertex - pi)).sum()
        pi = pi + (step_size or 2 / (update + 2)) * (vertex - pi)
    np.testing.assert_allclose(model.policy.table, pi)
    assert model.logger.name_to_value["train/frank_wolfe_gap"] == pytest.approx(gap)
    assert model.logger.name_to_value["train/n_updates"] == 2


def test_gradient_ascent_steps_up_from_what_was_visited_and_then_from_what_was_planned(monkeypatch):
    played = []
    play = RepeatedRetraining._play

    def noted(self, *args):
        played.append(play(self, *args))
        return played[-1]

    monkeypatch.setattr(RepeatedRetraining, "_play", noted)
    settings = {"n_states": 4, "n_actions": 2, "gamma": 0.8}
    venv = make_vec_env(SOFTMAX, 10, seed=0, env_kwargs=settings)
    model = RepeatedRetraining("TabularPolicy", venv, n_steps=60, regularization=0.5, ascent_rate=0.4, seed=0)
    model.learn(1200)
    assert len(played) == 2
    rho = make_world(SOFTMAX, **settings).problem.rho.numpy()
    shares = np.zeros((4, 2))
    for state, action in zip(played[0].states, played[0].actions, strict=True):
        shares[state, action] += 1 / 600
    planned = shares / 0.2  # the mass of an unnormalised occupancy is 1 / (1 - gamma)
    for drawn in played:
        seen = empirical_model([drawn], rho, 2, None, "avoid")
        target = (1 - 0.4 * 0.5) * planned + 0.4 * seen.rewards
        solution = OccupancyProgram(rho, 0.8, 1.0).solve(seen, target)
        planned = solution.occupancy.numpy()
    np.testing.assert_allclose(model.policy.table, solution.policy, atol=1e-9)
    assert model.logger.name_to_value["train/n_updates"] == 2


def test_a_round_that_is_no_policys_last_does_not_change_it():
    """Two rounds per retraining: after one the policy stands, and the next retraining has two new ones."""
    venv = make_vec_env(SOFTMAX, 10, seed=0, env_kwargs={"n_states": 4, "n_actions": 2})
    diary = Diary(venv)
    model = RepeatedRetraining("TabularPolicy", venv, n_steps=60, k=2, seed=0)
    model.learn(5 * 600)
    tables = diary.tables
    assert len(tables) == 5
    np.testing.assert_array_equal(tables[0], tables[1])
    np.testing.assert_array_equal(tables[2], tables[3])
    assert np.abs(tables[1] - tables[2]).max() > 0.01
    assert np.abs(tables[3] - tables[4]).max() > 0.001
    np.testing.assert_array_equal(tables[4], model.policy.table)


@pytest.mark.parametrize("algorithm", [RepeatedRetraining, ZerothOrderFrankWolfe])
@pytest.mark.parametrize("name", ["stats_window_size", "tensorboard_log", "verbose", "seed", "_init_setup_model"])
def test_what_is_as_in_stable_baselines_has_its_default(algorithm, name):
    mine, theirs = (inspect.signature(one).parameters[name].default for one in (algorithm, A2C))
    assert mine == theirs


@pytest.mark.parametrize(
    ("algorithm", "name", "taken", "refused"),
    [
        (RepeatedRetraining, "k", 1, 0),
        (RepeatedRetraining, "regularization", 0.0, -1e-9),
        (RepeatedRetraining, "ascent_rate", 1e-9, 0.0),
        (RepeatedRetraining, "v", 1.0 + 1e-9, 1.0),
        (RepeatedRetraining, "gamma", 1 - 1e-9, 1.0),
        (RepeatedRetraining, "gamma", 1e-9, 0.0),
        (ZerothOrderFrankWolfe, "border", 0.5 - 1e-9, 0.5),
        (ZerothOrderFrankWolfe, "border", 1e-9, 0.0),
        (ZerothOrderFrankWolfe, "radius", 0.05 - 1e-9, 0.05),
        (ZerothOrderFrankWolfe, "radius", 1e-9, 0.0),
        (ZerothOrderFrankWolfe, "step_size", 1.0, 1.0 + 1e-9),
        (ZerothOrderFrankWolfe, "step_size", 1e-9, 0.0),
        (ZerothOrderFrankWolfe, "n_directions", 1, 0),
    ],
)
def test_ranges_end_where_the_docstring_says(algorithm, name, taken, refused):
    venv = make_vec_env(SOFTMAX, 2, env_kwargs={"n_states": 3, "n_actions": 2})
    algorithm("TabularPolicy", venv, **{name: taken})
    with pytest.raises(ValueError, match=name):
        algorithm("TabularPolicy", venv, **{name: refused})


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("n_iterations", 1, 0),
        ("n_directions", 1, 0),
        ("border", 0.5 - 1e-9, 0.5),
        ("radius", 0.01 - 1e-9, 0.01),
        ("step_size", 1.0, 1.0 + 1e-9),
        ("entropy_coef", 0.0, -1e-9),
        ("seed", 0, -1),
    ],
)
def test_ranges_of_the_planner_end_where_the_docstring_says(name, taken, refused):
    problem = make_world(SOFTMAX, n_states=3, n_actions=2).problem
    few = {"n_iterations": 1, "n_directions": 1}
    zeroth_order_frank_wolfe(problem, **few | {name: taken})
    with pytest.raises(ValueError, match=name):
        zeroth_order_frank_wolfe(problem, **few | {name: refused})
    with pytest.raises(ValueError, match="problem must be a PerformativeMDP"):
        zeroth_order_frank_wolfe(make_world(SOFTMAX), **few)


def test_frank_wolfe_keeps_the_policy_around_which_values_were_best():
    """Values rise up to the third iteration and then fall, whatever is asked about."""
    problem = make_world(SOFTMAX, n_states=3, n_actions=2).problem
    asked = []

    def query(pi):
        asked.append(pi.clone())
        return -abs((len(asked) - 1) // 4 - 2) + float(pi[0, 0])

    result = zeroth_order_frank_wolfe(problem, n_iterations=5, n_directions=2, value_query=query, seed=0)
    assert len(asked) == 20
    assert result.n_iter == 5
    np.testing.assert_array_equal(result.policy, result.policies[2])
    np.testing.assert_array_equal(result.deployments, [0, 4, 8, 12, 16, 20])
    assert result.value == pytest.approx(exact.performative_value(problem, result.policy).item())


def test_a_world_that_watches_is_told_to_wait_for_deployments():
    """It would answer the actions it has seen every five steps, and the samples be those of many worlds."""
    venv = make_vec_env(SOFTMAX, 2, seed=0, env_kwargs={"n_states": 3, "n_actions": 2, "round_length": 5})
    RepeatedRetraining("TabularPolicy", venv, n_steps=40, seed=0).learn(240)
    assert venv.get_attr("rounds")[0].deployment == "declared"
    assert venv.get_attr("round")[0] == 3


def test_without_a_seed_the_methods_draw_what_seed_zero_draws():
    problem = make_world(SOFTMAX, n_states=3, n_actions=2).problem
    for method, settings in (
        (repeated_retraining, {}),
        (repeated_gradient_ascent, {}),
        (delayed_repeated_retraining, {"k": 2}),
        (mixed_delayed_repeated_retraining, {"k": 2}),
    ):
        arguments = settings | {"n_iterations": 1, "n_samples": 300}
        bare, zero, one = (method(problem, **arguments, **seed).policy for seed in ({}, {"seed": 0}, {"seed": 1}))
        np.testing.assert_array_equal(bare, zero)
        assert not np.array_equal(bare, one)


def test_callbacks_are_told_of_episodes_that_a_time_limit_ends():
    """Samples say that nothing ended, since the world would have gone on; the training did end an episode."""
    told = []
    venv = make_vec_env(SOFTMAX, 2, seed=0, env_kwargs={"n_states": 3, "n_actions": 2}, max_episode_steps=5)
    model = RepeatedRetraining("TabularPolicy", venv, n_steps=10, seed=0)
    model.learn(20, callback=lambda seen, _: told.append(seen["dones"].copy()) or True)
    np.testing.assert_array_equal(np.flatnonzero(np.all(told, axis=1)), [4, 9])
    assert np.sum(told) == 4


@pytest.mark.parametrize("name", ["regularization", "k", "v", "regularizer"])
def test_planners_and_sampled_methods_have_the_same_defaults(name):
    """``lambda`` is 1 as in the published runs."""
    methods = (
        repeated_retraining,
        repeated_gradient_ascent,
        delayed_repeated_retraining,
        mixed_delayed_repeated_retraining,
    )
    defaults = [
        inspect.signature(method).parameters[name].default for method in methods if name in signature_of(method)
    ]
    assert len(set(defaults)) == 1
    if name in {"regularization", "regularizer"}:
        assert inspect.signature(RepeatedRetraining).parameters[name].default == defaults[0]
    if name == "regularization":
        assert defaults[0] == 1.0


def signature_of(method):
    return inspect.signature(method).parameters


def test_episodes_cut_by_a_time_limit_are_over_too():
    venv = make_vec_env("SoftmaxPeMDP-v0", 8, seed=0, env_kwargs={"n_states": 4, "n_actions": 2}, max_episode_steps=3)
    diary = Diary(venv)
    model = ZerothOrderFrankWolfe("TabularPolicy", venv, n_steps=10, gamma=0.9, n_directions=1, seed=0)
    model.learn(80)
    assert model._values[0] == pytest.approx(diary.value(0, 0.9))
