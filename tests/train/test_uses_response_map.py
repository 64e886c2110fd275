"""What a result says of whether an algorithm has used the response map: what its class says, and what it does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train import strangers
from tests.train.short_runs import tiny_settings
from train.fitting import applies
from train.registry import ALGORITHMS, SHIPPED, shipped_facts
from train.run import execute, plan_run

PRICING, LINEAR = "PerformativePricing-v0", "LinearPricing-v0"
HERE = strangers.__name__


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = dict(ALGORITHMS)
    yield
    ALGORITHMS.clear()
    ALGORITHMS.update(before)


def said_of(algo: str, env: str, folder: Path) -> bool:
    result = execute(plan_run(algo, env, 0, overrides=tiny_settings(algo), out=folder, n_evals=2))
    return bool(result["uses_response_map"])


@pytest.mark.parametrize("env", [PRICING, LINEAR, f"{PRICING}@noisy"])
@pytest.mark.parametrize(("name", "uses"), [("Silent", False), ("AsksTheProblem", True), ("AsksTheDynamics", True)])
def test_who_says_nothing_is_told_by_what_it_asks(name: str, uses: bool, env: str, tmp_path: Path) -> None:
    assert said_of(f"{HERE}:{name}", env, tmp_path) is uses


@pytest.mark.parametrize("algo", [name for name in SHIPPED if SHIPPED[name].variant_of is None])
def test_shipped_algorithms_ask_for_no_more_than_they_say(algo: str, tmp_path: Path) -> None:
    facts = shipped_facts(algo)
    assert facts is not None
    env = PRICING if applies(algo, PRICING) else LINEAR
    assert said_of(algo, env, tmp_path) is facts["uses_response_map"]
