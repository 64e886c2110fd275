"""What HTML, Markdown and LaTeX are written from: sections with sentences, tables and plots."""

from __future__ import annotations

import base64
import io
import re
import urllib.parse
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image

from train.report.styles import drawing
from train.report.table import Table

#: Signs that need no escape in a data URI between quotes; the colon has one, so that no address looks like a link.
_SAFE = " !$()*+,-./;=?@[]^_`{|}~'"
#: Inches up to which two plots stand side by side.
_HALF = 7.0
#: Colours of a picture made of pixels.
_COLORS = 200
_SWAP_QUOTES = bytes.maketrans(b"\"'", b"'\"")
_KINDS = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Plot:
    """A picture with its heading and caption.

    Attributes:
        file: its name in the folder of plots.
        title: heading.
        caption: how to read it.
        data: the file's content.
        wide: whether it needs the width of the page.
    """

    file: str
    title: str
    caption: str
    data: bytes
    wide: bool = False

    @property
    def uri(self) -> str:
        """The picture as a data URI, so that no file and no network is needed to show it."""
        kind = self.file.rsplit(".", 1)[-1]
        if kind == "svg":  # text: escaped it is shorter than in base 64, and more so with the other kind of quotes
            return f"data:{_KINDS[kind]},{urllib.parse.quote(self.data.translate(_SWAP_QUOTES), safe=_SAFE)}"
        return f"data:{_KINDS[kind]};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class Section:
    """A page of the report.

    Attributes:
        anchor: where links lead.
        part: what it is listed under; empty for the overview.
        title: heading.
        about: what has been done.
        findings: sentences, the first of which says most.
        tables: in order.
        plots: in order.
    """

    anchor: str
    part: str
    title: str
    about: str = ""
    findings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything there is to say about a results folder: facts as pairs of name and text, failures, sections."""

    facts: tuple[tuple[str, str], ...]
    failures: tuple[dict[str, object], ...]
    sections: tuple[Section, ...]


def drawn(file: str, title: str, caption: str, figure: Figure) -> Plot:
    """Return a figure as a plot in the format that the file's name says."""
    return Plot(
        file,
        title,
        caption,
        to_svg(figure) if file.endswith(".svg") else _png(figure),
        wide=figure.get_figwidth() > _HALF,
    )


def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # A hundredth of a point is enough, and indentation is for nobody.
    return re.sub(rb"\n\s+", b"\n", re.sub(rb"(\b[1-9]\d*\.\d\d)\d+", rb"\1", buffer.getvalue()))


def _png(figure: Figure) -> bytes:
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", metadata={"Software": None})
    with Image.open(raw) as image:
        image.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()
