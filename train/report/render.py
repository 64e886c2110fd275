"""The report as Markdown and its tables as LaTeX."""

from __future__ import annotations

from urllib.parse import quote

from train.report.document import Report, Section

PLOTS = "plots"


def to_markdown(report: Report) -> str:
    """Return the report as Markdown that shows the plots beside it."""
    parts = ["# Benchmark", "\n".join(f"- **{name}:** {_fact(name, text)}" for name, text in report.facts)]
    if report.failures:
        parts.append(
            "\n".join(
                f"- failed: {failure['algo']} in {failure['env']}, seed {failure['seed']}: `{failure['error']}`"
                for failure in report.failures
            )
        )
    part = ""
    for section in report.sections:
        if section.part not in (part, section.title):
            parts.append(f"## {section.part}")
        part = section.part
        level = "##" if section.part in ("", section.title) or section.part == "Budget" else "###"
        parts += [f"{level} {section.title}", *_body(section)]
    return "\n\n".join(parts) + "\n"


def to_latex(report: Report) -> str:
    """Return all tables of the report as LaTeX."""
    tables = [table.to_latex() for section in report.sections for table in section.tables]
    return "\n".join(["% needs \\usepackage{booktabs} and \\usepackage{graphicx}", "", *tables])


def _fact(name: str, text: str) -> str:
    return f"`{text}`" if name == "Command" else text


def _body(section: Section) -> list[str]:
    parts = [section.about] if section.about else []
    if section.findings:
        parts.append("\n".join(f"- {sentence}" for sentence in section.findings))
    notes: list[str] = []
    for table in section.tables:
        parts += [f"**{table.title}**", table.to_markdown().rstrip()]
        if table.note and table.note not in notes:
            notes.append(table.note)
            parts.append(f"*{table.note}*")
    for plot in section.plots:
        heading = plot.title if plot.title.endswith("?") else f"{plot.title}."
        parts += [f"![{plot.title}, {section.title}]({PLOTS}/{quote(plot.file)})", f"*{heading} {plot.caption}*"]
    return parts
