"""Where the ranges of arguments end, and the defaults that are those of Stable-Baselines3."""

import inspect

import pytest
from sb3_contrib import TRPO
from stable_baselines3 import PPO

from agents import GRPO, MDPO, NPG, REINFORCE, PerformativeNPG, PerformativePPO, PPOPenalty, make_vec_env

TINY = 1e-9
ALGORITHMS = [GRPO, MDPO, NPG, REINFORCE, PPOPenalty, PerformativeNPG, PerformativePPO]
RANGES = {
    "n_steps": ([1], [0]),
    "batch_size": ([2], [0]),
    "n_epochs": ([1], [0]),
    "gamma": ([1.0], [-TINY, 1.0 + TINY]),
    "gae_lambda": ([0.0, 1.0], [-TINY, 1.0 + TINY]),
    "vf_coef": ([0.0], [-TINY]),
    "max_grad_norm": ([TINY], [0.0]),
    "learning_rate": ([0.0], [-TINY]),
    "ent_coef": ([0.0], [-TINY]),
    "cg_max_steps": ([1], [0]),
    "cg_damping": ([0.0], [-TINY]),
    "n_critic_updates": ([0], [-1]),
}


def arguments_of(algorithm):
    return inspect.signature(algorithm).parameters


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(algorithm, name) for algorithm in ALGORITHMS for name in RANGES if name in arguments_of(algorithm)],
)
def test_ranges_end_where_the_docstring_says(algorithm, name):
    venv = make_vec_env("PerformativePricing-v0", n_envs=2)
    taken, refused = RANGES[name]
    for value in taken:
        algorithm("MlpPolicy", venv, device="cpu", **{name: value})
    for value in refused:
        with pytest.raises(ValueError, match=name):
            algorithm("MlpPolicy", venv, device="cpu", **{name: value})


@pytest.mark.parametrize("algorithm", [GRPO, MDPO, REINFORCE, PPOPenalty, PerformativePPO])
@pytest.mark.parametrize(
    "name",
    ["vf_coef", "gae_lambda", "normalize_advantage", "use_sde", "sde_sample_freq", "stats_window_size", "verbose"],
)
def test_what_is_as_in_stable_baselines_has_its_default(algorithm, name):
    if name in arguments_of(algorithm) and not (algorithm is REINFORCE and name == "normalize_advantage"):
        assert arguments_of(algorithm)[name].default == arguments_of(PPO)[name].default


@pytest.mark.parametrize("algorithm", [NPG, PerformativeNPG])
@pytest.mark.parametrize(
    "name",
    [
        "gae_lambda",
        "cg_max_steps",
        "cg_damping",
        "n_critic_updates",
        "normalize_advantage",
        "stats_window_size",
        "verbose",
    ],
)
def test_the_machinery_of_natural_gradients_has_the_defaults_of_trpo(algorithm, name):
    assert arguments_of(algorithm)[name].default == arguments_of(TRPO)[name].default


@pytest.mark.parametrize("algorithm", [MDPO, NPG, REINFORCE, PPOPenalty])
def test_the_discount_is_that_of_stable_baselines_unless_given(algorithm):
    assert arguments_of(algorithm)["gamma"].default == arguments_of(PPO)["gamma"].default


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["callback", "log_interval", "reset_num_timesteps", "progress_bar"])
def test_learning_has_the_defaults_of_stable_baselines(algorithm, name):
    assert arguments_of(algorithm.learn)[name].default == arguments_of(PPO.learn)[name].default


@pytest.mark.parametrize(
    ("name", "alike"),
    [
        ("n_steps", [MDPO, NPG, REINFORCE]),
        ("batch_size", [GRPO, MDPO, NPG, PerformativeNPG]),
        ("n_epochs", [GRPO, MDPO]),
    ],
)
def test_methods_that_are_compared_collect_and_learn_in_the_same_portions(name, alike):
    assert len({arguments_of(algorithm)[name].default for algorithm in alike}) == 1
