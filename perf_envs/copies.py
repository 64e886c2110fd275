"""Noticing copies: environments stepped side by side, each with a world of its own that sees only its own actions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

if TYPE_CHECKING:
    from perf_envs.rounds import Rounds

_alive: WeakSet[Rounds[Any]] = WeakSet()
#: The steps that all worlds had made when a world began or last answered; ``None`` once all has been said.
_before: WeakKeyDictionary[Rounds[Any], WeakKeyDictionary[Rounds[Any], int] | None] = WeakKeyDictionary()


def register(world: Rounds[Any]) -> None:
    """Let a new world be known to the others of this process."""
    _alive.add(world)


def begin(world: Rounds[Any]) -> None:
    """Take note of what the others have done before a world makes its first step."""
    if _before.get(world, world) is not None:
        _before[world] = _count(world)


def notice(world: Rounds[Any]) -> None:
    """Warn if other worlds of the same kind make their steps along with this one, whose observed round has just ended.

    It is told by what they did since this one began or last answered: as many steps, give or take those of episodes
    that ended.

    Warns:
        UserWarning: once for all worlds that are stepped together.
    """
    before = _before.get(world)
    if before is None or world.is_shared:
        return
    now = _count(world)
    own = now[world] - before[world]
    together = [other for other in now if 0.5 * own <= now[other] - before.get(other, 0) <= 2.0 * own]
    if len(together) <= 1:  # itself
        _before[world] = now
        return
    for other in together:
        _before[other] = None
    warnings.warn(
        f"{len(together)} copies of a performative world are stepped side by side, and each answers the policy it "
        "estimates from its own actions alone, after round_length steps of its own. Let all agents act in one world: "
        "agents.make_vec_env(id, n_envs=...), or gym.make_vec(id, num_envs=..., "
        "vectorization_mode='vector_entry_point')",
        stacklevel=6,
    )


def _count(world: Rounds[Any]) -> WeakKeyDictionary[Rounds[Any], int]:
    """Return the steps made in a world, and in all that are like it."""
    alike = [other for other in _alive if type(other) is type(world) and other.deployment == "observed"]
    return WeakKeyDictionary({one: one.steps for one in (world, *alike) if not one.is_shared or one is world})
