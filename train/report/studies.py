"""The studies that lie beside a benchmark, judged anew from their data."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from train.report.names import slug
from train.report.section import Section, drawn
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
    data = pd.read_csv(path, float_precision="round_trip")
    try:
        if name == convergence.NAME:
            return convergence.judge(data)
        return sampled.judge(SAMPLED[name], data.assign(group=data["group"].fillna("").astype(str)))
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path} does not hold the data of the study {name}: {error}") from None


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
