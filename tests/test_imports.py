"""Importing a package costs little: what is heavy is imported by whoever needs it. Modules are counted, not seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import agents
import perf_envs
import train

ROOT = Path(__file__).parent.parent
#: Libraries that take a tenth of a second and more, or that an extra brings.
HEAVY = {"clarabel", "matplotlib", "optuna", "pandas", "pygame", "ray", "sb3_contrib", "scipy"}
HEAVY |= {"stable_baselines3", "torch"}


def imported(code: str) -> set[str]:
    """Return which heavy libraries a new process has imported after some code."""
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return HEAVY & set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("package", ["perf_envs", "agents", "train"])
def test_a_package_imports_nothing_heavy(package):
    assert imported(f"import {package}") == set()


def test_worlds_are_known_by_name_before_torch_is_imported():
    code = """
import gymnasium as gym, perf_envs
from perf_envs.registration import split_variant
assert {*perf_envs.WORLDS} <= {*gym.registry}
assert split_variant("PerformativePricing-v0@strong")[1] == {"shift": 6.0}
"""
    assert imported(code) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["bench", "--help"], ["run", "--sede", "3"], []])
def test_help_and_misspelt_options_are_answered_before_anything_heavy_is_imported(arguments):
    assert imported(f"from train.cli import main\nmain({arguments})") == set()


def test_a_world_is_made_and_played_without_the_libraries_of_agents_and_pictures():
    code = (
        "import gymnasium as gym, perf_envs\nenv = gym.make('PerformativePricing-v0')\nenv.reset(seed=0), env.step(0)"
    )
    assert imported(code) == {"scipy", "torch"}


@pytest.mark.parametrize("package", [perf_envs, agents, train])
def test_every_public_name_is_there_and_listed(package):
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is getattr(package, name)


@pytest.mark.parametrize("package", [perf_envs, agents, train])
def test_a_name_that_does_not_exist_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Nothing'"):
        _ = package.Nothing


def test_a_module_among_the_public_names_needs_no_import_of_its_own():
    assert imported("import perf_envs\nassert perf_envs.exact.performative_value") == {"scipy", "torch"}


@pytest.mark.slow
def test_every_module_can_be_the_first_that_is_imported():
    code = """
import importlib, pkgutil, gymnasium
OURS = ("perf_envs", "agents", "train")
names = [
    module.name
    for package in map(importlib.import_module, OURS)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not module.name.endswith("__main__")
]
assert len(names) > 100
for name in names:
    for known in [known for known in sys.modules if known.split(".")[0] in OURS]:
        del sys.modules[known]
    gymnasium.registry.clear()
    importlib.import_module(name)
"""
    assert "torch" in imported(code)
