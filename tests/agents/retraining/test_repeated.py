"""Repeated retraining on exact dynamics: fixed points, stability, gradual worlds, what is reported."""

import numpy as np
import pytest
import torch

from agents.planning import pepg
from agents.retraining import (
    OccupancyProgram,
    delayed_repeated_retraining,
    mixed_delayed_repeated_retraining,
    occupancy_program,
    repeated_gradient_ascent,
    repeated_retraining,
    round_weights,
    stability_bound,
)
from perf_envs import Dynamics, PerformativeMDP, exact
from perf_envs.tabular_rounds import TabularRounds
from tests.agents.retraining.reference import reference_program
from tests.agents.retraining.worlds import GRID, PRICING, SOFTMAX, still
from tests.perf_envs.worlds import IDS, make_world, random_pemdp, random_policy

METHODS = [
    repeated_retraining,
    repeated_gradient_ascent,
    delayed_repeated_retraining,
    mixed_delayed_repeated_retraining,
]
methods = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
not_settled = pytest.mark.filterwarnings(r"ignore:\w+ had not settled:UserWarning")
#: A weight at which retraining settles, by world.
SETTLES = {GRID: 1.0, PRICING: 30.0, SOFTMAX: 1.0}


@pytest.fixture(scope="module")
def grid():
    return make_world(GRID, n_followers=5).problem


@pytest.mark.parametrize("regularizer", ["l2", "entropy"])
def test_a_settled_policy_solves_the_program_of_its_own_world(grid, regularizer):
    run = repeated_retraining(grid, 1.0, 30, regularizer=regularizer, tolerance=1e-9)
    assert run.converged
    own = occupancy_program(grid.response(run.policy).detach(), 1.0, regularizer)
    np.testing.assert_allclose(own.occupancy, run.planned[-1], atol=1e-7)
    # Half the square of a distance of 1e-9, and the rounding of two sums of 256 terms that come to 30 at most.
    assert stability_bound(grid, run.policy, 1.0, regularizer).regularized_gap < 1e-11


@methods
def test_every_method_settles_in_the_same_place(grid, method):
    settled = repeated_retraining(grid, 1.0, 30, tolerance=1e-9)
    start = random_policy(grid, 0)
    steps = {"n_iterations": 60, "learning_rate": 0.3} if method is repeated_gradient_ascent else {"n_iterations": 20}
    run = method(grid, 1.0, initial_policy=start, adaptation_rate=0.7, tolerance=1e-4, **steps)
    assert run.converged
    np.testing.assert_allclose(run.policy, settled.policy, atol=1e-3)


@pytest.mark.parametrize("world_id", IDS)
@pytest.mark.parametrize(("regularizer", "weight"), [("l2", 1.0), ("l2", 0.05), ("l2", 0.0), ("entropy", 0.1)])
@not_settled
def test_the_stability_gap_is_what_the_regularisation_explains(world_id, regularizer, weight):
    problem = make_world(world_id).problem
    run = repeated_retraining(problem, weight, 10, regularizer=regularizer)
    bound = stability_bound(problem, run.policy, weight, regularizer)
    assert bound.gap == pytest.approx(exact.stability_gap(problem, run.policy), abs=1e-10)
    assert (run.stability_gap, run.stability_bound) == pytest.approx((bound.gap, bound.bound), abs=1e-10)
    assert bound.gap <= bound.bound + 1e-9
    assert bound.bound <= bound.worst_case + bound.regularized_gap + 1e-9
    if run.converged:  # then nothing but the regularisation is left to explain it
        assert bound.regularized_gap <= 1e-3 * (1.0 + abs(bound.explained))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("regularizer", ["l2", "entropy"])
def test_the_bound_holds_at_any_policy_of_any_world(seed, regularizer):
    problem = random_pemdp(seed)
    for concentration in (0.1, 1.0):
        bound = stability_bound(problem, random_policy(problem, seed, concentration), 0.3, regularizer)
        assert bound.gap <= bound.bound + 1e-9
        assert bound.bound <= bound.worst_case + bound.regularized_gap + 1e-9


def test_the_stability_gap_closes_with_the_regularisation(grid):
    gaps = [repeated_retraining(grid, weight, 15).stability_gap for weight in (1.0, 0.1, 0.01, 0.0)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("world_id", IDS)
@not_settled
@pytest.mark.filterwarnings("ignore:pepg stopped before it converged:UserWarning")
def test_the_performative_optimum_is_worth_at_least_as_much_as_any_stable_policy(world_id):
    problem = make_world(world_id).problem
    optimum = pepg(problem, n_iterations=80).value
    for weight in (1.0, 0.1, 0.01, 0.0):
        run = repeated_retraining(problem, weight, 20)
        assert optimum >= float(run.history.max()) - 1e-9


def test_without_regularisation_it_is_best_response_iteration(grid):
    run = repeated_retraining(grid, 0.0, 10)
    stable = exact.stable_policy(grid)
    assert run.value == pytest.approx(float(exact.performative_value(grid, stable.policy)), abs=1e-9)


def test_where_best_responses_chase_each_other_it_does_not_settle_and_says_so():
    problem = make_world(PRICING).problem
    with pytest.warns(UserWarning, match=r"repeated_retraining had not settled after 12 retrainings"):
        run = repeated_retraining(problem, 0.0, 12)
    assert not run.converged
    assert run.stability_gap > 0.1


@pytest.mark.parametrize("regularization", [0.0, 0.5])
def test_the_gradient_step_is_the_projection_of_the_paper(grid, regularization):
    start = random_policy(grid, 1)
    with pytest.warns(UserWarning, match="had not settled"):
        run = repeated_gradient_ascent(grid, regularization, 1, start, learning_rate=0.3)
    world = grid.response(start).detach()
    target = (1 - 0.3 * regularization) * run.planned[0] + 0.3 * world.rewards
    # argmin |d - target|^2 is argmax target.d - |d|^2 / 2
    moved = Dynamics(world.successors, world.probs, target * ~world.absorbing[:, None], absorbing=world.absorbing)
    reference = reference_program(moved, grid.rho, grid.gamma, 1.0)
    assert reference.gap <= 1e-6
    projected = run.planned[1].numpy()
    assert (np.abs(projected - reference.occupancy) <= reference.distance(projected)).all()


def test_after_k_deployments_the_world_has_moved_most_of_the_way(grid):
    """DRR is retraining in the mixture of the unshifted world and the answer, ``1 - (1 - w)^k`` of the way."""
    start, w, k = random_policy(grid, 0), 0.3, 4
    answer, unshifted = grid.response(start).detach(), grid.unshifted().detach()
    with pytest.warns(UserWarning, match="had not settled"):
        run = delayed_repeated_retraining(grid, 1.0, 1, start, k=k, adaptation_rate=w)
    target = OccupancyProgram(grid.rho, grid.gamma).solve(unshifted.mix(answer, 1 - (1 - w) ** k))
    np.testing.assert_allclose(run.planned[1], target.occupancy, atol=1e-9)


def test_mixing_averages_the_worlds_of_the_rounds_with_the_weights(grid):
    start, w, k, v = random_policy(grid, 0), 0.3, 4, 1.5
    with pytest.warns(UserWarning, match="had not settled"):
        run = mixed_delayed_repeated_retraining(grid, 1.0, 1, start, k=k, v=v, adaptation_rate=w)
    answer, unshifted = grid.response(start).detach(), grid.unshifted().detach()
    weights = [(v - 1) / (v**k - 1) * v ** (t - 1) for t in range(1, k + 1)]
    moved = sum(weight * (1 - (1 - w) ** t) for t, weight in enumerate(weights, start=1))
    target = OccupancyProgram(grid.rho, grid.gamma).solve(unshifted.mix(answer, moved))
    np.testing.assert_allclose(run.planned[1], target.occupancy, atol=1e-9)


@pytest.mark.parametrize("n_samples", [None, 300])
def test_delayed_retraining_with_one_round_is_repeated_retraining(n_samples):
    problem = make_world(SOFTMAX, n_states=4, n_actions=2).problem
    settings = {"adaptation_rate": 0.4, "n_samples": n_samples, "tolerance": 1.0, "unvisited": "avoid"}
    one, delayed = (
        method(problem, 1.0, 5, **settings, **extra)
        for method, extra in ((repeated_retraining, {}), (delayed_repeated_retraining, {"k": 1}))
    )
    np.testing.assert_array_equal(one.planned, delayed.planned)


def test_on_samples_mixing_the_rounds_comes_nearer_to_the_stable_point_than_the_last_round_alone():
    """With exact dynamics it is the other way round: the last round is the one in which the world has moved most."""
    problem = make_world(GRID, grid="small4x4", n_followers=3).problem
    stable = repeated_retraining(problem, 1.0, 50).planned[-1]

    def distances(method, **settings):
        run = method(problem, 1.0, 5, k=3, adaptation_rate=0.5, unvisited="avoid", **settings)
        return (run.planned[1:] - stable).flatten(1).norm(dim=1).numpy()

    last, mixed = delayed_repeated_retraining, mixed_delayed_repeated_retraining
    ends = [[distances(method, n_samples=2_000, seed=seed)[-1] for seed in range(6)] for method in (last, mixed)]
    assert np.mean(ends[1]) < 0.85 * np.mean(ends[0])
    with pytest.warns(UserWarning, match="had not settled"):
        assert distances(last)[0] < distances(mixed)[0]


def test_the_weights_of_the_rounds_grow_by_v_and_sum_to_one():
    weights = round_weights(5, 1.8)
    np.testing.assert_allclose(weights[1:] / weights[:-1], 1.8)
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(weights, [(1.8 - 1) / (1.8**5 - 1) * 1.8**t for t in range(5)])
    assert round_weights(1, 2.0).tolist() == [1.0]


@methods
@not_settled
def test_deployments_and_steps_are_counted(method):
    problem = make_world(SOFTMAX, n_states=4, n_actions=2).problem
    rounds = {"k": 3} if "delayed" in method.__name__ else {}
    per = 3 if rounds else 1
    run = method(problem, 1.0, 4, n_samples=200, **rounds)
    assert run.deployments.tolist() == [0, per, 2 * per, 3 * per, 4 * per]
    assert run.env_steps.tolist() == [0, 200 * per, 400 * per, 600 * per, 800 * per]
    assert method(problem, 1.0, 2, **rounds).env_steps.tolist() == [0, 0, 0]
    assert len(run.history) == len(run.policies) == len(run.planned) == len(run.induced) == 5
    assert len(run.planned_change) == len(run.residuals) == run.n_iter == 4
    assert run.method == method.__name__


@methods
@not_settled
def test_what_is_reported_is_exact(method):
    problem = make_world(SOFTMAX, n_states=5, n_actions=3).problem
    run = method(problem, 0.5, 3, adaptation_rate=0.5)
    for policy, value, induced in zip(run.policies, run.history, run.induced, strict=True):
        assert float(exact.performative_value(problem, policy)) == pytest.approx(float(value), abs=1e-11)
        occupancy = exact.occupancy(problem, policy)[:, None] / (1 - problem.gamma) * policy
        np.testing.assert_allclose(induced, occupancy, atol=1e-11)
    assert run.value == float(run.history[-1])
    assert torch.equal(run.policy, run.policies[-1])
    assert float(run.residuals.max()) <= 1e-10


def test_a_world_that_stands_still_is_solved_at_once():
    rng = np.random.default_rng(0)
    world = still(rng.dirichlet(np.ones(4), size=(4, 3)), rng.uniform(size=(4, 3)), np.full(4, 0.25))
    run = repeated_retraining(world, 0.2, 2)
    assert float(run.planned_change[1]) <= 1e-12


def test_no_policy_that_is_not_one_is_deployed(monkeypatch):
    problem = make_world(SOFTMAX, n_states=3, n_actions=2).problem
    deployed = []
    deploy = TabularRounds.deploy
    monkeypatch.setattr(TabularRounds, "deploy", lambda self, policy: deployed.append(policy) or deploy(self, policy))
    broken = PerformativeMDP(
        lambda pi: Dynamics.from_dense(
            problem.response(pi).dense()[0], problem.response(pi).rewards * (1e308 * 10 if len(deployed) > 2 else 1.0)
        ),
        problem.rho,
        0.9,
        n_actions=2,
    )
    with pytest.raises(ValueError, match="rewards at state 0, action 0 must be finite"):
        repeated_retraining(broken, 1.0, 5)
    assert len(deployed) == 3
    assert all(bool(torch.isfinite(torch.as_tensor(policy)).all()) for policy in deployed)


@methods
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regularization": -0.1}, "regularization must be >= 0, got -0.1"),
        ({"n_iterations": 0}, "n_iterations must be >= 1, got 0"),
        ({"adaptation_rate": 0.0}, "adaptation_rate must be > 0 and <= 1, got 0"),
        ({"adaptation_rate": 1.5}, "adaptation_rate must be > 0 and <= 1, got 1.5"),
        ({"tolerance": -1.0}, "tolerance must be >= 0"),
        ({"n_samples": 0}, "n_samples must be >= 1, got 0"),
        ({"initial_policy": [[0.5, 0.5]]}, "initial_policy must have shape"),
        ({"initial_policy": [[0.5, 0.6]] * 3}, "initial_policy at state 0 must sum to 1"),
    ],
)
def test_bad_arguments_are_named_with_their_value(method, arguments, message):
    problem = make_world(SOFTMAX, n_states=3, n_actions=2).problem
    with pytest.raises(ValueError, match=message):
        method(problem, **arguments)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (delayed_repeated_retraining, {"k": 0}, "k must be >= 1, got 0"),
        (mixed_delayed_repeated_retraining, {"k": 0}, "k must be >= 1, got 0"),
        (mixed_delayed_repeated_retraining, {"k": 2.5}, "k must be a whole number"),
        (mixed_delayed_repeated_retraining, {"v": 1.0}, "v must be > 1, got 1.0"),
        (mixed_delayed_repeated_retraining, {"v": 0.5}, "v must be > 1, got 0.5"),
        (repeated_gradient_ascent, {"learning_rate": 0.0}, "learning_rate must be > 0, got 0"),
        (repeated_retraining, {"regularizer": "l3"}, "regularizer must be one of"),
    ],
)
def test_arguments_of_their_own_are_checked_too(method, arguments, message):
    with pytest.raises(ValueError, match=message):
        method(make_world(SOFTMAX, n_states=3, n_actions=2).problem, **arguments)


def test_a_world_in_place_of_its_problem_is_refused():
    with pytest.raises(ValueError, match=r"problem must be a PerformativeMDP \(env.unwrapped.problem\)"):
        repeated_retraining(make_world(SOFTMAX))
