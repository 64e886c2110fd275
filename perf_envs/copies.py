"""Noticing copies: environments stepped side by side, each with a world of its own that sees only its own actions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

if TYPE_CHECKING:
    from perf_envs.rounds import Rounds

_alive: WeakSet[Rounds[Any]] = WeakSet()
#: The steps that other worlds had made when a world last answered; ``None`` once all has been said.
_when_it_answered: WeakKeyDictionary[Rounds[Any], WeakKeyDictionary[Rounds[Any], int] | None] = WeakKeyDictionary()


def register(world: Rounds[Any]) -> None:
    """Let a new world be known to the others of this process."""
    _alive.add(world)


def notice(world: Rounds[Any]) -> None:
    """Warn if other worlds of the same kind make their steps along with this one, whose observed round has just ended.

    It is told by what they did between two of its answers: as many steps, give or take those of episodes that ended.

    Warns:
        UserWarning: once for all worlds that are stepped together.
    """
    before = _when_it_answered.get(world, WeakKeyDictionary())
    if before is None or world.is_shared:
        return
    now = WeakKeyDictionary({other: _steps(other) for other in _alive if _is_like(other, world)})
    now[world] = _steps(world)
    own = now[world] - before.get(world, 0)
    together = [other for other in now if other in before and 0.5 * own <= now[other] - before[other] <= 2.0 * own]
    if len(together) <= 1:  # itself
        _when_it_answered[world] = now
        return
    for other in together:
        _when_it_answered[other] = None
    warnings.warn(
        f"{len(together)} copies of a performative world are stepped side by side, and each answers the policy it "
        "estimates from its own actions alone, after round_length steps of its own. Let all agents act in one world: "
        "agents.make_vec_env(id, n_envs=...), or gym.make_vec(id, num_envs=..., "
        "vectorization_mode='vector_entry_point')",
        stacklevel=6,
    )


def _steps(world: Rounds[Any]) -> int:
    return world.steps_before + world._steps_observed


def _is_like(other: Rounds[Any], world: Rounds[Any]) -> bool:
    return type(other) is type(world) and other.deployment == "observed" and not other.is_shared
