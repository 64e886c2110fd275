"""Names of worlds and algorithms, and what belongs together."""

from __future__ import annotations

from collections.abc import Iterable

from perf_envs.registration import SEPARATOR
from train.registry import SHIPPED

#: The algorithm whose advantage over the others is reported.
OURS = next(iter(SHIPPED))
#: Every algorithm has its style by its place here, whoever else takes part.
KNOWN = tuple(sorted(SHIPPED, key=lambda name: not SHIPPED[name].is_main))


def is_main(algo: str) -> bool:
    """Whether an algorithm belongs to the main comparison; other shipped ones have panels of their own."""
    return algo not in SHIPPED or SHIPPED[algo].is_main


#: Groups of worlds by what follows the ``@`` in their names.
WORLD_GROUPS = {
    "Worlds as they are": ("",),
    "Strength of the answer": ("weak", "strong"),
    "Kinds of answer": ("gradual", "piecewise-linear", "quantised", "noisy"),
}
OTHER_WORLDS = "Other variants"


def variant(env: str) -> str:
    """Return the name of the variant, empty for a world as it is."""
    return env.partition(SEPARATOR)[2]


def world_group(env: str) -> str:
    """Return the title of the group that a world belongs to."""
    return next((title for title, names in WORLD_GROUPS.items() if variant(env) in names), OTHER_WORLDS)


def world_groups(envs: Iterable[str]) -> dict[str, list[str]]:
    """Return the worlds of every group that has some, in the order of the groups."""
    found: dict[str, list[str]] = {title: [] for title in (*WORLD_GROUPS, OTHER_WORLDS)}
    for env in envs:
        found[world_group(env)].append(env)
    return {title: members for title, members in found.items() if members}


def slug(text: str) -> str:
    """Return a text as the name of an anchor or of a file."""
    kept = "".join(sign if sign.isalnum() and sign.isascii() else "-" for sign in text.lower())
    return "-".join(part for part in kept.split("-") if part)
