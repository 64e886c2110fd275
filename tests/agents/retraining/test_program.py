"""The occupancy program against cvxpy, policy iteration and its own optimality conditions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.retraining import OccupancyProgram, occupancy_program
from agents.retraining.model import TabularModel
from agents.retraining.program import LARGEST_RESIDUAL
from perf_envs import Dynamics, exact
from perf_envs.exact.values import evaluate
from tests.agents.retraining.reference import reference_program
from tests.agents.retraining.worlds import GRID, PRICING, SOFTMAX, still
from tests.perf_envs.worlds import IDS, dense, make_world, random_pemdp, random_policy

FORMS = [("l2", 10.0), ("l2", 1.0), ("l2", 0.01), ("l2", 0.0), ("entropy", 1.0), ("entropy", 0.05)]
forms = pytest.mark.parametrize(("regularizer", "regularization"), FORMS)
SMALL = {GRID: {"n_followers": 3}, PRICING: {"horizon": 4, "inventory": 3}, SOFTMAX: {}}


def answers(world_id):
    problem = make_world(world_id, **SMALL[world_id]).problem
    return [problem.unshifted(), *(problem.response(random_policy(problem, seed)).detach() for seed in range(2))]


def conditions(dynamics, d, h, regularization, regularizer):
    """Return the largest violation of the optimality conditions, from dense arrays and loops alone."""
    P, r = dense(dynamics)
    rho, gamma = dynamics.rho.numpy(), dynamics.gamma
    worst = 0.0
    for state in range(len(r)):
        if dynamics.absorbing[state]:
            assert (d[state] == 0.0).all()
            continue
        worst = max(worst, abs(d[state].sum() - rho[state] - gamma * (d * P[:, :, state]).sum()))
        if d[state].sum() == 0.0:
            continue  # nothing leads there
        for action in range(r.shape[1]):
            advantage = r[state, action] - h[state] + gamma * P[state, action] @ h
            if regularizer == "entropy":
                slope = advantage - regularization * (np.log(d[state, action]) + 1.0)
                worst = max(worst, abs(slope) * d[state, action])
            else:
                worst = max(worst, abs(min(d[state, action], regularization * d[state, action] - advantage)))
    return worst


@forms
@pytest.mark.parametrize("world_id", IDS)
def test_it_agrees_with_cvxpy_and_meets_its_optimality_conditions(world_id, regularizer, regularization):
    for dynamics in answers(world_id):
        solution = occupancy_program(dynamics, regularization, regularizer)
        d, h = solution.occupancy.numpy(), solution.multipliers.numpy()
        reference = reference_program(dynamics, dynamics.rho, dynamics.gamma, regularization, regularizer)
        # What the reference's solver promises even where it stops early, of the objective.
        assert reference.gap <= 1e-4 * (1.0 + abs(reference.objective))
        assert reference.bound - reference.gap <= solution.objective <= reference.objective + reference.gap
        if regularization > 0.0:
            assert (np.abs(d - reference.occupancy) <= reference.distance(d)).all()
        assert solution.residual <= 1e-12
        assert conditions(dynamics, d, h, regularization, regularizer) <= 1e-10


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["l2", "entropy"]), st.floats(-5, 2))
def test_random_worlds_are_solved_to_rounding(seed, regularizer, exponent):
    problem = random_pemdp(seed)
    dynamics = problem.response(random_policy(problem, seed, 0.3)).detach()
    weight = 10.0 ** (exponent if regularizer == "l2" else max(exponent, -2.0))
    solution = occupancy_program(dynamics, weight, regularizer)
    assert solution.residual <= 1e-11
    # The occupancy of the policy is the occupancy planned: nothing has been lost in between.
    visits = exact.occupancy(dynamics, solution.policy) / (1.0 - dynamics.gamma)
    np.testing.assert_allclose(visits[:, None] * solution.policy, solution.occupancy, atol=1e-8)


@pytest.mark.parametrize("world_id", IDS)
def test_without_regularisation_it_is_optimal_control(world_id):
    for dynamics in answers(world_id):
        solution = occupancy_program(dynamics, 0.0)
        _, values = exact.optimal_policy(dynamics)
        best = float(dynamics.rho @ values)
        assert solution.objective == pytest.approx(best, abs=1e-10)
        assert float(dynamics.rho @ evaluate(dynamics, solution.policy).state_values) == pytest.approx(best, abs=1e-10)


@pytest.mark.parametrize("regularizer", ["l2", "entropy"])
def test_it_becomes_the_linear_program_as_the_weight_goes_to_zero(regularizer):
    dynamics = answers(GRID)[1]
    best = occupancy_program(dynamics, 0.0).objective
    mass = 1.0 / (1.0 - dynamics.gamma)
    last = np.inf
    for weight in (1.0, 0.1, 0.01, 1e-3, *((1e-5, 1e-7) if regularizer == "l2" else ())):
        value = float((occupancy_program(dynamics, weight, regularizer).occupancy * dynamics.rewards).sum())
        gap = best - value
        spread = 0.5 * mass**2 if regularizer == "l2" else mass * np.log(256 * mass)
        assert -1e-12 <= gap <= weight * spread
        assert gap <= last + 1e-12
        last = gap
    assert last < 0.01


@pytest.mark.parametrize("regularizer", ["l2", "entropy"])
def test_a_kept_program_gives_what_a_new_one_gives(regularizer):
    problem = make_world(GRID, n_followers=3).problem
    kept = OccupancyProgram(problem.rho, problem.gamma, 0.5, regularizer)
    for dynamics in answers(GRID) * 2:  # the unshifted world has fewer possible transitions than the others
        np.testing.assert_allclose(
            kept.solve(dynamics).occupancy, occupancy_program(dynamics, 0.5, regularizer).occupancy, atol=1e-10
        )


def test_the_solver_is_built_once_while_the_structure_stays():
    problem = make_world(GRID, n_followers=3).problem
    program = OccupancyProgram(problem.rho, problem.gamma)
    first, second = (problem.response(random_policy(problem, seed)).detach() for seed in (0, 1))
    program.solve(first)
    solver = program._structure._solver
    program.solve(second)
    assert program._structure._solver is solver


def test_states_without_mass_get_the_uniform_policy():
    world = still(
        [[[0.0, 0.0, 1.0]] * 2, [[0.0, 1.0, 0.0]] * 2, [[0.0, 0.0, 1.0]] * 2],
        [[1.0, 0.5], [3.0, 4.0], [0.0, 0.0]],
        [1.0, 0.0, 0.0],
        absorbing=torch.tensor([False, False, True]),
    )
    solution = occupancy_program(world.unshifted(), 0.0)
    np.testing.assert_allclose(solution.policy, [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(solution.occupancy, [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert solution.objective == pytest.approx(1.0)


def test_a_start_that_is_the_end_leaves_nothing_to_decide():
    world = still(
        [[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2], np.zeros((2, 2)), [1.0, 0.0], absorbing=torch.tensor([True, False])
    )
    for regularizer in ("l2", "entropy"):
        solution = occupancy_program(world.unshifted(), 1.0, regularizer)
        assert float(solution.occupancy.abs().sum()) == 0.0
        np.testing.assert_allclose(solution.policy, 0.5)


def available(pairs, transitions):
    """Return a model of two actions with only these pairs available."""
    transitions = np.asarray(transitions)
    model = TabularModel.from_dynamics(Dynamics.from_dense(transitions, np.zeros(transitions.shape[:2])))
    return TabularModel(model.transitions, model.rewards, np.array(pairs), model.absorbing)


def test_mass_never_goes_where_it_cannot_go_on():
    # From state 0, action 1 may lead to state 1, from which no pair is available.
    P = [[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]]]
    solution = OccupancyProgram([1.0, 0.0], 0.9).solve(available([[True, True], [False, False]], P))
    np.testing.assert_allclose(solution.occupancy, [[10.0, 0.0], [0.0, 0.0]])


def test_an_infeasible_program_is_refused_with_the_state():
    P = [[[0.0, 1.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]]]
    with pytest.raises(ValueError, match="infeasible: state 0 is a start state, but every action there"):
        OccupancyProgram([1.0, 0.0], 0.9).solve(available([[True, True], [False, False]], P))


@pytest.mark.parametrize("status", ["PrimalInfeasible", "AlmostDualInfeasible"])
def test_what_the_solver_takes_for_impossible_is_reported_as_its_word(status, monkeypatch):
    from agents.retraining.structure import ProgramStructure

    solved = type("Solved", (), {"status": status, "x": np.zeros(40), "z": np.zeros(50), "iterations": 0})
    monkeypatch.setattr(ProgramStructure, "solve", lambda *_: solved)
    with pytest.raises(RuntimeError, match=rf"residual of inf only.*regularization 1 and gamma 0\.9.*'{status}'"):
        occupancy_program(answers(SOFTMAX)[0])


def test_rows_that_do_not_sum_to_one_make_the_program_unbounded_and_are_caught():
    P = np.eye(2)[:, None, :].repeat(2, axis=1)
    model = available(np.ones((2, 2), dtype=bool), P)
    model.transitions.data[:] = 1.0 / 0.9  # mass feeds itself
    with pytest.raises(ValueError, match=r"mass grows without limit.*must sum to 1"):
        OccupancyProgram([0.5, 0.5], 0.9, 0.0).solve(model, np.ones((2, 2)))


def flow_and_rewards(dynamics):
    """Return the dense flow matrix of a world without an end, ``[S, S A]``, its supply and its rewards."""
    P, r = dense(dynamics)
    n_states, n_actions = r.shape
    outflow = np.repeat(np.eye(n_states), n_actions, axis=1)
    return outflow - dynamics.gamma * P.reshape(-1, n_states).T, dynamics.rho.numpy(), r.ravel()


@pytest.mark.parametrize("gamma", [0.9, 0.99999])
@pytest.mark.parametrize("regularization", [1e4, 1e6, 1e9, 1e12])
def test_where_regularisation_is_all_the_occupancy_has_the_least_norm(gamma, regularization):
    problem = make_world(SOFTMAX, gamma=gamma).problem
    dynamics = problem.response(random_policy(problem, 0)).detach()
    flow, supply, r = flow_and_rewards(dynamics)
    # Without the signs, which bind nowhere here: d = F+ b + (1 - F+F) r / lambda.
    pseudo = np.linalg.pinv(flow)
    expected = pseudo @ supply + (r - pseudo @ (flow @ r)) / regularization
    assert expected.min() > 0.0
    found = occupancy_program(dynamics, regularization).occupancy.numpy().ravel()
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-8 * expected.max())


@pytest.mark.parametrize("gamma", [0.9, 0.99999])
@pytest.mark.parametrize("regularization", [1e3, 1e6, 1e9, 1e12])
def test_where_entropy_is_all_its_slope_is_a_matter_of_flow_alone(gamma, regularization):
    problem = make_world(SOFTMAX, gamma=gamma).problem
    dynamics = problem.response(random_policy(problem, 0)).detach()
    flow, supply, r = flow_and_rewards(dynamics)
    try:
        d = occupancy_program(dynamics, regularization, "entropy").occupancy.numpy().ravel()
    except RuntimeError as refusal:  # where the last digits decide, it may fall short and has to say so
        assert gamma > 0.999
        assert "solved to a residual of" in str(refusal)  # noqa: PT017
        return
    np.testing.assert_allclose(flow @ d, supply, atol=1e-8 * d.max())
    slope = r / regularization - np.log(d) - 1.0
    h = np.linalg.lstsq(flow.T, slope, rcond=None)[0]
    np.testing.assert_allclose(flow.T @ h, slope, atol=1e-7 * np.abs(slope).max())


@pytest.mark.parametrize("offset", [0.0, 1.0, -100.0])
def test_a_constant_in_the_rewards_does_not_change_the_linear_program(offset):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        P, r = rng.dirichlet(np.full(5, 0.3), size=(5, 3)), 1e-4 * rng.uniform(size=(5, 3))
        dynamics = Dynamics.from_dense(P, offset + r, gamma=1.0 - 1e-8, rho=torch.full((5,), 0.2, dtype=torch.float64))
        plain = Dynamics.from_dense(P, r, gamma=1.0 - 1e-8, rho=dynamics.rho)
        best, _ = exact.optimal_policy(plain)
        found = occupancy_program(dynamics, 0.0)
        # Its residual is relative to the largest reward: what a step may earn less is that, and rounding of the offset.
        missing = (1.0 - plain.gamma) * exact.evaluate(plain, found.policy).gain(best, plain.rho)
        assert missing <= (10.0 * found.residual + 1e-12) * float(dynamics.rewards.abs().max())


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6])
@pytest.mark.parametrize(("regularizer", "regularization"), [("l2", 0.0), ("l2", 0.01), ("entropy", 0.05)])
def test_the_unit_of_the_rewards_does_not_matter(regularizer, regularization, unit):
    for dynamics in answers(SOFTMAX):
        scaled = Dynamics.from_dense(dynamics.probs, unit * dynamics.rewards, gamma=dynamics.gamma, rho=dynamics.rho)
        expected = occupancy_program(dynamics, regularization, regularizer)
        found = occupancy_program(scaled, unit * regularization, regularizer)
        np.testing.assert_allclose(found.occupancy, expected.occupancy, atol=1e-7)
        assert found.objective == pytest.approx(unit * expected.objective, rel=1e-6)


def test_too_little_entropy_for_floating_point_is_refused_as_such():
    with pytest.raises(RuntimeError, match=r"residual of .* only, with regularization 1e-12 and gamma 0\.9"):
        occupancy_program(answers(SOFTMAX)[0], 1e-12, "entropy")


@pytest.mark.parametrize("world_id", IDS)
def test_where_the_last_steps_lead_astray_the_solver_itself_is_asked_for_more(world_id, monkeypatch):
    from agents.retraining import program as module

    dynamics = answers(world_id)[1]
    expected = occupancy_program(dynamics, 0.5)
    monkeypatch.setattr(module, "polish_quadratic", lambda flow, supply, c, *_: (np.ones_like(c), 0.0 * supply))
    solution = occupancy_program(dynamics, 0.5)
    assert solution.residual <= LARGEST_RESIDUAL
    np.testing.assert_allclose(solution.occupancy, expected.occupancy, atol=1e-5)


def test_a_solution_that_is_not_one_is_never_returned(monkeypatch):
    monkeypatch.setattr(OccupancyProgram, "residual", lambda *_: 1.01e-8)
    with pytest.raises(RuntimeError, match=r"solved to a residual of 1\.0e-08 only"):
        occupancy_program(answers(SOFTMAX)[0])


@pytest.mark.parametrize("regularization", [1.0, 1e-10, 1e6])
def test_large_worlds_and_extreme_weights_are_solved_too(regularization):
    """On a large grid hundreds of cells get next to no mass, or none."""
    rng = np.random.default_rng(0)
    n = 40 if regularization == 1.0 else 12
    grid = np.where(rng.random((n, n)) < 0.1, -0.5, -0.01)
    grid[-1, -1] = 1.0
    problem = make_world(GRID, grid=grid, n_followers=2).problem
    dynamics = problem.response(random_policy(problem, 0)).detach()
    assert occupancy_program(dynamics, regularization).residual <= 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regularization": -1.0}, "regularization must be >= 0, got -1"),
        ({"regularization": float("nan")}, "regularization must be >= 0, got nan"),
        ({"regularizer": "l1"}, r"regularizer must be one of 'l2', 'entropy', got 'l1'.*did you mean 'l2'"),
        ({"gamma": 1.0}, "gamma must be > 0 and < 1, got 1"),
        ({"rho": [0.5, 0.6]}, "rho must sum to 1"),
        ({"rho": [0.5, 0.5]}, "the world has 10 states but rho has 2"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        occupancy_program(answers(SOFTMAX)[0], **arguments)


def test_dynamics_without_start_and_discount_need_them():
    bare = Dynamics.from_dense([[[1.0]]], [[1.0]])
    with pytest.raises(ValueError, match="rho and gamma must be given"):
        occupancy_program(bare)
    assert occupancy_program(bare, 0.0, rho=[1.0], gamma=0.5).objective == pytest.approx(2.0)


@pytest.mark.parametrize("rewards", [np.full((10, 4), np.inf), np.zeros((2, 2))])
def test_rewards_in_place_of_the_own_are_checked(rewards):
    dynamics = answers(SOFTMAX)[0]
    with pytest.raises(ValueError, match="rewards must be finite and have shape"):
        OccupancyProgram(dynamics.rho, dynamics.gamma).solve(dynamics, rewards)
