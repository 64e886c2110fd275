"""Packages whose names are imported when first asked for (PEP 562): importing the package costs little."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from perf_envs.extras import check_extra


def lazy_names(
    package: str, homes: Mapping[str, str], extra: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for the ``__init__.py`` of a package.

    A type checker is to see the names themselves, imported under ``if TYPE_CHECKING``, and not these functions, behind
    which any name would exist.

    Args:
        package: its ``__name__``.
        homes: the module that each name comes from. A name whose home is ``package.name`` is that module itself.
        extra: the extra that all of them need, if any (:mod:`perf_envs.extras`).
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if extra is not None:
            check_extra(extra, f"{package}.{name}")
        module = importlib.import_module(homes[name])
        value = module if homes[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)  # the next time it is simply there
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
