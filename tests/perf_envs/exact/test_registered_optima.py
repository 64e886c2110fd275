"""What is best in a world, told by whoever registers it."""

import gymnasium as gym
import pytest
import torch

from perf_envs import WORLDS, register_world
from perf_envs.exact import optima, performative_value
from perf_envs.exact.optima import save_best_known
from perf_envs.worlds.softmax.env import SoftmaxPeMDP


class SmallPeMDP(SoftmaxPeMDP):
    """Three states."""

    def __init__(self, n_states=3, **kwargs):
        super().__init__(n_states=n_states, **kwargs)


def test_an_optimum_in_a_file_belongs_to_the_worlds_that_behave_alike(tmp_path, monkeypatch, empty_shelf):
    """What was found for a world is known to it, and to a variant that is the same, but not to another one."""
    best = gym.make("SoftmaxPeMDP-v0", n_states=3).unwrapped.problem
    policy = torch.full((3, 4), 0.25, dtype=torch.float64)
    path = save_best_known("Small-v0", best, policy, "by hand")
    monkeypatch.setattr(optima, "DATA", tmp_path / "nothing")
    assert best.best_known() is None
    variants = {"same": {"xi": 0.5}, "other": {"xi": 0.4}}
    register_world("Small-v0", SmallPeMDP, max_episode_steps=9, variants=variants, optimum=path)
    try:
        found = [gym.make(f"Small{name}-v0").unwrapped.problem.best_known() for name in ("", "-same", "-other")]
    finally:
        for name in ("Small-v0", "Small-same-v0", "Small-other-v0"):
            del gym.registry[name]
        del WORLDS["Small-v0"]
    assert found[0].value == found[1].value == pytest.approx(float(performative_value(best, policy)))
    assert found[2] is None


def test_an_optimum_that_is_no_number_and_no_file_is_refused_and_nothing_is_registered():
    with pytest.raises(ValueError, match=r"optimum must be a number or a file, got 'nowhere\.npz'"):
        register_world("Small-v0", SmallPeMDP, optimum="nowhere.npz")
    assert "Small-v0" not in WORLDS
    assert "Small-v0" not in gym.registry
