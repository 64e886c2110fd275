"""Where a result comes from: versions, machine, state of the repository."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from perf_envs import __version__

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("clarabel", "gymnasium", "numpy", "scipy", "stable-baselines3", "torch")


def now() -> str:
    """Return the present time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python, of this project and of what it computes with."""
    found = {"python": platform.python_version(), "performative-rl": __version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def machine() -> dict[str, Any]:
    """Return what the figures of speed depend on."""
    return {"platform": platform.platform(), "architecture": platform.machine(), "cores": available_cores()}


def gathered() -> dict[str, Any]:
    """Return time, versions, machine and state of the repository, as a run writes them down."""
    return {"started": now(), "versions": versions(), "machine": machine(), "git": git_state()}


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def git_state() -> dict[str, Any] | None:
    """Return commit and whether files differ from it, ``None`` where the project does not lie in its repository."""
    top = _git("rev-parse", "--show-toplevel")
    commit = _git("rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != ROOT:
        return None
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
