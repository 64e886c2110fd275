"""What a world remembers between deployments: how far it moved, whose steps it counts, what it believes."""

import numpy as np
import pytest
import torch

from perf_envs.tabular_rounds import TabularRounds
from perf_envs.worlds.linear_pricing.rounds import MarketRounds
from tests.perf_envs.linear_world import TWO, make
from tests.perf_envs.worlds import IDS, dense, make_world, random_policy


@pytest.mark.parametrize("world_id", IDS)
@pytest.mark.parametrize("adaptation_rate", [1.0, 0.25])
def test_the_shift_is_the_way_from_the_world_before_to_the_world_now(world_id, adaptation_rate):
    env = make_world(world_id, deployment="declared", adaptation_rate=adaptation_rate)
    for seed in range(3):
        P_before, r_before = dense(env.dynamics)
        shift = env.deploy(random_policy(env, seed, 0.2))
        P, r = dense(env.dynamics)
        assert shift.transition == pytest.approx(np.abs(P - P_before).sum(-1).max(), abs=1e-12)
        assert shift.reward == pytest.approx(np.abs(r - r_before).max(), abs=1e-12)
        assert max(shift) > 0.0


@pytest.mark.parametrize("adaptation_rate", [1.0, 0.25])
def test_the_shift_of_a_market_is_the_largest_change_of_the_earnings_of_any_price(adaptation_rate):
    env = make(deployment="declared", adaptation_rate=adaptation_rate, price_low=0.5, **TWO)
    for price in ([2.0, 5.0], [5.0, 1.0], [0.5, 0.5]):
        before = env.dynamics.demand.numpy()
        shift = env.deploy(np.array(price))
        moved = env.dynamics.demand.numpy() - before
        corners = [(low, high) for low in (0.5, 6.0) for high in (0.5, 6.0)]
        assert shift.transition == 0.0
        assert shift.reward == pytest.approx(max(abs(np.dot(corner, moved)) for corner in corners))


@pytest.mark.parametrize("deployment", ["observed", "declared"])
def test_those_who_stand_idle_are_not_counted(deployment):
    """Three of five move: after four joint steps twelve are seen, and a round of twelve is over."""
    env = make_world("SoftmaxPeMDP-v0")
    world = TabularRounds(env.problem, deployment, round_length=12)
    if deployment == "declared":
        world.deploy(world.policy)
    rounds = world.round
    states, actions, idle = np.arange(5), np.array([0, 1, 2, 3, 0]), np.array([1, 4])
    for _ in range(3):
        world.observe_many(states, actions, idle)
    assert world.steps == 9
    assert world.round == rounds
    # One observation's worth of the uniform belief, and three observations of one action, in the states that moved.
    expected = np.full((10, 4), 0.25)
    for state in (0, 2, 3):
        expected[state] = 0.25 / 4
        expected[state, actions[state]] += 3 / 4
    np.testing.assert_allclose(world.estimate(), expected)
    world.observe_many(states, actions, idle)
    assert world.round == rounds + (deployment == "observed")


def test_prices_of_those_who_stand_idle_are_not_counted():
    env = make(**TWO)
    world = MarketRounds(env.problem, round_length=12)
    periods = np.array([0, 3, 7, 19, 2])
    actions = np.linspace(-1.0, 1.0, 10).reshape(5, 2)
    idle = np.array([1, 4])
    for _ in range(3):
        world.observe_many(periods, actions, idle)
    assert (world.steps, world.round) == (9, 0)
    prices = 3.0 * (actions + 1.0)
    weights = 0.99 ** np.array([0, 7, 19])
    seen = 3 * (weights @ prices[[0, 2, 3]])
    np.testing.assert_allclose(world.estimate(), (seen + 3.0) / (3 * weights.sum() + 1.0))
    expected = (4 * (weights @ prices[[0, 2, 3]]) + 3.0) / (4 * weights.sum() + 1.0)
    world.observe_many(periods, actions, idle)
    assert world.round == 1
    np.testing.assert_allclose(world.mean_price, expected)
    np.testing.assert_allclose(world.dynamics.demand, [4.0 - expected[0], 3.0 - 0.5 * expected[1]])


@pytest.mark.parametrize("make_one", [lambda: make_world("SoftmaxPeMDP-v0"), lambda: make(**TWO)])
def test_agents_who_share_a_world_make_a_round_together(make_one):
    env = make_one()
    world = type(env.rounds)(env.problem, round_length=4)
    world.share(3)
    assert world.is_shared
    indices = np.arange(3)
    actions = np.zeros((3, 2)) if isinstance(world, MarketRounds) else np.zeros(3, dtype=np.int64)
    for step in range(1, 9):
        world.observe_many(indices, actions)
        assert world.round == step // 4
    assert world.steps == 24


def test_the_estimate_starts_anew_in_every_round_from_what_is_believed():
    env = make_world("SoftmaxPeMDP-v0")
    world = TabularRounds(env.problem, round_length=3)
    for action in (0, 0, 1):
        world.observe(2, action)
    believed = np.array([2.25, 1.25, 0.25, 0.25]) / 4
    np.testing.assert_allclose(world.policy.probs[2], believed)
    np.testing.assert_allclose(world.estimate(), world.policy)
    world.observe(2, 3)
    np.testing.assert_allclose(world.estimate()[2], (believed + np.eye(4)[3]) / 2)
    np.testing.assert_allclose(world.estimate()[3], 0.25)


def test_many_agents_are_noted_first_and_counted_in_time():
    """More steps than the log of them holds."""
    env = make_world("SoftmaxPeMDP-v0")
    world = TabularRounds(env.problem, round_length=10**6)
    rng = np.random.default_rng(0)
    counts = np.zeros((10, 4))
    for _ in range(5):
        states, actions = rng.integers(10, size=9000), rng.integers(4, size=9000)
        world.observe_many(states, actions)
        np.add.at(counts, (states, actions), 1.0)
    expected = (counts + 0.25) / (counts.sum(-1, keepdims=True) + 1.0)
    np.testing.assert_allclose(world.estimate(), expected)
    assert world.steps == 45_000


@pytest.mark.parametrize("adaptation_rate", [1.0, 0.5])
def test_handing_the_same_policy_over_again_moves_a_gradual_world_further(adaptation_rate):
    env = make_world("SoftmaxPeMDP-v0", deployment="declared", adaptation_rate=adaptation_rate)
    pi = random_policy(env, 0)
    first = env.rounds.deploy(pi)
    again = env.rounds.redeploy()
    assert env.round == 2
    np.testing.assert_array_equal(env.rounds.policy.probs, pi)
    remaining = 1.0 - adaptation_rate
    assert again.transition == pytest.approx(remaining * first.transition, abs=1e-12)
    market = make(deployment="declared", adaptation_rate=adaptation_rate, **TWO)
    first = market.deploy(np.array([5.0, 2.0]))
    assert market.rounds.redeploy().reward == pytest.approx(remaining * first.reward, abs=1e-12)
    np.testing.assert_allclose(market.rounds.mean_price, [5.0, 2.0])


def test_before_any_deployment_a_market_believes_in_the_middle_of_its_prices():
    world = make(price_low=1.0, price_high=4.0, **TWO).rounds
    np.testing.assert_array_equal(world.mean_price, 2.5)
    world.redeploy()
    np.testing.assert_allclose(world.dynamics.demand, [4.0 - 2.5, 3.0 - 1.25])


def test_a_table_is_kept_as_it_was_handed_over():
    env = make_world("SoftmaxPeMDP-v0", deployment="declared")
    table = torch.from_numpy(random_policy(env, 0)).requires_grad_()
    env.rounds.deploy(table)
    assert not env.dynamics.probs.requires_grad
    np.testing.assert_array_equal(env.rounds.policy.probs, table.detach())


def test_a_declared_world_that_nobody_deploys_to_says_so_once_and_not_before_it_is_time():
    env = make_world("SoftmaxPeMDP-v0")
    world = TabularRounds(env.problem, "declared", round_length=600)
    world.wait(599)  # warnings are errors here
    with pytest.warns(UserWarning, match="has had none in 600 steps"):
        world.wait(600)
    world.wait(10**6)
    short = TabularRounds(env.problem, "declared", round_length=10)
    short.wait(499)
    with pytest.warns(UserWarning, match="none in 500 steps"):
        short.wait(500)
    told = TabularRounds(env.problem, "declared", round_length=600)
    told.deploy(told.policy)
    told.wait(10**6)
    TabularRounds(env.problem, "observed", round_length=600).wait(10**6)


def test_steps_thrown_away_by_restarts_are_added_up_until_the_world_has_answered():
    env = make_world("SoftmaxPeMDP-v0")
    world = TabularRounds(env.problem, round_length=600)

    def live(n_steps):
        for _ in range(n_steps):
            world.observe(0, 0)

    live(400)
    world.restart()
    live(199)
    world.restart()  # 599 steps: not yet a round's worth
    live(1)
    with pytest.warns(UserWarning, match="600 steps were observed and thrown away"):
        world.restart()
    assert world.steps == 600
    live(599)
    world.restart()
    live(600)
    assert world.round == 1
    live(5)
    world.restart()  # it has answered: what was lost before counts no more
    live(595)
    world.restart()
    assert world.round == 0


def test_how_far_it_moved_is_a_number_also_where_answers_carry_gradients():
    problem = make(**TWO).problem
    mean, std = torch.full((20, 2), 0.3, requires_grad=True), torch.full((20, 2), 0.1)
    shift = problem.response(mean, std).shift_from(problem.unshifted())
    table = make_world("SoftmaxPeMDP-v0").problem
    pi = torch.from_numpy(random_policy(table, 0)).requires_grad_()
    for part in (*shift, *table.response(pi).shift_from(table.unshifted())):
        assert isinstance(part, float)
    assert shift.reward > 0.0


def test_asking_how_actions_fit_does_not_end_the_comparison_unless_told_to():
    world = TabularRounds(make_world("SoftmaxPeMDP-v0").problem, "declared")
    assert not world.is_shared
    world.deploy(world.policy)
    world.observe(0, 0)
    assert world.misfit() is None
    world.observe(0, 1)
    assert (world.steps, world.fit.n_steps) == (2, 1)
    assert world.misfit() is None
    assert world.fit.n_steps == 2
    world.misfit(close=True)
    world.observe(0, 2)
    assert (world.steps, world.fit.n_steps) == (2, 2)
