"""The optima shipped for the registered worlds: values, stationarity, and a search that must not beat them."""

import itertools

import numpy as np
import pytest
import torch

from agents.planning import optima
from agents.planning.ascent import Run, step_rule
from agents.planning.optima import climb_kinks, ship
from agents.planning.pepg import FULL, RAMP
from perf_envs import Dynamics, PerformativeMDP, exact
from tests.perf_envs.worlds import IDS, make_world

worlds = pytest.mark.parametrize("world_id", IDS)


def value(problem, pi):
    with torch.no_grad():
        return float(exact.performative_value(problem, pi))


@worlds
def test_the_value_is_that_of_the_policy_and_the_command_is_told(world_id):
    problem = make_world(world_id).problem
    best = exact.best_known(problem)
    assert value(problem, best.policy) == pytest.approx(best.value, abs=1e-9)
    assert best.command == f"python -m agents.planning.optima {world_id}"


@worlds
def test_no_move_towards_an_action_in_a_state_gains_to_first_order(world_id):
    problem = make_world(world_id).problem
    best = exact.best_known(problem)
    for share in (1e-4, 1e-2):
        for state, action in itertools.product(range(problem.n_states), range(problem.n_actions)):
            moved = best.policy.clone()
            moved[state] *= 1.0 - share
            moved[state, action] += share
            assert value(problem, moved) <= best.value + 1e-6 * share


@worlds
def test_sixty_four_random_starts_find_nothing_better(world_id):
    problem = make_world(world_id).problem
    best = exact.best_known(problem).value
    generator = torch.Generator().manual_seed(64)
    found = []
    for index in range(64):
        logits = 2.0 * torch.randn(problem.n_states, problem.n_actions, dtype=torch.float64, generator=generator)
        run = Run(problem, logits).advance(40, (RAMP, FULL)[index % 2], step_rule(problem, "natural", None))
        assert value(problem, run.best.policy) <= best + 1e-9
        found.append(run.best.value)
    assert max(found) > best - 0.05 * abs(best)  # and it is a search worth the name


def test_small_moves_climb_a_kink_that_gradients_point_across():
    # The ridge pi_0 = 0.3 is sharp: -|pi_0 - 0.3| in the reward of the only state.
    def respond(pi):
        rewards = -(pi[:, :1] - 0.3).abs() * torch.ones(1, 2, dtype=torch.float64)
        return Dynamics.from_dense(torch.ones(1, 2, 1, dtype=torch.float64), rewards)

    problem = PerformativeMDP(respond, [1.0], 0.5, n_actions=2)
    climbed = climb_kinks(problem, torch.tensor([[0.9, 0.1]], dtype=torch.float64), n_sweeps=20)
    assert float(climbed[0, 0]) == pytest.approx(0.3, abs=1e-4)


def test_the_best_policy_of_a_benchmark_is_shipped_if_it_is_better_and_never_a_worse_one(tmp_path, monkeypatch):
    name = "SoftmaxPeMDP-v0"
    problem = make_world(name).problem
    best = exact.best_known(problem)
    uniform = np.full(best.policy.shape, 1.0 / problem.n_actions)
    for seed, policy in enumerate((uniform, best.policy.numpy(), uniform)):
        folder = tmp_path / "pepg" / name / f"seed_{seed}"
        folder.mkdir(parents=True)
        np.save(folder / "policy.npy", policy)
    shipped = []
    monkeypatch.setattr(optima, "save_best_known", lambda *arguments: shipped.append(arguments))
    monkeypatch.setattr(optima, "climb_kinks", lambda problem, policy, n_sweeps: policy)
    assert ship(name, tmp_path) == best.value
    assert not shipped

    monkeypatch.setattr(optima, "best_known", lambda problem: exact.BestKnown(best.policy, best.value - 1.0, ""))
    assert ship(name, tmp_path) == pytest.approx(best.value, abs=1e-12)
    assert torch.equal(shipped[0][2], best.policy)
    assert shipped[0][3] == f"python -m agents.planning.optima {name} --from {tmp_path}"


def test_a_folder_without_the_world_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"folder must hold the results of a benchmark in SoftmaxPeMDP-v0@weak"):
        ship("SoftmaxPeMDP-v0@weak", tmp_path)
