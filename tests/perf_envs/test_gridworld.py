"""The gridworld against an independent value iteration, written in plain loops, and against published numbers."""

import numpy as np
import pytest
import torch

from perf_envs import exact
from perf_envs.worlds.gridworld import response as followers
from tests.perf_envs.worlds import DATA, dense, make_world, random_policy

WORLD = "PerformativeGridWorld-v0"


def landing(goals, cell, move):
    """Return the cell reached from ``cell`` (row, column): left, right, up, down; goals keep, walls hold back."""
    if goals[cell]:
        return cell
    row, column = cell[0] + (0, 0, -1, 1)[move], cell[1] + (-1, 1, 0, 0)[move]
    inside = 0 <= row < goals.shape[0] and 0 <= column < goals.shape[1]
    return (row, column) if inside else cell


def best_response(grid, seen, pi, gamma, cost):
    """Return the optimal ``Q [S, 5]`` of one follower, by value iteration over cells and interventions."""
    goals = grid > 0
    values = np.zeros(grid.shape)
    while True:
        q = np.zeros((*grid.shape, 5))
        for cell in np.ndindex(grid.shape):
            if goals[cell]:
                continue
            policy = pi[cell[0] * grid.shape[1] + cell[1]]
            for move in range(4):
                there = landing(goals, cell, move)
                worth = seen[there] + gamma * values[there]
                q[(*cell, move)] = worth - cost
                q[(*cell, 4)] += policy[move] * worth
        updated = q.max(-1)
        if np.abs(updated - values).max() < 1e-14:
            return q.reshape(-1, 5)
        values = updated


def answer(grid, follower_grids, pi, beta, gamma, cost):
    """Return interventions, ``P [S, A, S]`` and ``r [S, A]``."""
    goals = grid > 0
    q = beta * np.mean([best_response(grid, seen, pi, gamma, cost) for seen in follower_grids], axis=0)
    interventions = np.exp(q - q.max(-1, keepdims=True))
    interventions /= interventions.sum(-1, keepdims=True)
    n = grid.size
    P, r = np.zeros((n, 4, n)), np.zeros((n, 4))
    for s in range(n):
        cell = divmod(s, grid.shape[1])
        for a in range(4):
            for outcome in range(5):
                there = landing(goals, cell, a if outcome == 4 else outcome)
                P[s, a, there[0] * grid.shape[1] + there[1]] += interventions[s, outcome]
                r[s, a] += interventions[s, outcome] * (0.0 if goals[cell] else grid[there])
    return interventions, P, r


def random_grid(shape, rng, n_goals=1):
    grid = rng.choice([-0.01, -0.02, -0.5], p=[0.6, 0.2, 0.2], size=shape)
    cells = np.flatnonzero(np.arange(grid.size) > 0)
    grid.ravel()[rng.choice(cells, n_goals, replace=False)] = rng.uniform(0.5, 2.0, n_goals)
    return grid


CASES = [
    *[((4, 4), 1, 0.05, seed) for seed in range(4)],
    ((1, 7), 1, 0.05, 10),
    ((7, 1), 1, 0.05, 11),
    ((5, 7), 3, 0.02, 12),
    ((3, 4), 2, 0.0, 13),
    ((3, 3), 1, 10.0, 14),
    ((1, 2), 1, 0.05, 15),
]


@pytest.mark.parametrize(("shape", "n_goals", "cost", "seed"), CASES)
def test_the_world_agrees_with_plain_value_iteration_on_random_grids(shape, n_goals, cost, seed):
    rng = np.random.default_rng(seed)
    grid = random_grid(shape, rng, n_goals)
    followers = np.stack([random_grid(shape, rng, n_goals) for _ in range(3)])
    beta, gamma = rng.uniform(1, 20), rng.uniform(0.5, 0.95)
    world = make_world(WORLD, grid=grid, follower_grids=followers, beta=beta, gamma=gamma, intervention_cost=cost)
    pi = random_policy(world, seed, concentration=0.5)
    interventions, P, r = answer(grid, followers, pi, beta, gamma, cost)
    dynamics = world.problem.response(pi)
    live = ~(grid > 0).ravel()
    np.testing.assert_allclose(dynamics.latents["interventions"][live], interventions[live], atol=1e-11)
    np.testing.assert_allclose(dynamics.dense()[0], P, atol=1e-11)
    np.testing.assert_allclose(dynamics.dense()[1], r, atol=1e-11)


@pytest.mark.parametrize("cost", [0.0, 0.05])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6, 1e12])
def test_ties_everywhere_are_solved_at_any_scale_of_rewards(cost, scale):
    grid = np.full((5, 6), -0.01)
    grid[-1, -1] = 1.0
    world = make_world(WORLD, grid=grid * scale, n_followers=3, intervention_cost=cost * scale, beta=10.0 / scale)
    rng = np.random.default_rng(0)
    deterministic = [np.eye(4)[rng.integers(4, size=30)] for _ in range(5)]
    for pi in [np.full((30, 4), 0.25), *deterministic, *(random_policy(world, seed) for seed in range(5))]:
        interventions, *_ = answer(grid, [grid], pi, 10.0, 0.9, cost)
        ours = world.problem.response(pi).latents["interventions"]
        np.testing.assert_allclose(ours[:-1], interventions[:-1], atol=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e12])
def test_the_unit_of_money_does_not_matter(scale):
    grid = np.full((8, 8), -0.01)
    grid[-1, -1] = 1.0
    ours, theirs = (
        make_world(WORLD, grid=grid * unit, n_followers=5, intervention_cost=0.05 * unit, beta=10.0 / unit).problem
        for unit in (1.0, scale)
    )
    rng = np.random.default_rng(0)
    for seed in range(20):
        for pi in (random_policy(ours, seed), np.eye(4)[rng.integers(4, size=64)]):
            expected, scaled = (problem.response(pi).latents["interventions"] for problem in (ours, theirs))
            torch.testing.assert_close(scaled, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cost", [0.0, 0.05])
@pytest.mark.parametrize("equal_cells", [False, True])
def test_the_answer_depends_on_the_policy_alone_to_the_last_bit(cost, equal_cells):
    settings = {"grid": np.diag([0.0, 0.0, 0.0, 0.0, 1.0]) if equal_cells else None, "intervention_cost": cost}
    used = make_world(WORLD, n_followers=10, **settings).problem
    tables = [random_policy(used, seed, concentration) for seed in range(6) for concentration in (0.01, 1.0)]
    tables += [np.eye(4)[np.random.default_rng(seed).integers(4, size=used.n_states)] for seed in range(6)]
    for index in np.random.default_rng(0).integers(len(tables), size=60):
        fresh = make_world(WORLD, n_followers=10, **settings).problem
        pi, again = (torch.tensor(tables[index], requires_grad=True) for _ in range(2))
        ours, theirs = used.response(pi), fresh.response(again)
        assert torch.equal(ours.probs, theirs.probs)
        gradients = (torch.autograd.grad((d.rewards * d.rewards).sum(), p)[0] for d, p in ((ours, pi), (theirs, again)))
        assert torch.equal(*gradients)


def test_deterministic_policies_on_a_grid_of_equal_cells_are_answered():
    grid = np.zeros((5, 5))
    grid[2, 3] = 1e-9
    world = make_world(WORLD, grid=grid, intervention_cost=0.0)
    for move in range(4):
        world.deploy(np.eye(4)[np.full(25, move)])
    assert world.round == 4


def test_followers_who_never_gain_leave_the_agent_alone():
    world = make_world(WORLD, intervention_cost=1e3, beta=10.0)
    dynamics = world.problem.response(random_policy(world, 0))
    live = world.grid.ravel() <= 0
    assert (dynamics.latents["interventions"][live, 4] == 1.0).all()
    moved = dynamics.dense()[0][live] - world.problem.unshifted().dense()[0][live]
    assert moved.abs().max() == 0.0


def test_nobody_intervenes_before_the_first_deployment():
    world = make_world(WORLD)
    P, r = dense(world.dynamics)
    goals = world.grid > 0
    for s in range(world.n_states):
        for a in range(4):
            there = landing(goals, divmod(s, 8), a)
            assert P[s, a, there[0] * 8 + there[1]] == 1.0
            assert r[s, a] == (0.0 if goals[divmod(s, 8)] else world.grid[there])


def test_goals_end_the_episode_wherever_they_are():
    world = make_world(WORLD, grid=["..G", "...", "G.."], deployment="declared")
    assert world.dynamics.absorbing.nonzero().ravel().tolist() == [2, 6]
    for start, action in [(1, 1), (5, 2), (3, 3), (7, 0)]:
        world.reset(seed=0)
        world.state = start
        state, reward, terminated, truncated, _ = world.step(action)
        assert (state in {2, 6}, reward, terminated, truncated) == (True, 1.0, True, False)


def test_episodes_start_uniformly_in_the_first_row_and_column():
    world = make_world(WORLD, grid=["..G", "...", "..G"])
    np.testing.assert_allclose(world.initial_distribution, np.array([1, 1, 0, 1, 0, 0, 1, 0, 0]) / 4)
    world.reset(seed=0)
    starts = np.bincount([world.reset()[0] for _ in range(4000)], minlength=9)
    assert (starts[[2, 4, 5, 7, 8]] == 0).all()
    assert np.abs(starts[[0, 1, 3, 6]] - 1000).max() < 4 * np.sqrt(4000 * 0.25 * 0.75)


def test_a_step_pays_the_cell_it_lands_on_and_tells_who_made_it():
    world = make_world(WORLD, deployment="declared", gamma=0.9)
    world.reset(seed=0)
    world.deploy(random_policy(world, 0))
    goals, interventions = world.grid > 0, 0
    for _ in range(500):
        before, action = world.state, 1
        state, reward, terminated, _, info = world.step(action)
        assert reward == world.grid.ravel()[state]
        own = landing(goals, divmod(before, 8), action)
        assert info["intervention"] or state == own[0] * 8 + own[1]
        interventions += info["intervention"]
        if terminated:
            world.reset()
    assert 0 < interventions < 500


def test_grids_can_be_written_as_names_characters_or_numbers():
    by_name = make_world(WORLD, grid="small4x4")
    by_rows = make_world(WORLD, grid=["....", ".H.F", "...H", "F..G"])
    by_numbers = make_world(WORLD, grid=by_name.grid.tolist())
    np.testing.assert_array_equal(by_rows.grid, by_name.grid)
    np.testing.assert_array_equal(by_numbers.follower_grids, by_name.follower_grids)
    assert (by_name.grid[1, 1], by_name.grid[1, 3], by_name.grid[3, 3], by_name.grid[0, 0]) == (-0.5, -0.02, 1, -0.01)


def test_without_epsilon_every_follower_sees_the_true_grid():
    world = make_world(WORLD, epsilon=0.0, n_followers=4)
    assert (world.follower_grids == world.grid).all()


def test_perturbation_spares_the_border_and_the_goals():
    world = make_world(WORLD, grid=["......", "..G...", "......", ".....G"], epsilon=1.0, n_followers=30)
    same = (world.follower_grids == world.grid).all(0)
    assert same[0].all()
    assert same[:, 0].all()
    assert same[world.grid > 0].all()
    # Only one value occurs on this grid besides the goals', so nothing can look different either.
    assert same.all()
    varied = make_world(WORLD, epsilon=1.0, n_followers=200)
    changed = (varied.follower_grids != varied.grid).any(0)
    assert changed[1:, 1:].sum() == 48
    assert not changed[7, 7]


class TestPublishedNumbers:
    """Tables of Mandal et al. 2023 and Rank et al. 2024, computed with the authors' code."""

    grids = np.load(DATA / "mandal_grids.npz")
    response = np.load(DATA / "mandal_response.npz")
    gradual = np.load(DATA / "rank_gradual.npz")

    def test_the_grid_the_moves_and_the_start_are_the_published_ones(self):
        world = make_world(WORLD)
        np.testing.assert_array_equal(world.grid, self.grids["base_grid"])
        np.testing.assert_allclose(world.initial_distribution, self.grids["rho"], atol=1e-15)
        reached = world.dynamics.dense()[0].argmax(-1)
        np.testing.assert_array_equal(reached[:63], self.grids["next_state"][:63])

    def test_the_perturbed_grids_are_the_published_ones(self):
        np.testing.assert_array_equal(make_world(WORLD).follower_grids, self.grids["perturbed_grids"])

    @pytest.mark.parametrize("n_followers", [1, 5, 50])
    @pytest.mark.parametrize("policy", ["init", "uniform"])
    def test_followers_kernel_rewards_and_occupancy_are_the_published_ones(self, policy, n_followers):
        world = make_world(WORLD, n_followers=n_followers, beta=5.0, deployment="declared")
        pi = self.response[f"pi_{policy}"]
        world.deploy(pi)
        name, live = f"{policy}_nf{n_followers}", slice(0, 63)
        mean_q = world.problem.response_map.mean_best_response(torch.from_numpy(pi))
        P, r = world.dynamics.dense()
        visits = exact.occupancy(world.problem, pi).numpy()[:, None] * pi / (1 - world.gamma)
        interventions = world.dynamics.latents["interventions"]
        np.testing.assert_allclose(mean_q[live], self.response[f"Qavg_{name}"][live], atol=1e-9)
        np.testing.assert_allclose(interventions[live], self.response[f"resp_{name}_b5"][live], atol=1e-9)
        np.testing.assert_allclose(r[live], self.response[f"R_{name}_b5"][live], atol=1e-9)
        np.testing.assert_allclose(P[live], self.response[f"T_{name}_b5"][live], atol=1e-9)
        np.testing.assert_allclose(visits[live], self.response[f"d_{name}_b5"][live], atol=1e-9)

    def test_the_gradual_world_is_the_published_one(self):
        world = make_world(
            WORLD,
            grid=self.gradual["base_grid"],
            follower_grids=[self.gradual["agent2_grid"]],
            beta=1.0,
            adaptation_rate=0.5,
            deployment="declared",
        )
        live = slice(0, 63)
        agent2 = self.gradual["agent2_policies"]
        np.testing.assert_array_equal(world.problem.unshifted().latents["interventions"], agent2[0])
        for index, pi in enumerate(self.gradual["policies"]):
            world.deploy(pi)
            P, r = world.dynamics.dense()
            interventions = world.dynamics.latents["interventions"]
            np.testing.assert_allclose(interventions[live], agent2[index + 1][live], atol=1e-9)
            np.testing.assert_allclose(P[live], self.gradual["P"][index][live], atol=1e-9)
            np.testing.assert_allclose(r[live], self.gradual["R"][index][live], atol=1e-9)
        assert world.round == len(self.gradual["policies"]) == 6


@pytest.mark.parametrize("grid", [None, "small4x4", ["...", "...", "..H", ".H.", "..G"], ["..H..F...G"]])
def test_narrow_and_wide_grids_are_solved_alike(grid, monkeypatch):
    """The band solver and the sparse one give the same answer and the same gradient."""
    results = []
    for widest in (32, 0):
        monkeypatch.setattr(followers, "_WIDEST_BAND", widest)
        problem = make_world("PerformativeGridWorld-v0", grid=grid, n_followers=5).problem
        pi = torch.from_numpy(random_policy(problem, 0)).requires_grad_()
        probs = problem.response(pi).probs
        weights = torch.from_numpy(np.random.default_rng(1).standard_normal(probs.shape))
        (gradient,) = torch.autograd.grad((weights * probs).sum(), pi)
        results.append((probs.detach(), gradient))
    for banded, sparse in zip(*results, strict=True):
        np.testing.assert_allclose(banded, sparse, atol=1e-12)
