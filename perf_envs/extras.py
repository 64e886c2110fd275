"""What is installed with an extra only, ``pip install 'performative-rl[NAME]'``, and the error where it is missing."""

from __future__ import annotations

import importlib.util

#: The modules that come with each extra, beside those of the extras it includes.
EXTRAS: dict[str, tuple[str, ...]] = {
    "agents": ("stable_baselines3", "sb3_contrib", "clarabel"),
    "train": (
        "filelock",
        "jinja2",
        "joblib",
        "matplotlib",
        "pandas",
        "PIL",
        "pyarrow",
        "rich",
        "tensorboard",
        "tqdm",
        "tyro",
        "yaml",
    ),
    "render": ("pygame",),
    "ray": ("ray",),
    "tune": ("optuna",),
}


class MissingExtraError(ModuleNotFoundError):
    """Something needs modules that come with an extra, which is not installed; the message says how to install it."""


def check_extra(extra: str, what: str) -> None:
    """Raise :class:`MissingExtraError` unless the modules of an extra can be found; none of them is imported.

    Args:
        extra: its name, a key of :data:`EXTRAS`.
        what: what needs it, as the message begins.
    """
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, not installed: pip install 'performative-rl[{extra}]'", name=missing[0]
        )
