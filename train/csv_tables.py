"""Tables of numbers as they were written: every float64 is read back as the same one."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pandas as pd

_VERSION = tuple(int(part) for part in pd.__version__.split(".")[:2])
#: From 3.1 on pandas reads so by itself and deprecates the option; before, it is off in the last bit without it.
_EXACT: dict[str, Any] = {} if _VERSION >= (3, 1) else {"float_precision": "round_trip"}


def read_csv(text: str, usecols: Callable[[str], bool] | None = None) -> pd.DataFrame:
    """Return the table that a text in CSV holds.

    Args:
        text: a line of names, then the rows.
        usecols: whether a column is read, all of them by default.

    Raises:
        ValueError: the text is no table.
    """
    table: pd.DataFrame = pd.read_csv(io.StringIO(text), usecols=usecols, **_EXACT)
    return table
