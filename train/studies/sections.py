"""The studies that lie beside a benchmark, judged anew from their data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from train.csv_tables import read_csv
from train.files import read_text
from train.report.document import Section, drawn
from train.report.names import slug
from train.report.table import words_table
from train.studies import convergence, sampled
from train.studies.definitions import SAMPLED
from train.studies.page import StudyPage

#: Where ``python -m train study NAME --out OUT/studies`` writes.
STUDIES = "studies"


def study_sections(out: Path) -> list[Section]:
    """Return a section per study whose data lie in the folder of a benchmark.

    Raises:
        ValueError: a file does not hold the data of its study.
    """
    found = {name: out / STUDIES / name / f"{name}.csv" for name in (*SAMPLED, convergence.NAME)}
    return [_section(_judge(name, path)) for name, path in found.items() if path.is_file()]


def _judge(name: str, path: Path) -> StudyPage:
    text = read_text(path)
    try:
        data = read_csv(text)
        if name == convergence.NAME:
            _check_once(data, ["seed", "method", "iteration"])
            return convergence.judge(data)
        data = data.assign(group=data["group"].astype(object).fillna("").astype(str))  # without groups it is numbers
        _check_once(data, ["group", "setting", "seed"])
        _check_alike(data)
        return sampled.judge(SAMPLED[name], data)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the data of the study {name}: {error}") from None


def _check_once(data: pd.DataFrame, keys: list[str]) -> None:
    """Raise ``ValueError`` if a measurement is there twice, or is no finite number."""
    twice = data[data.duplicated(keys)]
    if len(twice):
        raise ValueError(f"{', '.join(f'{key} {twice.iloc[0][key]}' for key in keys)} is there twice")
    for column in {"performative_value", "uniform_value", "gap"} & set(data):
        if not np.isfinite(pd.to_numeric(data[column])).all():
            raise ValueError(f"{column} must be finite numbers")


def _check_alike(data: pd.DataFrame) -> None:
    if "steps" in data and data.groupby(["group", "setting"])["steps"].nunique().gt(1).any():
        raise ValueError("runs of one setting have different numbers of steps")


def _section(page: StudyPage) -> Section:
    tables = (
        words_table(f"Study: {page.title}", page.columns, page.rows),
        words_table(
            f"Claims: {page.title}",
            ("claim", "verdict", "because"),
            [(claim.text, claim.verdict, claim.because) for claim in page.claims],
        ),
    )
    plot = drawn(f"study_{page.name}.svg", page.title, "Intervals are 95 % intervals.", page.figure)
    about = page.about.replace("`", "")
    return Section(f"study-{slug(page.name)}", "Studies", page.title, about, tuple(page.findings), tables, (plot,))
