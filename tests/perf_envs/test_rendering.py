import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from perf_envs.rendering.canvas import Canvas
from perf_envs.rendering.charts import Axes, RoundHistory, number, ticks
from perf_envs.worlds.gridworld.render import cell_characters
from tests.worlds import TABULAR_WORLDS

DRAWN_WORLDS = ["PerformativeGridWorld-v0", "PerformativePricing-v0", "SoftmaxPeMDP-v0"]
HAZARDOUS_GRID = np.where(np.arange(10_000).reshape(100, 100) % 7 == 3, -0.5, -0.01)
HAZARDOUS_GRID[-1, -1] = 1.0


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def make(world, mode="rgb_array", **arguments):
    env = gym.make(world, render_mode=mode, **arguments)
    env.reset(seed=0)
    return env


def lopsided_policy(env, action=0):
    world = env.unwrapped
    policy = np.full((world.n_states, world.n_actions), 0.1 / world.n_actions)
    policy[:, action] += 0.9
    return policy


def walk(env, n_steps):
    """Return everything an agent sees in a walk of random actions, new episodes included."""
    rng = np.random.default_rng(1)
    seen = []
    for _ in range(n_steps):
        observation, reward, terminated, truncated, info = env.step(int(rng.integers(env.action_space.n)))
        seen.append((observation, reward, terminated, truncated, info["round"]))
        if env.render_mode is not None:
            env.render()
        if terminated or truncated:
            seen.append(env.reset()[0])
    return seen


def test_every_world_that_offers_pictures_is_tested_here():
    assert set(DRAWN_WORLDS) <= set(TABULAR_WORLDS)


@pytest.mark.parametrize("world", DRAWN_WORLDS)
class TestEveryWorld:
    def test_rgb_array_is_a_picture_that_is_not_blank(self, world):
        picture = make(world).render()
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert picture.flags.writeable
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20

    def test_rgb_array_opens_no_display(self, world):
        import pygame

        pygame.display.quit()
        make(world).render()
        assert not pygame.display.get_init()

    def test_text_tells_the_round_and_needs_no_pygame(self, world, monkeypatch):
        monkeypatch.setitem(sys.modules, "pygame", None)
        env = make(world, "ansi")
        assert "round 0" in env.render()
        env.unwrapped.deploy(lopsided_policy(env))
        assert "round 1" in env.render()

    def test_missing_pygame_is_named_with_the_command_that_installs_it(self, world, monkeypatch):
        monkeypatch.setitem(sys.modules, "pygame", None)
        with pytest.raises(DependencyNotInstalled, match=r"performative-rl\[render\]"):
            make(world).render()

    def test_human_mode_shows_a_window_of_the_picture(self, world):
        import pygame

        env = make(world, "human")
        env.unwrapped.metadata = {**env.unwrapped.metadata, "render_fps": 1000}
        for _ in range(3):
            env.step(0)
        assert env.render() is None
        window = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
        assert np.array_equal(window, env.unwrapped._renderer.render("rgb_array"))
        env.close()
        assert not pygame.display.get_init()

    def test_window_comes_back_when_somebody_else_closed_pygame(self, world):
        import pygame

        env = make(world, "human")
        pygame.quit()
        env.step(0)
        assert pygame.display.get_surface() is not None
        env.close()

    def test_closing_twice_or_before_drawing_is_fine(self, world):
        env = make(world)
        env.close()
        env.render()
        env.close()
        env.close()

    def test_unknown_mode_is_refused(self, world):
        env = make(world)
        env.render()
        with pytest.raises(ValueError, match=r"mode must be .* got 'svg'"):
            env.unwrapped._renderer.render("svg")

    @pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
    def test_drawing_twice_gives_the_same(self, world, mode):
        env = make(world, mode)
        env.step(0)
        assert np.array_equal(env.render(), env.render())

    @pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
    def test_a_deployment_and_a_step_change_what_is_drawn(self, world, mode):
        env = make(world, mode)
        start = env.render()
        env.unwrapped.deploy(lopsided_policy(env))
        deployed = env.render()
        assert not np.array_equal(start, deployed)
        env.step(0)
        assert not np.array_equal(deployed, env.render())

    @pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
    def test_drawing_does_not_change_the_trajectory(self, world, mode):
        drawn, plain = (make(world, each, round_length=20) for each in (mode, None))
        assert walk(drawn, 50) == walk(plain, 50)
        assert drawn.unwrapped.round == 2

    def test_restart_of_the_world_brings_back_the_first_picture(self, world):
        env = make(world)
        first = env.render()
        env.unwrapped.deploy(lopsided_policy(env))
        env.step(0)
        env.render()
        env.reset(seed=0)
        assert np.array_equal(env.render(), first)

    def test_a_gradually_moving_world_can_be_drawn(self, world):
        env = make(world, adaptation_rate=0.3)
        env.unwrapped.deploy(lopsided_policy(env))
        assert env.render().ndim == 3


@pytest.mark.parametrize(
    ("world", "arguments"),
    [
        ("PerformativeGridWorld-v0", {"grid": ["..G"]}),
        ("PerformativeGridWorld-v0", {"grid": [[-1.0], [2.0]]}),
        ("PerformativeGridWorld-v0", {"grid": [[-0.1 * index for index in range(40)], [1.0] * 40], "n_followers": 2}),
        ("PerformativeGridWorld-v0", {"grid": HAZARDOUS_GRID, "n_followers": 1}),
        ("PerformativePricing-v0", {"horizon": 1, "inventory": 1, "n_prices": 2}),
        ("PerformativePricing-v0", {"horizon": 60, "inventory": 100, "n_prices": 50}),
        ("PerformativePricing-v0", {"base_willingness": -2.0, "shift": 0.0}),
        ("SoftmaxPeMDP-v0", {"n_states": 1, "n_actions": 1}),
        ("SoftmaxPeMDP-v0", {"n_states": 70, "n_actions": 9}),
    ],
)
@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_worlds_of_any_size_fit_on_a_screen(world, arguments, mode):
    env = make(world, mode, **arguments)
    env.unwrapped.deploy(lopsided_policy(env))
    env.step(0)
    drawn = env.render()
    if mode == "ansi":
        assert max(map(len, drawn.splitlines())) <= 440
    else:
        assert min(drawn.shape[:2]) >= 400
        assert max(drawn.shape[:2]) <= 1100


class TestGridWorld:
    def test_text_marks_the_agent_and_the_most_probable_moves(self):
        env = make("PerformativeGridWorld-v0", "ansi")
        row, column = divmod(env.unwrapped.state, 8)
        lines = env.render().splitlines()
        grid = lines[lines.index("") + 2 :][:8]
        assert [line[:15].split()[column] for line in grid].index("@") == row
        assert f"row {row}, column {column}" in lines[-2]
        assert set(grid[0][16:31].split()) == {"+"}
        env.unwrapped.deploy(lopsided_policy(env, action=1))
        assert env.render().splitlines()[4][16:31].split() == [">"] * 8

    def test_text_tells_who_made_the_move(self):
        env = make("PerformativeGridWorld-v0", "ansi")
        env.step(1)
        assert "agent moved right" in env.render()
        env.unwrapped.deploy(lopsided_policy(env))
        told = {}
        for _ in range(60):
            *_, done, _, info = env.step(0)
            told.setdefault(info["intervention"], env.render().splitlines()[0])
            if done:
                env.reset()
        assert "follower" in told[True]
        assert "follower" not in told[False]

    def test_picture_shows_an_intervention_in_the_colour_of_the_world(self):
        env = make("PerformativeGridWorld-v0")
        env.step(1)
        own = env.render()
        env.unwrapped._last["intervention"] = True
        assert not np.array_equal(own, env.render())

    def test_mean_intervention_is_that_of_the_dynamics_over_cells_that_are_no_goals(self):
        env = make("PerformativeGridWorld-v0", "ansi")
        env.unwrapped.deploy(lopsided_policy(env))
        share = 1.0 - env.unwrapped.dynamics.latents["interventions"][:-1, 4].mean().item()
        assert f"mean intervention probability {share:.2f} (+{share:.2f} since round 0)" in env.render()

    def test_cells_have_their_published_letters_and_others_go_by_reward(self):
        assert cell_characters(np.array([[-0.01, -0.5, 1.0]])).tolist() == [[".", "H", "G"]]
        assert cell_characters(np.array([[-0.3, -0.01, -0.1, 2.0]])).tolist() == [["b", ".", "a", "G"]]
        many = cell_characters(-np.arange(100.0)[None])[0]
        assert (many[0], many[-1]) == ("a", "z")


class TestPricing:
    def test_season_is_filled_as_it_goes_and_emptied_at_reset(self):
        env = make("PerformativePricing-v0", "ansi")
        for period in range(3):
            *_, info = env.step(period)
            sold = "*" if info["sale"] else ""
            assert env.render().splitlines()[3].split()[period] == f"{info['price']:.2f}{sold}"
        env.reset()
        assert set(env.render().splitlines()[3].split()) == {"-"}

    def test_periods_that_were_not_drawn_stay_empty_and_are_counted(self):
        env = make("PerformativePricing-v0", "ansi")
        env.step(7)
        env.render()
        env.step(7)
        env.step(7)
        lines = env.render().splitlines()
        assert lines[3].split()[1] == "-"
        assert "without 1 period" in lines[2]

    def test_a_season_that_began_unseen_replaces_the_old_one(self):
        env = make("PerformativePricing-v0", "ansi")
        for _ in range(5):
            env.step(7)
            env.render()
        env.reset()
        env.step(7)
        assert env.render().splitlines()[3].split()[1:] == ["-"] * 9

    def test_stock_is_that_of_the_season_also_when_it_is_over(self):
        env = make("PerformativePricing-v0", "ansi", inventory=1)
        assert "1 of 1 units left" in env.render()
        sold_out = False
        while not sold_out:
            *_, terminated, _, info = env.step(0)
            sold_out = info["sale"]
            if terminated and not sold_out:
                assert "season over, 1 of 1" in env.render()
                env.reset()
        assert "season over, 0 of 1 units left; sold one unit at 0.50" in env.render()

    def test_text_gives_the_demand_in_force(self):
        env = make("PerformativePricing-v0", "ansi")
        env.unwrapped.deploy(lopsided_policy(env, action=7))
        now, unshifted = (line for line in env.render().splitlines() if line.startswith("Pr(sale)"))
        expected = env.unwrapped.dynamics.probs[0, :, 0].numpy()
        assert np.allclose([float(word) for word in now.split()[2:]], [float(f"{p:.2f}") for p in expected])
        assert float(unshifted.split()[-1]) > float(now.split()[-1])


class TestMatrix:
    def test_text_marks_the_state_of_the_agent(self):
        env = make("SoftmaxPeMDP-v0", "ansi")
        env.step(0)
        (marked,) = (line for line in env.render().splitlines() if line.startswith(">") and "where" not in line)
        assert int(marked.split()[1]) == env.unwrapped.state

    def test_text_gives_the_chain_the_policy_runs(self):
        env = make("SoftmaxPeMDP-v0", "ansi")
        env.unwrapped.deploy(lopsided_policy(env))
        (marked,) = (line for line in env.render().splitlines() if line.startswith(">") and "where" not in line)
        transitions, _ = env.unwrapped.dynamics.dense()
        state = env.unwrapped.state
        chain = lopsided_policy(env)[state] @ transitions[state].numpy()
        assert np.allclose([float(word) for word in marked.split()[-10:]], chain, atol=0.0051)


class TestCharts:
    def test_history_keeps_the_latest_rounds_and_forgets_them_when_the_world_restarts(self):
        history = RoundHistory(0.5)
        for index in range(1, 101):
            history.note(index, float(index))
        assert history.rounds == list(range(51, 101))
        history.note(100, 100.0)
        assert history.change() == "+1.00 since round 99"
        history.note(2, 7.0)
        assert history.rounds == [0, 2]
        assert history.values.tolist() == [0.5, 7.0]

    def test_history_restarts_when_a_known_round_looks_different(self):
        history = RoundHistory(0.0)
        history.note(1, 1.0)
        history.note(2, 2.0)
        history.note(2, 5.0)
        assert history.rounds == [0, 2]

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.7, 4.1), (0.0, 0.003), (10.0, 60.0), (99.0, 101.0)])
    def test_ticks_are_few_round_and_in_range(self, low, high):
        found = ticks(low, high, 5)
        assert 2 <= len(found) <= 6
        assert low - 1e-9 <= min(found)
        assert max(found) <= high + 1e-9
        (step,) = set(np.diff(found).round(9))
        assert f"{step:e}"[0] in "125"
        assert float(f"{step:.0e}") == pytest.approx(step)

    def test_numbers_have_a_true_minus_and_no_negative_zero(self):
        assert number(-1.5) == "\N{MINUS SIGN}1.50"
        assert number(-0.001) == "0.00"

    def test_axes_put_data_where_they_belong(self):
        axes = Axes(SimpleNamespace(), SimpleNamespace(x=10, width=100, bottom=60, height=50), (0.0, 2.0), (0.0, 1.0))
        assert axes.at(0.0, 0.0) == (10, 60)
        assert axes.at(2.0, 1.0) == (110, 10)

    def test_dashes_run_on_across_the_points_of_a_path(self):
        canvas = Canvas(100, 20)
        canvas.path([(float(x), 10.0) for x in range(0, 101, 2)], (0, 0, 0), 4.0, dash=10.0)
        import pygame

        row = pygame.surfarray.array3d(canvas.finish())[:, 10, 0]
        assert row[[5, 25, 45]].max() < 50
        assert row[[15, 35, 55]].min() > 200
