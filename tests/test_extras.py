"""What is installed with the project and what with its extras, and what is said where an extra is missing."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from perf_envs.extras import EXTRAS, MissingExtraError, check_extra

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = {"gymnasium", "numpy", "scipy", "torch"}
#: What each package may import, beside the standard library and the packages before it.
ALLOWED = {
    "perf_envs": BASE | {*EXTRAS["render"]},
    "agents": BASE | {*EXTRAS["agents"]},
    "train": BASE | {name for extra in ("agents", "train", "ray", "tune") for name in EXTRAS[extra]},
}


def distributions(requirements):
    """Return the names of requirements as they are compared, without those that are extras of the project itself."""
    names = {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}
    return names - {"performative-rl"}


def included(extra):
    """Return the extras that an extra includes by name."""
    found = re.findall(r"performative-rl\[([\w,]+)\]", " ".join(PROJECT["optional-dependencies"][extra]))
    return {name for names in found for name in names.split(",")}


def run(code, *missing):
    """Run code in a new process in which some modules cannot be imported."""
    script = f"import sys\nfor name in {missing}: sys.modules[name] = None\n{code}"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)


def modules_imported_by(package):
    """Return the libraries that any line of a package imports, however late."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"perf_envs", "agents", "train"}


def test_the_worlds_need_four_libraries():
    assert distributions(PROJECT["dependencies"]) == BASE


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_what_its_extras_bring_and_no_more(package):
    assert modules_imported_by(package) <= ALLOWED[package]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_of_its_requirements(extra):
    known = metadata.packages_distributions()
    missing = [name for name in EXTRAS[extra] if name not in known]
    if missing:
        pytest.skip(f"not installed: {missing}")
    brought = {name.lower().replace("_", "-") for module in EXTRAS[extra] for name in known[module]}
    assert brought == distributions(PROJECT["optional-dependencies"][extra])


def test_extras_include_what_they_build_on():
    assert included("train") == {"agents"}
    assert included("ray") == included("tune") == {"train"}
    assert included("all") == set(EXTRAS)
    assert included("dev") == {"all"}


def test_worlds_are_played_solved_and_told_with_what_the_worlds_need():
    code = """
import gymnasium as gym, numpy as np, perf_envs
from perf_envs import exact
for name in perf_envs.WORLDS:
    env = gym.make(name, round_length=5, render_mode="ansi")
    env.reset(seed=0)
    for _ in range(12):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    assert "round" in env.render()
    gym.make_vec(name, num_envs=3, vectorization_mode="vector_entry_point").reset(seed=0)
    problem = env.unwrapped.problem
    assert np.isfinite(float(problem.value(problem.policies.initial())))
"""
    done = run(code, *(name for names in EXTRAS.values() for name in names), "arch", "rliable")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "code",
    ["import agents", "from agents import PePG", "from agents.pepg.pepg import PePG", "import agents.retraining"],
)
@pytest.mark.parametrize("module", EXTRAS["agents"])
def test_agents_name_the_extra_they_come_with(code, module):
    done = run(code, module)
    assert done.returncode == 1
    said = f"agents needs {module}, not installed: pip install 'performative-rl[agents]'"
    assert done.stderr.splitlines()[-1].endswith(said)


def test_all_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    monkeypatch.setitem(sys.modules, "clarabel", None)
    with pytest.raises(MissingExtraError, match="agents needs sb3_contrib, clarabel, not installed") as caught:
        check_extra("agents", "agents")
    assert isinstance(caught.value, ModuleNotFoundError)
    assert caught.value.name == "sb3_contrib"


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_that_is_installed_is_not_asked_for(extra):
    missing = [name for name in EXTRAS[extra] if metadata.packages_distributions().get(name) is None]
    if missing:
        pytest.skip(f"not installed: {missing}")
    check_extra(extra, "this")


@pytest.mark.parametrize("module", ["tyro", "yaml", "pandas"])
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--algo", "ppo", "--env", "PerformativePricing-v0"], []])
def test_the_command_line_says_in_one_line_what_to_install(module, arguments):
    code = f"import runpy\nsys.argv[1:] = {arguments}\nrunpy.run_module('train', run_name='__main__', alter_sys=True)"
    done = run(code, module)
    said = f"error: the command line needs {module}, not installed: pip install 'performative-rl[train]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize("code", ["import train\ntrain.evaluate", "from train import evaluate", "import train.report"])
def test_functions_of_the_command_line_name_the_extra_too(code):
    done = run(code, "pandas", "tyro")
    assert done.returncode == 1
    assert "needs pandas, tyro, not installed: pip install 'performative-rl[train]'" in done.stderr.splitlines()[-1]


def test_a_picture_names_the_extra_and_text_needs_none():
    code = """
import gymnasium as gym, perf_envs
env = gym.make("PerformativePricing-v0", render_mode="{}")
env.reset(seed=0)
env.render()
"""
    assert run(code.format("ansi"), "pygame").returncode == 0
    done = run(code.format("rgb_array"), "pygame")
    assert done.returncode == 1
    assert "drawing needs pygame, not installed: pip install 'performative-rl[render]'" in done.stderr.splitlines()[-1]
