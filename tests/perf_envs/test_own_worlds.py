"""Worlds of one's own on the base class, with and without a renderer."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from perf_envs import PerformativeEnv, ResponseMap
from perf_envs.perception import PerceivedResponse
from perf_envs.worlds.softmax.env import SoftmaxPeMDP
from perf_envs.worlds.softmax.render import MatrixRenderer
from tests.perf_envs.worlds import Corridor, make_world


class DrawnCorridor(Corridor):
    """A corridor with a picture."""

    def _make_renderer(self):
        return MatrixRenderer(self)


class Telling(Corridor):
    """Draws without a renderer, as Gymnasium's own environments do."""

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def render(self):
        return f"cell {self.state}"


class Promising(Corridor):
    """Offers what it does not have."""

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012


@pytest.fixture
def registered():
    """Register worlds by class for one test."""
    names = []

    def register(world):
        names.append(f"Own{world.__name__}-v0")
        gym.register(names[-1], entry_point=world)
        return names[-1]

    yield register
    for name in names:
        del gym.registry[name]


def test_a_world_that_draws_nothing_offers_no_render_modes():
    assert Corridor.metadata["render_modes"] == PerformativeEnv.metadata["render_modes"] == []
    with pytest.raises(ValueError, match="render_mode must be None: Corridor draws nothing; got 'ansi'"):
        Corridor(render_mode="ansi")
    env = Corridor()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="Corridor has no render modes"):
        assert env.render() is None


@pytest.mark.parametrize("world", [Corridor, DrawnCorridor, Telling])
def test_gymnasium_checks_it_in_every_mode_it_offers(world, registered, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    name = registered(world)
    for mode in (None, *world.metadata["render_modes"]):
        check_env(gym.make(name, render_mode=mode).unwrapped)


def test_a_renderer_brings_its_modes_to_the_class_and_to_classes_derived_from_it():
    assert DrawnCorridor.metadata["render_modes"] == ["human", "rgb_array", "ansi"]
    assert type("Longer", (DrawnCorridor,), {}).metadata == DrawnCorridor.metadata
    assert type("Own", (SoftmaxPeMDP,), {}).metadata == SoftmaxPeMDP.metadata
    env = DrawnCorridor(render_mode="rgb_array")
    env.reset(seed=0)
    env.step(1)
    assert len(np.unique(env.render())) > 10


def test_what_a_class_says_itself_stands():
    env = Telling(render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == "cell 0"
    with pytest.raises(ValueError, match="render_mode must be one of 'ansi', got 'human'"):
        Telling(render_mode="human")


def test_a_promise_without_a_renderer_names_what_to_implement():
    env = Promising(render_mode="ansi")
    env.reset(seed=0)
    with pytest.raises(NotImplementedError, match=r"Promising offers .*'ansi'.*implement _make_renderer\(\)"):
        env.render()


def test_a_response_without_an_answer_names_what_to_implement():
    class Mute(ResponseMap):
        n_states, n_actions = 2, 2

    class Blind(PerceivedResponse):
        pass

    with pytest.raises(NotImplementedError, match=r"Mute must implement respond\(pi\)"):
        Mute()([[0.5, 0.5]] * 2)
    seen = make_world("SoftmaxPeMDP-v0", n_states=2, n_actions=2).problem.response_map
    with pytest.raises(NotImplementedError, match=r"Blind must implement perceive\(pi\)"):
        Blind(seen)([[0.5, 0.5]] * 2)


@pytest.mark.parametrize("world_id", ["PerformativeGridWorld-v0", "PerformativePricing-v0", "SoftmaxPeMDP-v0"])
def test_the_worlds_of_the_package_offer_all_modes(world_id):
    assert make_world(world_id).metadata["render_modes"] == ["human", "rgb_array", "ansi"]
