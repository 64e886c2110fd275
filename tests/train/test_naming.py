from collections.abc import Iterator

import pytest

from tests.train import strangers
from train.naming import named, world_name
from train.plans import Block
from train.registry import ALGORITHMS
from train.run import plan_run

PRICING = "PerformativePricing-v0"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = dict(ALGORITHMS)
    yield
    ALGORITHMS.clear()
    ALGORITHMS.update(before)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (PRICING, PRICING),
        (f"{PRICING}@strong", f"{PRICING}@strong"),
        (f"perf_envs:{PRICING}@strong", f"{PRICING}@strong"),
        ("PerformativePricing-strong-v0", f"{PRICING}@strong"),
        ("perf_envs.registration:PerformativePricing-strong-v0", f"{PRICING}@strong"),
        ("PerformativePricing-piecewise-linear-v0", f"{PRICING}@piecewise-linear"),
        ("tests.train.strangers:HiddenPricing-v0", "HiddenPricing-v0"),
    ],
)
def test_a_world_has_one_name_however_it_is_written(given: str, name: str) -> None:
    assert world_name(given) == name


def test_a_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=f"env must name a module that can be imported, got 'no_such:{PRICING}'"):
        world_name(f"no_such:{PRICING}")


def test_a_variant_is_the_same_run_by_either_name() -> None:
    one, other = (plan_run("ppo", env, 0) for env in (f"{PRICING}@strong", "PerformativePricing-strong-v0"))
    assert one == other
    assert one.settings["env_kwargs"] == {"shift": 6.0}


def test_a_block_has_names_of_results() -> None:
    algos = ("ppo", f"{strangers.__name__}:Silent")
    block = named(Block(algos, ("PerformativePricing-weak-v0", PRICING), (0, 1)))
    assert block == Block(("ppo", "Silent"), (f"{PRICING}@weak", PRICING), (0, 1))


def test_the_same_thing_by_two_names_is_repeated() -> None:
    with pytest.raises(ValueError, match="envs must be one or more different values"):
        named(Block(("ppo",), (f"{PRICING}@strong", "PerformativePricing-strong-v0"), (0,)))
