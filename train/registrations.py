"""What the calling process has registered, taken along into worker processes, which import only what is shipped.

A world may have been registered in a script, or in place of a shipped one; an algorithm entered, or a policy added to
one.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from perf_envs import WORLDS
from perf_envs.registration import RegisteredWorld
from train.registry import ALGORITHMS, Algorithm


@dataclass(frozen=True)
class Registrations:
    """Worlds and algorithms as this process knows them.

    Attributes:
        specs: registrations of worlds by id.
        worlds: what is registered about those worlds beside.
        algorithms: registered algorithms by name.
        policies: the policies that each of them takes, by name.
        path: where modules are looked for.
    """

    specs: dict[str, EnvSpec] = field(default_factory=dict)
    worlds: dict[str, RegisteredWorld] = field(default_factory=dict)
    algorithms: dict[str, Algorithm] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    path: tuple[str, ...] = ()

    @classmethod
    def of(cls, worlds: Iterable[str] = (), algos: Iterable[str] = ()) -> Registrations:
        """Return the registrations of some worlds, by id, and some algorithms, by name; without unknown ones."""
        ids = [world for world in dict.fromkeys(worlds) if world in gym.registry]
        algorithms = {name: ALGORITHMS[name] for name in dict.fromkeys(algos) if name in ALGORITHMS}
        return cls(
            {world: _sendable(gym.registry[world]) for world in ids},
            {world: WORLDS[world] for world in ids if world in WORLDS},
            algorithms,
            {name: dict(getattr(algorithm.build, "policy_aliases", {})) for name, algorithm in algorithms.items()},
            tuple(folder or os.getcwd() for folder in sys.path),
        )

    def apply(self) -> None:
        """Register all of it in this process."""
        sys.path.extend(folder for folder in self.path if folder not in sys.path)
        gym.registry.update(self.specs)
        WORLDS.update(self.worlds)
        ALGORITHMS.update(self.algorithms)
        for name, policies in self.policies.items():
            ALGORITHMS[name].build.policy_aliases.update(policies)


def _sendable(spec: EnvSpec) -> EnvSpec:
    """Return a registration whose entry points another process finds: what a script defines has no name there."""
    sent = copy.copy(spec)
    for name in ("entry_point", "vector_entry_point"):
        entry = getattr(sent, name)
        if isinstance(entry, str) and entry.startswith("__main__:"):
            setattr(sent, name, load_env_creator(entry))
    return sent
