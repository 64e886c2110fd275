import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from rich.console import Console

from train.plot import plot
from train.report.data import read_bench
from train.report.statistics import Lead
from train.report.table import Row, Table
from train.report.world_findings import findings
from train.report.world_tables import world_table

PRICING = "PerformativePricing-v0"
VALUES = {
    "pepg": [11.0, 11.1, 11.2, 11.3, 11.4],
    "ppo": [9.0, 9.1, 9.2, 9.3, 9.4],
    "a2c": [8.0, 8.1, 8.2, 8.3, 8.4],
}


def said(folder: Path) -> str:
    return " ".join(findings(read_bench(folder).worlds[0])).replace("\u00a0", " ")


def table_of(folder: Path) -> Table:
    bench = read_bench(folder)
    return world_table(bench, bench.worlds[0])


def cells(table: Table, row: Row) -> dict[str, str]:
    return {column: str(cell) for column, cell in zip(table.columns, row.cells, strict=True)}


def rotate(values: dict[str, list[float]], by: int) -> dict[str, list[float]]:
    levels = list(values.values())
    return dict(zip(values, levels[by:] + levels[:by], strict=True))


@pytest.mark.parametrize(("by", "winner"), [(0, "PePG"), (1, "A2C"), (2, "PPO")])
def test_the_winner_is_the_one_in_the_data(save_bench, by: int, winner: str) -> None:
    folder = save_bench(rotate(VALUES, by))
    text = said(folder)
    assert text.startswith(f"{winner} wins with a performative value J of 11.20")
    assert "9.20 (+21.7 %)" in text
    assert "lies above those of" in text
    assert "Even its worst seed is better than the best seed of" in text
    plot(folder, Console(quiet=True))
    html = (folder / "report.html").read_text()
    assert f"{winner} wins with" in html
    assert [row.label for row in table_of(folder).rows if row.leads] == [winner]
    assert re.findall(r"\| \*\*(\w+)\*\* \|", (folder / "summary.md").read_text()) == [winner]


def test_a_tie_is_called_a_tie(save_bench) -> None:
    folder = save_bench({"pepg": [9.0, 10.0, 11.0], "ppo": [11.0, 9.0, 10.0], "a2c": [1.0, 2.0, 3.0]})
    assert said(folder).startswith("PePG and PPO tie for first place: each reaches a performative value J of 10.00")
    assert "wins" not in said(folder)


def test_overlapping_intervals_make_no_winner(save_bench) -> None:
    folder = save_bench({"pepg": [8.0, 9.0, 10.0, 11.0, 12.0], "ppo": [7.9, 8.9, 9.9, 10.9, 11.9]})
    assert said(folder).startswith("PePG leads with")
    assert "interval overlaps that of PPO: that order may be chance" in said(folder)
    assert "Even its worst seed" not in said(folder)
    assert [row.label for row in table_of(folder).rows if row.leads] == ["PePG", "PPO"]


@pytest.mark.parametrize("n_seeds", [4, 5])
def test_fewer_than_five_seeds_make_no_winner(save_bench, n_seeds: int) -> None:
    folder = save_bench({algo: values[:n_seeds] for algo, values in VALUES.items()})
    enough = n_seeds == 5
    assert said(folder).startswith("PePG wins" if enough else "PePG leads")
    assert ("Fewer than 5 seeds decide nothing" in said(folder)) is not enough
    assert ("95 % interval lies above" in said(folder)) is enough
    assert [row.label for row in table_of(folder).rows if row.leads] == (["PePG"] if enough else [])


def test_discounted_returns_that_ended_at_the_step_limit_are_said_to(save_bench) -> None:
    folder = save_bench(VALUES)
    assert "end at the step limit" not in table_of(folder).note
    path = folder / "ppo" / PRICING / "seed_1" / "result.json"
    result = json.loads(path.read_text())
    for key in ("discounted_return_rest", "played_deployments", "max_episode_steps"):
        del result[key]
    path.write_text(json.dumps(result))
    assert "end at the step limit" in table_of(folder).note
    plot(folder, Console(quiet=True))


def test_a_single_seed_proves_nothing(save_bench) -> None:
    folder = save_bench({"pepg": [11.0], "ppo": [9.0]})
    assert said(folder).startswith("PePG leads with")
    assert "With a single seed there are no intervals" in said(folder)
    assert "[" not in str(table_of(folder).rows[0].cells[1])


def test_the_scale_goes_from_the_uniform_policy_to_the_optimum(save_bench) -> None:
    assert "From the uniform policy (6.00) to the best known optimum (12.00), PePG is 87 % of the way" in said(
        save_bench(VALUES)
    )


def test_percents_are_given_only_between_positive_values() -> None:
    assert Lead.of(11.0, 10.0).percent == pytest.approx(10.0)
    assert Lead.of(-1.0, 2.0) == Lead(-3.0, None)
    assert Lead.of(1.0, -2.0) == Lead(3.0, None)


def test_advantage_pairs_our_worst_seed_with_the_best_of_the_others(save_bench) -> None:
    table = table_of(save_bench(VALUES))
    ppo = cells(table, table.rows[1])
    assert ppo["PePG ahead, worst vs best seed"].replace("\u00a0", " ") == "+17.0 %"  # 11.0 against 9.4
    assert ppo["P(PePG better)"] == "1.00 [0.57, 1.00]"  # 5 / (5 + 1.96²)
    assert ppo["J, IQM [95 % interval]"].startswith("9.20 [")


def test_the_report_asks_for_nothing_outside_itself(save_bench) -> None:
    folder = save_bench(VALUES)
    plot(folder, Console(quiet=True))
    html = (folder / "report.html").read_text()
    for target in re.findall(r"""(?:\ssrc|href|srcset|poster|data|action)\s*=\s*["']([^"]+)["']""", html):
        assert target.startswith(("data:image/svg+xml,", "data:image/png;base64,", "#")), target[:80]
    for outside in ("http://", "https://", "@import", "<script", "<link", "<iframe"):
        assert outside not in html
    assert re.findall(r"url\((?!#|%23)", html) == []
    assert html.count("<img ") == len(list((folder / "plots").iterdir()))


def test_links_of_the_report_lead_somewhere(save_worlds) -> None:
    folder = save_worlds({PRICING: VALUES, f"{PRICING}@strong": VALUES})
    plot(folder, Console(quiet=True))
    html = (folder / "report.html").read_text()
    anchors = re.findall(r'href="#([^"]+)"', html)
    assert len(anchors) == len(set(anchors)) >= 5
    for anchor in anchors:
        assert html.count(f'id="{anchor}"') == 1


def test_plots_are_saved_as_pictures_and_shown_by_the_markdown(save_bench) -> None:
    folder = save_bench(VALUES)
    plot(folder, Console(quiet=True))
    names = {path.name for path in (folder / "plots").iterdir()}
    kinds = ("learning_curves", "value_per_deployment", "shift", "reward_shift", "final_values", "gaps")
    assert {f"{PRICING}_{kind}.svg" for kind in kinds} | {f"{PRICING}_policies.png"} <= names
    shown = set(re.findall(r"\]\(plots/([^)]+)\)", (folder / "summary.md").read_text()))
    assert {unquote(name) for name in shown} == names


def test_plotting_twice_gives_the_same_report(save_bench) -> None:
    folder = save_bench(VALUES)
    plot(folder, Console(quiet=True))
    first = (folder / "report.html").read_bytes()
    plot(folder, Console(quiet=True))
    assert (folder / "report.html").read_bytes() == first


def test_failures_and_missing_seeds_are_shown_and_texts_are_escaped(save_bench) -> None:
    failures = "algo,env,seed,error\nppo,PerformativePricing-v0,2,ValueError: a < b\n"
    folder = save_bench({**VALUES, "ppo": [9.0, 9.2]}, failures=failures)
    plot(folder, Console(quiet=True))
    html = (folder / "report.html").read_text()
    assert "1 run failed and is missing" in html
    assert "ValueError: a &lt; b" in html
    assert "2 of 5" in html


def test_without_a_known_optimum_there_is_no_optimality_gap(save_bench) -> None:
    folder = save_bench(VALUES, best_value=None)
    plot(folder, Console(quiet=True))
    assert "best known optimum" not in said(folder)
    table = table_of(folder)
    assert cells(table, table.rows[0])["optimality gap"] == "–"
    assert cells(table, table.rows[0])["normalised"] == "–"


def test_an_algorithm_alone_is_reported_without_comparison(save_bench) -> None:
    folder = save_bench({"ppo": [9.0, 9.2]})
    plot(folder, Console(quiet=True))
    assert "nothing to compare it with" in said(folder)
    assert not any("ahead" in column for column in table_of(folder).columns)


def test_a_folder_of_single_runs_can_be_plotted(save_bench) -> None:
    folder = save_bench(VALUES)
    (folder / "bench.yaml").unlink()
    plot(folder, Console(quiet=True))
    assert "PePG wins" in (folder / "report.html").read_text()


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run"):
        plot(tmp_path)


@pytest.mark.parametrize("name", ["policy.npy", "evaluations.csv"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_file_of_a_run_that_cannot_be_read_is_named(save_bench, name: str, spoil: Callable[[Path], object]) -> None:
    path = save_bench(VALUES) / "ppo" / PRICING / "seed_2" / name  # that of the median seed is drawn
    spoil(path)
    with pytest.raises(ValueError, match=f"cannot read {path}.*bench makes the run again"):
        plot(path.parents[3], Console(quiet=True))


def test_plotting_imports_nothing_that_trains() -> None:
    program = "import sys, train.plot; print([m for m in ('agents', 'stable_baselines3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("key", "value"), [("env_kwargs", {"shift": 1.0}), ("n_timesteps", 7)])
def test_runs_that_cannot_be_compared_are_not(save_bench, key: str, value: object) -> None:
    folder = save_bench(VALUES)
    path = sorted(folder.glob("ppo/*/*/config.yaml"))[0]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=f"cannot be compared: {key}"):
        read_bench(folder)


def test_latex_and_markdown_have_the_same_figures(save_worlds) -> None:
    folder = save_worlds({PRICING: VALUES, f"{PRICING}@strong": VALUES})
    plot(folder, Console(quiet=True))
    markdown, tex = ((folder / name).read_text() for name in ("summary.md", "summary.tex"))
    rows = [line for line in markdown.splitlines() if line.startswith("|") and not line.startswith("| :--")]
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    plain = [re.sub(r"\*\*|\\(?=\|)", "", row)[2:-2].split(" | ") for row in rows]
    undone = [re.sub(r"\\textbf\{([^}]*)\}", r"\1", line[:-3]) for line in body]
    for sign, by in ((r"\%", "%"), ("$-$", "−"), ("--", "–"), ("~", "\u00a0"), (r"\_", "_")):
        undone = [line.replace(sign, by) for line in undone]
    assert [[cell.strip() for cell in line.split(" & ")] for line in undone] == [
        [cell.strip() for cell in row] for row in plain
    ]
    assert not re.search("[−–\u00a0]", tex)
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == tex.count(r"\caption{") >= 5
