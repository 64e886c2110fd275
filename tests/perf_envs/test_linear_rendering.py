"""Pictures and text of LinearPricing-v0."""

import sys

import gymnasium as gym
import numpy as np
import pytest

SIZES = [{}, {"n_products": 3}, {"horizon": 1}, {"horizon": 70, "n_products": 30}, {"shift": 0.0, "price_high": 1e-3}]


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def make(mode="rgb_array", **arguments):
    env = gym.make("LinearPricing-v0", render_mode=mode, **arguments)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("arguments", SIZES)
def test_rgb_array_is_a_picture_that_is_not_blank_and_opens_no_display(arguments):
    import pygame

    pygame.display.quit()
    env = make(**arguments)
    env.unwrapped.deploy(env.unwrapped.problem.price_high)
    env.step(np.zeros(env.unwrapped.n_products))
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape == (720, 1000, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert not pygame.display.get_init()
    assert np.array_equal(env.render(), picture)


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_a_deployment_and_a_step_change_what_is_drawn_and_a_restart_brings_it_back(mode):
    env = make(mode)
    start = env.render()
    env.unwrapped.deploy(3.0)
    deployed = env.render()
    assert not np.array_equal(start, deployed)
    env.step([0.0])
    assert not np.array_equal(deployed, env.render())
    env.reset(seed=0)
    assert np.array_equal(env.render(), start)


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_drawing_does_not_change_the_trajectory(mode):
    lives = []
    for each in (mode, None):
        env = make(each, round_length=20, adaptation_rate=0.3)
        rewards = []
        for step in range(50):
            _, reward, terminated, _, _ = env.step([np.sin(step)])
            rewards.append(reward)
            if each:
                env.render()
            if terminated:
                env.reset()
        lives.append((rewards, env.unwrapped.round))
    assert lives[0] == lives[1]
    assert lives[0][1] == 2


def test_human_mode_shows_a_window_of_the_picture_and_closes_it():
    import pygame

    env = make("human")
    env.unwrapped.metadata = {**env.unwrapped.metadata, "render_fps": 1000}
    env.step([0.0])
    assert env.render() is None
    window = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert np.array_equal(window, env.unwrapped._renderer.render("rgb_array"))
    env.close()
    assert not pygame.display.get_init()
    env.close()


def test_text_needs_no_pygame_and_tells_every_product(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = make("ansi", n_products=2, base_demand=[4.0, 3.0], shift=[1.0, 0.5], demand_std=0.0)
    env.unwrapped.deploy([1.5, 5.0])
    env.step([0.0, 1.0])
    text = env.render()
    lines = [line.split() for line in text.splitlines()]
    assert lines[-2] == ["1", "1.50", "2.50", "4.00", "2.00", "4.00"]
    assert lines[-1] == ["2", "5.00", "0.50", "3.00", "3.00", "6.00"]
    assert "round 1: period 2 of 20; asked 3.00, 6.00, demand 2.50, 0.50, revenue 10.50" in text
    value = env.unwrapped.problem.value([1.5, 5.0])
    assert f"earns {float(value):.2f} once" in text


def test_the_season_holds_what_was_drawn_of_it():
    env = make("ansi", horizon=4)
    for action in (0.0, -1.0):
        env.step([action])
        env.render()
    assert env.render().splitlines()[2].split() == ["3.00", "0.00", "-", "-"]
    env.step([1.0])
    env.step([1.0])
    assert "season over" in env.render()
    assert env.render().splitlines()[2].split() == ["3.00", "0.00", "-", "6.00"]
    assert "without 1 periods not drawn" in env.render()
    env.reset()
    env.step([1.0])
    assert env.render().splitlines()[2].split() == ["6.00", "-", "-", "-"]
