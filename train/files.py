"""Writing files so that a reader, or the next start after a crash, never sees half of one."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file in one piece: under another name in the same folder, then put in place at once.

    Raises:
        OSError: the file cannot be written, which one and why; what was there before is still there.
    """
    write_all({path: data})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all of them are on the disk before the first takes the place of an old one."""
    partials = {path: path.with_name(f".{os.getpid()}.{path.name}") for path in files}
    try:
        for path, partial in partials.items():
            _call(functools.partial(partial.write_bytes, files[path]), path)
        for path, partial in partials.items():
            _call(functools.partial(os.replace, partial, path), path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _call(step: Callable[[], object], path: Path) -> None:
    """Take a step of writing a file, which knows it under another name."""
    try:
        step()
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextlib.contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Say of an error of the file system that names no file, as that of a full disk, in which folder it was met."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes were writing into a folder."""
    for leftover in folder.glob(".[0-9]*.*"):
        leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece."""
    write_bytes(path, text.encode("utf-8"))


def as_json(data: Mapping[str, Any]) -> str:
    """Return an object as JSON; numbers that JSON cannot hold raise ``ValueError``."""
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file in one piece; numbers that JSON cannot hold raise ``ValueError``."""
    write_text(path, as_json(data))


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {path}: it is not text in UTF-8 ({error})") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ValueError: the file cannot be read or holds something else.
    """
    text = read_text(path)
    try:
        data = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold an object of keys and values, got {type(data).__name__}")
    return data


def _no_number(name: str) -> float:
    raise ValueError(f"numbers must be finite, got {name}")
