"""Against the numbers of the published code, and against its defects."""

import numpy as np
import pytest
import torch

from agents.retraining import OccupancyProgram, occupancy_program, repeated_gradient_ascent, repeated_retraining
from perf_envs import Dynamics, PerformativeMDP, exact
from tests.agents.retraining.reference import reference_program
from tests.agents.retraining.worlds import (
    GRID,
    GRIDS,
    LIVE,
    PUBLISHED,
    PublishedFollowers,
    published_world,
)
from tests.perf_envs.worlds import make_world, random_policy


@pytest.fixture(scope="module")
def exact_run():
    return repeated_retraining(published_world(), 1.0, 10, PUBLISHED["pi"][0])


@pytest.fixture(scope="module")
def published_run():
    """Ten iterations among followers who stop their value iteration where the published ones do."""
    problem = PerformativeMDP(PublishedFollowers(), GRIDS["rho"], 0.9, n_actions=4)
    return repeated_retraining(problem, 1.0, 10, PUBLISHED["pi"][0])


def test_every_program_of_the_published_run_has_the_published_solution():
    goal = torch.zeros(64, dtype=torch.bool)
    goal[63] = True
    program = OccupancyProgram(GRIDS["rho"], 0.9, 1.0)
    for P, r, tight in zip(PUBLISHED["T"], PUBLISHED["R"], PUBLISHED["dtight"], strict=False):
        solution = program.solve(Dynamics.from_dense(P, r, absorbing=goal))
        np.testing.assert_allclose(solution.occupancy[LIVE], tight[LIVE], atol=1e-9)
        assert solution.residual <= 1e-12


def test_ten_iterations_reproduce_the_published_occupancies(published_run):
    np.testing.assert_allclose(published_run.planned[1:, LIVE], PUBLISHED["dtight"][:, LIVE], atol=1e-6)


def test_ten_iterations_reproduce_the_published_values(exact_run):
    np.testing.assert_allclose(exact_run.history, PUBLISHED["V"], atol=1e-6)
    assert exact_run.converged


def changes(occupancies):
    flat = np.asarray(occupancies).reshape(len(occupancies), -1)
    return np.linalg.norm(np.diff(flat, axis=0), axis=1) / np.linalg.norm(flat[:-1], axis=1)


def test_both_changes_of_occupancy_are_reported(exact_run, published_run):
    for run in (published_run, exact_run):
        # The published occupancies carry a solver's error of 1e-5.
        np.testing.assert_allclose(run.planned_change, PUBLISHED["ddiff"], atol=1e-5)
        np.testing.assert_allclose(run.induced_change, changes(PUBLISHED["occ"]), atol=1e-5)
    tight = [PUBLISHED["occ"][0, LIVE], *PUBLISHED["dtight"][:, LIVE]]
    np.testing.assert_allclose(published_run.planned_change, changes(tight), atol=1e-6)
    assert abs(float(exact_run.planned_change[1] - exact_run.induced_change[1])) > 0.03, "they are not the same thing"


def test_the_gradient_step_goes_up_and_its_sign_turned_it_would_go_down():
    problem = published_world()
    start = np.full((64, 4), 0.25)
    lambda_ = 0.1

    def regularised(occupancy, rewards):
        return float((occupancy * rewards).sum() - 0.5 * lambda_ * (occupancy**2).sum())

    with pytest.warns(UserWarning, match="had not settled"):
        run = repeated_gradient_ascent(problem, lambda_, 5, start, learning_rate=0.05)
    world = problem.response(start)
    before, after = (regularised(d, world.rewards) for d in run.planned[:2])
    assert after > before + 1e-3
    projection = OccupancyProgram(problem.rho, problem.gamma, 1.0)
    down = projection.solve(world, (1 + 0.05 * lambda_) * run.planned[0] - 0.05 * world.rewards).occupancy
    assert regularised(down, world.rewards) < before
    assert (np.diff(run.history) > 0).all()


def test_the_goal_has_no_occupancy_to_gain_entropy_from():
    """Without its flow constraint the goal would hold ``exp(-1)`` per action, for nothing."""
    problem = make_world(GRID, n_followers=3).problem
    dynamics = problem.response(random_policy(problem, 0)).detach()
    solution = occupancy_program(dynamics, 1.0, "entropy")
    assert float(solution.occupancy[63].abs().max()) == 0.0
    reference = reference_program(dynamics, problem.rho, 0.9, 1.0, "entropy")
    free = 4 * np.exp(-1.0)  # max of -sum x log x over four free numbers
    assert reference.gap < 1e-3 * free
    assert reference.bound - reference.gap <= solution.objective <= reference.objective + reference.gap
    occupancy = solution.occupancy.numpy()
    assert (np.abs(occupancy - reference.occupancy) <= reference.distance(occupancy)).all()


def test_the_performative_value_is_that_of_the_world_after_its_answer(exact_run):
    problem = published_world()
    for policy, value in zip(exact_run.policies, exact_run.history, strict=True):
        assert float(exact.performative_value(problem, policy)) == pytest.approx(float(value), abs=1e-12)
