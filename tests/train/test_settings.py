import inspect
import itertools
import math
import re
from pathlib import Path

import pytest
import yaml

from agents.common.schedules import PiecewiseLinear
from tests.worlds import ALL_WORLDS, TABULAR_WORLDS
from train.fitting import applies
from train.registry import ALGORITHMS, CONFIGS, SHIPPED, find_algorithm
from train.settings import hyperparameters, parse_assignments, resolve_settings
from train.yaml_files import dump_value, dump_yaml, parse_yaml, read_mapping

PRICING = "PerformativePricing-v0"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(("algo", "env"), [pair for pair in itertools.product(SHIPPED, ALL_WORLDS) if applies(*pair)])
def test_every_shipped_file_is_valid(algo: str, env: str) -> None:
    settings = resolve_settings(algo, env)
    assert settings["n_envs"] >= 1
    assert settings["n_timesteps"] >= 1


def test_every_shipped_algorithm_has_a_file() -> None:
    assert sorted(SHIPPED) == sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def test_all_algorithms_share_the_protocol() -> None:
    shared = [
        {key: resolve_settings(algo, PRICING)[key] for key in ("n_envs", "n_timesteps", "round_length")}
        for algo in SHIPPED
        if applies(algo, PRICING)
    ]
    assert all(settings == shared[0] for settings in shared)


@pytest.mark.parametrize("algo", [name for name, algorithm in ALGORITHMS.items() if algorithm.variant_of == "pepg"])
@pytest.mark.parametrize("env", TABULAR_WORLDS)
def test_an_ablation_differs_in_one_setting_from_what_it_is_like(algo: str, env: str) -> None:
    mine, whole = resolve_settings(algo, env), resolve_settings(str(ALGORITHMS[algo].variant_of), env)
    assert len([key for key in {**mine, **whole} if mine.get(key) != whole.get(key)]) == 1


@pytest.mark.parametrize("algo", ["ppo", "a2c", "trpo"])
@pytest.mark.parametrize("env", TABULAR_WORLDS)
def test_the_versions_with_defaults_have_those_of_stable_baselines3(algo: str, env: str) -> None:
    settings = resolve_settings(f"{algo}_defaults", env)
    signature = inspect.signature(find_algorithm(algo).build).parameters
    given = {key: value for key, value in settings.items() if key in signature and key not in ("policy", "device")}
    given.pop("policy_kwargs")
    steps = given.pop("n_steps") * (1 if algo == "a2c" else settings["n_envs"])
    assert steps == signature["n_steps"].default
    assert given == {key: signature[key].default for key in given}


def test_variants_add_to_the_settings_of_their_world(tmp_path: Path) -> None:
    text = f"default: {{n_steps: 32}}\n{PRICING}: {{n_steps: 64}}\n{PRICING}@strong: {{vf_coef: 0.1}}\n"
    config = write(tmp_path / "mine.yaml", text)
    plain, strong = (resolve_settings("pepg", env, config) for env in (PRICING, f"{PRICING}@strong"))
    assert (plain["n_steps"], plain["env_kwargs"], plain.get("vf_coef")) == (64, {}, None)
    assert (strong["n_steps"], strong["env_kwargs"], strong["vf_coef"]) == (64, {"shift": 6.0}, 0.1)
    stronger = resolve_settings("pepg", f"{PRICING}@strong", None, {"env_kwargs": {"shift": 7.0, "horizon": 5}})
    assert stronger["env_kwargs"] == {"shift": 7.0, "horizon": 5}


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (f"{PRICING}@stronk", "'strong'"),
        ("PerformativePrising-v0@strong", "has no variants.*did you mean 'PerformativePricing-v0'"),
        ("CartPole-v1@weak", "has no variants"),
    ],
)
def test_variants_that_do_not_exist_are_named(env: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        resolve_settings("pepg", env)


def test_a_section_of_a_variant_that_does_not_exist_is_named(tmp_path: Path) -> None:
    config = write(tmp_path / "mine.yaml", f"default: {{n_steps: 32}}\n{PRICING}@stronk: {{n_steps: 64}}\n")
    with pytest.raises(ValueError, match=f"'{PRICING}@strong'"):
        resolve_settings("pepg", PRICING, config)


def test_rounds_cannot_be_longer_than_the_rollouts_of_who_deploys_at_each() -> None:
    with pytest.raises(ValueError, match="round_length must be at most n_steps, 8"):
        resolve_settings("pepg", PRICING, None, {"n_steps": 8})
    assert resolve_settings("pepg", PRICING, None, {"n_steps": 8, "round_length": None})["n_steps"] == 8
    assert resolve_settings("a2c", PRICING, None, {"n_steps": 8})["round_length"] == 16


def test_later_layers_win(tmp_path: Path) -> None:
    text = f"default: {{n_steps: 17, gae_lambda: 0.5}}\n{PRICING}: {{gae_lambda: 0.6, vf_coef: 0.1}}\n"
    settings = resolve_settings("pepg", PRICING, write(tmp_path / "mine.yaml", text), {"vf_coef": 0.2})
    assert (settings["n_steps"], settings["gae_lambda"], settings["vf_coef"]) == (17, 0.6, 0.2)
    assert resolve_settings("pepg", "SoftmaxPeMDP-v0", tmp_path / "mine.yaml")["gae_lambda"] == 0.5


def test_mappings_are_added_to(tmp_path: Path) -> None:
    text = "env_kwargs: {shift: 1.0, horizon: 5}\n"
    settings = resolve_settings("pepg", PRICING, write(tmp_path / "mine.yaml", text), {"env_kwargs": {"shift": 2.0}})
    assert settings["env_kwargs"] == {"shift": 2.0, "horizon": 5}


def test_numbers_with_an_exponent_are_numbers() -> None:
    assert parse_yaml("[3e-3, 1E5, -2.5e+3, .5e1, 7]", "here") == [0.003, 100000.0, -2500.0, 5.0, 7]
    assert resolve_settings("pepg", PRICING)["learning_rate"] == pytest.approx(3e-3, rel=100)


@pytest.mark.parametrize("value", [0.001, 64, True, None, "MlpPolicy", {"points": [[0.0, 1.0]]}, [1, 2], "a: b"])
def test_values_survive_being_written_into_a_command(value: object) -> None:
    assert parse_assignments([f"key={dump_value(value)}"]) == {"key": value}


@pytest.mark.parametrize(
    "text", ["0o17", "1e3", "yes", "1:30", "1_000", "017", "0x1F", "~", "", "2020-01-01", ".5", "<<"]
)
def test_texts_that_look_like_something_else_survive_being_written(text: str) -> None:
    assert parse_yaml(dump_value(text), "here") == text
    assert parse_yaml(dump_yaml({"key": [text]}), "here") == {"key": [text]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("+1", 1),
        ("-0", 0),
        (".5", 0.5),
        ("1.", 1.0),
        ("12e03", 12000.0),
        ("-.inf", -math.inf),
        ("TRUE", True),
        ("Null", None),
        ("~", None),
        ("0o8", "0o8"),
        ("1.2.3", "1.2.3"),
        ("y", "y"),
        ("'yes'", "yes"),
        ("!!float 3", 3.0),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: object) -> None:
    found = parse_yaml(text, "here")
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "text",
    [
        *("1:30", "190:20:30.15", "1_000", "1_0.5", "0b11", "yes", "No", "ON", "off", "2020-01-01", "<<: {a: 1}"),
        *("!!int '1:30'", "!!bool yes", "!!timestamp 2020-01-01", "{a: [no]}", "9" * 5000, "[" * 3000),
    ],
)
def test_what_earlier_versions_of_yaml_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="here is not valid YAML"):
        parse_yaml(text, "here")


def test_shipped_files_mean_what_they_meant_to_an_earlier_yaml() -> None:
    class Earlier(yaml.SafeLoader):
        pass

    exponent = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
    Earlier.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+.0123456789"))
    paths = list(CONFIGS.parent.rglob("*.yaml"))
    assert len(paths) > 20
    for path in paths:
        data = read_mapping(path)
        assert data == yaml.load(path.read_text(), Earlier)
        assert parse_yaml(dump_yaml(data), "again") == data
        assert yaml.load(dump_yaml(data), Earlier) == data, "others can read what is written"


@pytest.mark.parametrize(
    "assignments",
    list(
        itertools.permutations(["env_kwargs.horizon=5", "env_kwargs={shift: 2}", "n_steps=8", "env_kwargs.inventory=3"])
    ),
)
def test_assignments_may_come_in_any_order(assignments: tuple[str, ...]) -> None:
    assert parse_assignments(assignments) == {
        "env_kwargs": {"horizon": 5, "shift": 2, "inventory": 3},
        "n_steps": 8,
    }


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["n_steps=8", "n_steps=16"], "'n_steps' is given twice with --set: 8 and 16"),
        (["env_kwargs.shift=1", "env_kwargs={shift: 2}"], "'env_kwargs.shift' is given twice"),
        (["env_kwargs={shift: 2}", "env_kwargs.shift=1"], "'env_kwargs.shift' is given twice"),
        (["policy_kwargs={a: 2}", "policy_kwargs={a: 2}"], "'policy_kwargs.a' is given twice"),
        (["env_kwargs=5", "env_kwargs.shift=2"], "'env_kwargs' must be a mapping, got 5"),
        (["env_kwargs.shift=2", "env_kwargs=5"], "'env_kwargs' must be a mapping, got 5"),
    ],
)
def test_settings_that_are_given_twice_are_refused(assignments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_assignments(assignments)


def test_entries_of_mappings_can_be_assigned_one_by_one() -> None:
    assert parse_assignments(["env_kwargs.shift=2", "env_kwargs.horizon=5", "n_steps=8"]) == {
        "env_kwargs": {"shift": 2, "horizon": 5},
        "n_steps": 8,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [("n_steps", "KEY=VALUE"), ("=3", "KEY=VALUE"), ("a=[1", "YAML"), ("env_kwarg.x=1", "'env_kwargs'")],
)
def test_bad_assignments_are_rejected(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_assignments([text])


def test_assignments_are_never_evaluated() -> None:
    assert parse_assignments(["key=__import__('os').getcwd()"]) == {"key": "__import__('os').getcwd()"}
    with pytest.raises(ValueError, match="not valid YAML"):
        parse_assignments(["key=!!python/object/apply:os.getcwd []"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default: {lerning_rate: 1}", ["mine.yaml", "'lerning_rate'", "'learning_rate'"]),
        (f"{PRICING}: {{n_step: 1}}", ["mine.yaml", PRICING, "'n_step'", "'n_steps'"]),
        ("default: {}\nPerformativePrcing-v0: {}", ["mine.yaml", "'PerformativePrcing-v0'", f"'{PRICING}'"]),
        ("default: {n_steps: 1, n_steps: 2}", ["mine.yaml", "'n_steps' is given twice"]),
        ("default: 3", ["mine.yaml", "'default'", "3"]),
        ("env_kwargs: 3", ["mine.yaml", "'env_kwargs'", "mapping"]),
        ("- 1", ["mine.yaml", "mapping"]),
        ("a: [1", ["mine.yaml", "YAML"]),
    ],
)
def test_a_bad_file_is_named_with_the_key_and_the_nearest_valid_one(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        resolve_settings("pepg", PRICING, write(tmp_path / "mine.yaml", text))
    for part in said:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"env_kwargs": {"shfit": 1}}, "did you mean 'shift'"),
        ({"policy": "MlpPolic"}, "did you mean 'MlpPolicy'"),
        ({"n_envs": 0}, "n_envs must be >= 1, got 0"),
        ({"n_timesteps": 0.5}, "n_timesteps must be"),
        ({"n_epochs": "three"}, "n_epochs must be a number"),
        ({"n_epochs": True}, "n_epochs must be a number"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"gamma": 2}, "gamma must be >= 0 and <= 1, got 2"),
        ({"clip_range": -1}, "clip_range must be >= 0, got -1"),
        ({"gae_lambda": 7}, "gae_lambda must be >= 0 and <= 1, got 7"),
        ({"target_kl": -1}, "target_kl must be > 0, got -1"),
        ({"learning_rate": -0.1}, "learning_rate must be >= 0, got -0.1"),
        ({"learning_rate": {"points": 3}}, "learning_rate must be a number or"),
        ({"learning_rate": {"point": []}}, "did you mean 'points'"),
        ({"normalize_advantage": 1}, "normalize_advantage must be true or false, got 1"),
    ],
)
def test_bad_values_are_rejected(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        resolve_settings("ppo", PRICING, overrides=overrides)


def test_unknown_names_are_rejected_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'pepg'"):
        resolve_settings("peppg", PRICING)
    with pytest.raises(ValueError, match=f"did you mean '{PRICING}'"):
        resolve_settings("pepg", "PerformativePrcing-v0")


@pytest.mark.parametrize("algo", ["pepg", "ppo"])
def test_points_become_schedules(algo: str) -> None:
    settings = resolve_settings(algo, PRICING, overrides={"learning_rate": {"points": [[0, 1e-3], [1, 0.0]]}})
    schedule = hyperparameters(find_algorithm(algo), settings)["learning_rate"]
    assert isinstance(schedule, PiecewiseLinear)
    assert schedule(0.5) == pytest.approx(5e-4)


@pytest.mark.parametrize("env_id", TABULAR_WORLDS)
def test_all_algorithms_train_equally_long_in_a_world(env_id: str) -> None:
    assert len({resolve_settings(algo, env_id)["n_timesteps"] for algo in SHIPPED if applies(algo, env_id)}) == 1
