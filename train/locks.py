"""Who works in a folder: one at a time, and the others are told who it is.

The lock is the operating system's, which lets go of it when a process ends, however it ends: a killed one blocks
nobody. Beside it lies a note that says who holds it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from train import provenance


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Have a run's folder for oneself; who holds it already may claim it again.

    Raises:
        ValueError: somebody else is at work there, who is named.
    """
    with _held(_beside(folder), f"{folder} is in use", wait=False):
        yield


@contextlib.contextmanager
def awaited(folder: Path) -> Iterator[None]:
    """Have a run's folder for oneself as soon as nobody else is at work there; who holds it may await it again."""
    with _held(_beside(folder), f"{folder} is in use", wait=True):
        yield


@contextlib.contextmanager
def at_work_in(out: Path) -> Iterator[None]:
    """Have what belongs to all runs of a folder for oneself, tables and report, as soon as nobody else writes them."""
    out.mkdir(parents=True, exist_ok=True)
    with _held(out / ".lock", f"{out} is being written", wait=True):
        yield


def _beside(folder: Path) -> Path:
    """Return the lock of a run's folder. It lies outside, because the folder may be exchanged for another."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_name(f".{folder.name}.lock")


@contextlib.contextmanager
def _held(path: Path, what: str, wait: bool) -> Iterator[None]:
    # One lock per file and thread, counted: who holds it may ask again.
    lock = FileLock(path.resolve(), is_singleton=True)
    again, note = lock.is_locked, path.with_suffix(".holder")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        said = f"{what} by {_holder(note)}"
        if not wait:
            raise ValueError(f"{said}: wait until it is done, or write elsewhere with --out") from None
        print(f"waiting: {said}", file=sys.stderr)
        lock.acquire()
    try:
        if not again:
            _write(note)
        yield
    finally:
        if not again:
            note.unlink(missing_ok=True)
        lock.release()


def _write(note: Path) -> None:
    command = shlex.join(["python", *sys.orig_argv[1:]])[:200]
    text = f"process {os.getpid()} on {socket.gethostname()} since {provenance.now()}, {command}"
    with contextlib.suppress(OSError):  # it can be held without anybody being told
        note.write_text(text, encoding="utf-8", errors="backslashreplace")


def _holder(note: Path) -> str:
    try:
        return note.read_text(encoding="utf-8", errors="replace").strip() or "another process"
    except OSError:
        return "another process"
