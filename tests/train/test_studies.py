from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from train.cli import main
from train.options import STUDIES
from train.report.statistics import Estimate, estimate_spread
from train.studies import convergence, sampled
from train.studies.claims import FAILS, HOLDS, UNDECIDED, is_below, is_largest
from train.studies.definitions import ENTROPY, LEARNING_RATE, RESPONSES, ROBUSTNESS, SAMPLED, SampledStudy

LOW, MIDDLE, HIGH = Estimate(1.0, 0.5, 1.5), Estimate(2.0, 1.4, 2.6), Estimate(3.0, 2.7, 3.3)


def results(study: SampledStudy, centres: Mapping[str, float], seeds: int = 10, spread: float = 0.01) -> pd.DataFrame:
    """Return synthetic results in which settings have the given values, give or take ``spread``."""
    noise = spread * np.linspace(-1.0, 1.0, seeds)
    return pd.DataFrame(
        {
            "group": level.group,
            "setting": level.name,
            "seed": seed,
            "performative_value": centres.get(level.name, 5.0) + noise[seed],
            "best_value": 12.0,
            "uniform_value": 6.0,
        }
        for level in study.levels
        for seed in range(seeds)
    )


def verdicts(study: SampledStudy, data: pd.DataFrame) -> list[str]:
    return [claim.verdict for claim in sampled.judge(study, data).claims]


@pytest.mark.parametrize(
    ("estimates", "seeds", "verdict"),
    [
        ({"a": HIGH, "b": LOW, "c": MIDDLE}, 10, HOLDS),
        ({"a": LOW, "b": HIGH, "c": MIDDLE}, 10, FAILS),
        ({"a": MIDDLE, "b": LOW}, 10, UNDECIDED),
        ({"a": LOW, "b": MIDDLE}, 10, UNDECIDED),
        ({"a": HIGH, "b": LOW}, 5, HOLDS),
        ({"a": HIGH, "b": LOW}, 4, UNDECIDED),
    ],
)
def test_a_claim_of_being_largest_is_decided_by_disjoint_intervals(
    estimates: dict[str, Estimate], seeds: int, verdict: str
) -> None:
    assert is_largest("claim", "a", estimates, seeds).verdict == verdict
    assert is_largest("claim", "a", estimates, 1).because.endswith("but fewer than 5 seeds decide nothing")


@pytest.mark.parametrize(("bound", "verdict"), [(1.6, HOLDS), (0.4, FAILS), (1.0, UNDECIDED)])
def test_a_claim_of_being_below_is_decided_by_the_interval(bound: float, verdict: str) -> None:
    assert is_below("claim", bound, LOW, 10).verdict == verdict
    assert is_below("claim", bound, LOW, 5).verdict == verdict
    few = is_below("claim", bound, LOW, 4)
    assert few.verdict == UNDECIDED
    assert few.because.endswith("but fewer than 5 seeds decide nothing")


def test_the_spread_is_the_standard_deviation_and_lies_in_its_interval() -> None:
    scores = np.random.default_rng(0).normal(size=40)
    estimate = estimate_spread(scores)
    assert estimate.value == pytest.approx(np.std(scores, ddof=1))
    assert estimate.low < estimate.value < estimate.high
    assert estimate_spread([3.0]) == Estimate(0.0, 0.0, 0.0)


@pytest.mark.parametrize(("best", "verdict"), [("λ = 2", HOLDS), ("λ = 0", FAILS), ("schedule", UNDECIDED)])
def test_the_claim_about_entropy_follows_the_data(best: str, verdict: str) -> None:
    data = results(ENTROPY, {best: 9.0})
    assert verdicts(ENTROPY, data) == [verdict]
    assert sampled.judge(ENTROPY, data).findings[0].startswith(f"{best} has the highest J, 9.000 [")


def test_the_claims_about_the_step_size_follow_the_data() -> None:
    data = results(LEARNING_RATE, {"η = 0.5": 9.0})
    assert verdicts(LEARNING_RATE, data) == [HOLDS, UNDECIDED]
    wide = data["setting"] == "η = 0.5"
    data.loc[wide, "performative_value"] += 200.0 * (data.loc[wide, "performative_value"] - 9.0)
    data.loc[wide, "performative_value"] -= 4.0
    assert verdicts(LEARNING_RATE, data) == [UNDECIDED, HOLDS]


def test_the_claims_about_the_answers_follow_the_data() -> None:
    data = results(ROBUSTNESS, {"PePG": 9.0})
    assert verdicts(ROBUSTNESS, data) == [HOLDS] * 8
    ahead = (data["setting"] == "A2C") & (data["group"] == "noisy")
    data.loc[ahead, "performative_value"] += 10.0
    assert verdicts(ROBUSTNESS, data) == [*[HOLDS] * 6, FAILS, HOLDS]
    said = " ".join(sampled.judge(ROBUSTNESS, data).findings)
    assert "With the noisy answer A2C has the highest J, 15.000" in said
    assert "Claims that hold in these data: 7 of 8." in said


@pytest.mark.parametrize("name", SAMPLED)
def test_the_runs_of_a_study_lie_in_folders_of_their_own(name: str, tmp_path: Path) -> None:
    planned = sampled.plan_study(SAMPLED[name], 10, tmp_path)
    assert len({run.folder for _, run in planned}) == len(planned) >= 40
    assert {run.settings["n_timesteps"] for _, run in planned} == {SAMPLED[name].n_timesteps}


def test_robustness_compares_the_four_answers(tmp_path: Path) -> None:
    planned = sampled.plan_study(ROBUSTNESS, 1, tmp_path)
    assert [world for world in RESPONSES.values() for _ in range(5)] == [run.env for _, run in planned]
    wrappers = [run.settings["env_kwargs"].get("response_wrapper") for _, run in planned[::5]]
    assert wrappers[:2] == [None, "piecewise-linear"]
    assert wrappers[3] == "noisy"
    assert (wrappers[2]["name"], wrappers[2]["levels"]) == ("quantised", 8)


def test_gaps_are_measured_from_the_best_known_value_and_do_not_grow() -> None:
    frame = convergence.measure((0, 30))
    assert frame["iteration"].min() == 1
    assert frame["iteration"].max() == 30
    assert (frame["gap"] >= 0.0).all()
    for _, of_method in frame.groupby("method"):
        assert (of_method["gap"].diff().dropna() <= 1e-12).all()


@pytest.mark.parametrize(("exponent", "verdict"), [(-0.5, FAILS), (-1.5, HOLDS)])
def test_the_rate_of_convergence_is_read_off_the_gaps(exponent: float, verdict: str) -> None:
    iterations = np.unique(np.geomspace(1, 1000, 41).round().astype(int))
    frames = [
        pd.DataFrame(
            {
                "seed": seed,
                "method": method,
                "iteration": iterations,
                "gap": (1.0 + seed) * iterations ** (exponent + 0.01 * seed),
                "best_value": 10.0,
            }
        )
        for seed in range(6)
        for method in ("gradient", "natural gradient")
    ]
    page = convergence.judge(pd.concat(frames))
    assert [claim.verdict for claim in page.claims] == [verdict, verdict]
    assert f"{exponent + 0.02:.2f}".replace("-", "−")[:5] in page.rows[0][2]


# Robustness is left out: twenty runs through the code of the other sampled studies.
@pytest.mark.parametrize("name", [name for name in STUDIES if name != "robustness"])
def test_a_study_leaves_data_plot_and_page(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = "20" if name == "convergence" else "1024"
    arguments = ["study", name, "--seeds", "1", "-n", steps, "--jobs", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    out = tmp_path / name
    page = (out / f"{name}.md").read_text()
    assert f"({name}.svg)" in page
    assert "**undecided**" in page, "one seed decides nothing"
    assert f"study {name} --seeds 1" in page
    assert str(out / f"{name}.md") in shown
    assert (out / f"{name}.svg").read_text().startswith("<?xml")
    before, drawn = (out / f"{name}.csv").read_bytes(), (out / f"{name}.svg").read_bytes()
    assert len(pd.read_csv(out / f"{name}.csv")) >= 4
    assert main(arguments) == 0
    assert (out / f"{name}.csv").read_bytes() == before
    assert (out / f"{name}.svg").read_bytes() == drawn
    if name in SAMPLED:
        assert "0 runs made" in capsys.readouterr().out


def test_an_unknown_study_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "entorpy"]) == 2
    assert "did you mean 'entropy'" in capsys.readouterr().err
