"""The report as one HTML file that carries everything it shows."""

from __future__ import annotations

import itertools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from train.report.document import Report

_TEMPLATES = Path(__file__).parent / "templates"


def render_report(report: Report) -> str:
    """Return the report as HTML: a page per section, shown one at a time where the browser can."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    parts = [
        (part, list(sections)) for part, sections in itertools.groupby(report.sections, lambda section: section.part)
    ]
    return environment.get_template("report.html").render(report=report, parts=parts)
