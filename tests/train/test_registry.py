import importlib.metadata
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import A2C, PPO

from tests.train import strangers
from tests.worlds import ALL_WORLDS, CONTINUOUS_WORLDS, TABULAR_WORLDS
from train import registry
from train.fitting import applies
from train.registry import (
    ALGORITHMS,
    GROUP,
    SHIPPED,
    Algorithm,
    algorithm_names,
    find_algorithm,
    register_algorithm,
    shipped_facts,
    use_files,
)
from train.settings import resolve_settings
from train.tuning.spaces import Range, read_space

PRICING = "PerformativePricing-v0"
HERE = "tests.train.strangers"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leave no algorithm behind."""
    before = dict(ALGORITHMS)
    yield
    ALGORITHMS.clear()
    ALGORITHMS.update(before)
    registry._register_entry_points.cache_clear()


# -- where algorithms are found --------------------------------------------------------------------------------------


def test_a_class_is_found_by_its_module_and_called_by_its_name() -> None:
    found = find_algorithm(f"{HERE}:Silent")
    assert (found.name, found.label, found.build) == ("Silent", "Silent", strangers.Silent)
    assert find_algorithm("Silent") is found
    assert find_algorithm(f"{HERE}:Silent") is found


def test_what_was_registered_for_a_class_is_not_replaced_by_asking_for_the_class(tmp_path: Path) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text("n_steps: 7\n")
    register_algorithm("Silent", strangers.Silent, label="Mine", settings=settings)
    assert find_algorithm(f"{HERE}:Silent").label == "Mine"
    assert resolve_settings(f"{HERE}:Silent", PRICING)["n_steps"] == 7


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ppoo", "did you mean 'ppo'"),
        ("no_such_module:Silent", "algo must name a module that can be imported, got 'no_such_module:Silent'"),
        (f"{HERE}:Silnet", f"{HERE} has no class 'Silnet'.*did you mean 'Silent'"),
        (f"{HERE}:NoAlgorithm", "algo must be a class with learn"),
        (f"{HERE}:always_first", "algo must be a class with learn"),
    ],
)
def test_what_cannot_be_found_is_said_and_leaves_nothing(name: str, said: str) -> None:
    before = dict(ALGORITHMS)
    with pytest.raises(ValueError, match=said):
        find_algorithm(name)
    assert before == ALGORITHMS


def point(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, GROUP)


def install(points: list[importlib.metadata.EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
        return [one for one in points if one.group == group]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    registry._register_entry_points.cache_clear()


def test_installed_packages_bring_classes_and_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "brought", Algorithm("other", "Brought", strangers.Silent), raising=False)
    points = [point("plain", f"{HERE}:Bare"), point("whole", f"{HERE}:brought"), point("ppo", f"{HERE}:Silent")]
    install(points, monkeypatch)
    assert find_algorithm("plain").build is strangers.Bare
    assert (find_algorithm("whole").name, find_algorithm("whole").label) == ("whole", "Brought")
    assert find_algorithm("ppo").build is PPO, "a shipped name stays what it is"
    assert {"plain", "whole"} < set(algorithm_names())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("gone", "no_such_module:Class", "'gone' .* cannot be used: ModuleNotFoundError"),
        ("bad/name", f"{HERE}:Silent", "'bad/name' .* name must be made of letters"),
        ("no", f"{HERE}:NoAlgorithm", "'no' .* algo must be a class with learn"),
    ],
)
def test_a_package_that_is_broken_is_named_and_the_others_are_used(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install([point(name, value), point("plain", f"{HERE}:Bare")], monkeypatch)
    with pytest.warns(UserWarning, match=said):
        assert "plain" in algorithm_names()
    assert name not in ALGORITHMS
    assert "plain" in algorithm_names()


# -- registering -----------------------------------------------------------------------------------------------------


def test_a_variant_has_the_settings_of_what_it_is_a_variant_of_and_then_its_own(tmp_path: Path) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text("n_epochs: 3\n")
    register_algorithm("mine", PPO, variant_of="ppo", settings=settings)
    mine, whole = resolve_settings("mine", PRICING), resolve_settings("ppo", PRICING)
    assert mine == {**whole, "n_epochs": 3}
    assert find_algorithm("mine").variant_of == "ppo"


def test_an_algorithm_may_be_registered_again_for_the_same_class() -> None:
    register_algorithm("mine", strangers.Silent)
    register_algorithm("mine", f"{HERE}:Silent", label="Mine")
    assert find_algorithm("mine").label == "Mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "a/b"}, "name must be made of letters"),
        ({"name": ""}, "name must be made of letters"),
        ({"name": ".hidden"}, "name must be made of letters"),
        ({"name": "ppo"}, "name must be free, but 'ppo' is shipped"),
        ({"name": "taken"}, "name must be free, but 'taken' is registered for"),
        ({"entry": strangers.NoAlgorithm}, "algo must be a class with learn"),
        ({"entry": len}, "algo must be a class with learn"),
        ({"variant_of": "ppoo"}, "did you mean 'ppo'"),
        ({"settings": "nowhere.yaml"}, "settings must be a file, got 'nowhere.yaml'"),
        ({"search_space": "nowhere.yaml"}, "search_space must be a file, got 'nowhere.yaml'"),
    ],
)
def test_what_cannot_be_registered_leaves_nothing(arguments: dict[str, Any], said: str) -> None:
    register_algorithm("taken", A2C)
    before = dict(ALGORITHMS)
    with pytest.raises(ValueError, match=said):
        register_algorithm(**{"name": "mine", "entry": strangers.Silent, **arguments})
    assert before == ALGORITHMS


def test_an_algorithm_can_be_sent_to_another_process() -> None:
    sent = pickle.loads(pickle.dumps(find_algorithm(f"{HERE}:Silent")))
    assert sent.build is strangers.Silent


# -- what is known of them -------------------------------------------------------------------------------------------


def test_a_class_says_of_itself_what_it_knows_and_deploys() -> None:
    bare, silent = find_algorithm(f"{HERE}:Bare"), find_algorithm(f"{HERE}:Silent")
    assert (bare.uses_response_map, bare.deploys_itself) == (True, True)
    assert (silent.uses_response_map, silent.deploys_itself) == (False, False)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_older_results_do_not_say_is_what_the_class_says(name: str) -> None:
    facts, algorithm = shipped_facts(name), SHIPPED[name]
    assert facts is not None
    assert facts["uses_response_map"] == algorithm.uses_response_map
    assert (facts["label"], facts["variant_of"]) == (algorithm.label, algorithm.variant_of)


def test_of_algorithms_of_others_older_results_know_nothing() -> None:
    register_algorithm("mine", strangers.Silent)
    assert shipped_facts("mine") is None


def test_arguments_without_annotations_are_settings_of_any_type() -> None:
    bare = find_algorithm(f"{HERE}:Bare")
    assert bare.hyperparameters == {"pace": Any, "depth": Any}
    assert bare.defaults == {"pace": 0.5, "depth": None}
    settings = resolve_settings("Bare", PRICING, overrides={"pace": "fast", "depth": [1, 2]})
    assert (settings["pace"], settings["depth"], settings["policy"]) == ("fast", [1, 2], "MlpPolicy")
    with pytest.raises(ValueError, match="did you mean 'pace'"):
        resolve_settings("Bare", PRICING, overrides={"pac": 1})


_TABULAR_ONLY = {"rr", "rga", "drr", "mdrr", "zofw", "dqn", "qrdqn"}
_CONTINUOUS_ONLY = {"sac", "tqc", "td3"}


@pytest.mark.parametrize("env", ALL_WORLDS)
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_algorithms_act_where_their_actions_are(name: str, env: str) -> None:
    unable = _TABULAR_ONLY if env in CONTINUOUS_WORLDS else _CONTINUOUS_ONLY
    assert applies(name, env) == (name not in unable)


def test_a_class_that_has_supports_is_asked() -> None:
    find_algorithm(f"{HERE}:Bare")
    assert all(applies("Bare", env) for env in TABULAR_WORLDS)
    assert not any(applies("Bare", env) for env in (*CONTINUOUS_WORLDS, "HiddenPricing-v0"))


def test_a_class_that_says_nothing_is_asked_as_far_as_its_library_looks_at_spaces() -> None:
    find_algorithm(f"{HERE}:Silent")
    assert all(applies("Silent", env) for env in (*ALL_WORLDS, "HiddenPricing-v0", "Boxed-v0"))
    assert applies("sac", "Boxed-v0")
    assert not applies("dqn", "Boxed-v0")


# -- files of the user's ---------------------------------------------------------------------------------------------


def test_files_of_the_users_come_over_those_that_algorithms_have(tmp_path: Path) -> None:
    (tmp_path / "ppo.yaml").write_text("learning_rate: 0.25\n")
    before, a2c = resolve_settings("ppo", PRICING), resolve_settings("a2c", PRICING)
    use_files(["ppo", "a2c"], settings=tmp_path)
    assert resolve_settings("ppo", PRICING) == {**before, "learning_rate": 0.25}
    assert resolve_settings("a2c", PRICING) == a2c


def test_search_spaces_of_the_users_take_the_place_of_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "ppo.yaml").write_text("learning_rate: {low: 1e-5, high: 1e-1, log: true}\n")
    use_files(["ppo"], spaces=tmp_path)
    assert read_space("ppo", PRICING) == {"learning_rate": Range(1e-5, 1e-1, log=True)}


def test_files_are_kept_when_a_class_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "Silent.yaml").write_text("n_steps: 9\n")
    use_files([f"{HERE}:Silent"], settings=tmp_path)
    assert resolve_settings(f"{HERE}:Silent", PRICING)["n_steps"] == 9


@pytest.mark.parametrize("what", ["settings", "spaces"])
def test_a_folder_without_a_file_for_any_of_them_is_refused(what: str, tmp_path: Path) -> None:
    (tmp_path / "ppo.yml").touch()
    before = dict(ALGORITHMS)
    with pytest.raises(ValueError, match=r"must be a folder with ppo\.yaml, a2c\.yaml, or some of these, got"):
        use_files(["ppo", "a2c"], **{what: tmp_path})
    assert before == ALGORITHMS
