from collections.abc import Iterator

import gymnasium as gym
import pytest

from perf_envs.registration import WORLDS
from tests.train import strangers
from train.cli import main
from train.listing import describe_algorithm, describe_world, print_lists
from train.registry import ALGORITHMS, SHIPPED

PRICING, LINEAR, SOFTMAX = "PerformativePricing-v0", "LinearPricing-v0", "SoftmaxPeMDP-v0"
HERE = strangers.__name__


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = dict(ALGORITHMS)
    yield
    ALGORITHMS.clear()
    ALGORITHMS.update(before)


def titles(shown: str) -> list[str]:
    return [line.partition(":")[0] for line in shown.splitlines() if line and not line.startswith(" ")]


def test_everything_that_is_registered_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert titles(capsys.readouterr().out) == [*WORLDS, *ALGORITHMS]
    assert set(SHIPPED) <= set(ALGORITHMS)


def test_what_is_ones_own_is_listed_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_lists("worlds", [f"{HERE}:HiddenPricing-v0"])
    assert titles(capsys.readouterr().out) == [*WORLDS, "HiddenPricing-v0"]
    assert main(["list", "algorithms", "--algos", f"{HERE}:Silent", f"{HERE}:Bare"]) == 0
    assert titles(capsys.readouterr().out)[-2:] == ["Silent", "Bare"]


def test_a_world_is_described_by_what_is_known_of_it() -> None:
    shown = " ".join(describe_world(PRICING).split())
    assert shown.startswith(f"{PRICING}: observations Discrete(")
    assert "actions Discrete(8)" in shown
    assert f"variants: {', '.join(WORLDS[PRICING].variants)}" in shown
    assert "known: response map, value, stability gap" in shown
    best = gym.make(PRICING).unwrapped.problem.best_known()  # type: ignore[attr-defined]
    assert f"best J: {best.value:.6g}" in shown


def test_of_a_world_that_hides_what_it_knows_values_are_played() -> None:
    shown = describe_world("HiddenPricing-v0")
    assert "variants: none" in shown
    assert "known: that it responds; values are played" in shown
    assert "best J: unknown" in shown


def test_an_algorithm_is_described_by_what_it_knows_where_it_acts_and_what_can_be_set() -> None:
    worlds = [PRICING, SOFTMAX, LINEAR]
    shown = " ".join(describe_algorithm("pepg", worlds).split())
    assert shown.startswith("pepg: PePG, uses the response map acts in all worlds settings: ")
    assert "learning_rate" in shown
    shown = describe_algorithm("rr", worlds)
    assert f"acts in {PRICING}, {SOFTMAX}\n" in shown
    assert "does not use the response map" in shown
    assert f"acts in {LINEAR}\n" in describe_algorithm("sac", worlds)
    assert "acts in none of these worlds" in describe_algorithm("sac", [PRICING])
    assert "settings: as pepg, with settings of its own" in describe_algorithm("pepg_no_ramp", worlds)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wolds"], "did you mean 'worlds'"),
        (["algorithms", "--algos", "ppoo"], "did you mean 'ppo'"),
        (["worlds", "--envs", "no_such:World-v0"], "env must name a module that can be imported"),
    ],
)
def test_what_is_not_there_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *arguments]) == 2
    assert said in capsys.readouterr().err
