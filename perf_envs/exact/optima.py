"""The best policies known for the registered worlds, shipped as data with the command that made them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perf_envs.exact.values import performative_value
from perf_envs.problem import PerformativeMDP, Problem
from perf_envs.registration import WORLDS

DATA = Path(__file__).parent.parent / "data" / "optima"
#: Two worlds are taken for the same if their performative values agree this well on every probe policy.
_SAME_WORLD = 1e-9
_N_PROBES = 3

_known: weakref.WeakKeyDictionary[PerformativeMDP, BestKnown] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class BestKnown:
    """The best policy known for a world.

    Attributes:
        policy: ``[S, A]``; in linear pricing the normalised actions ``[H, d]``, which do not vary.
        value: its performative value ``J``.
        command: what computed it.
    """

    policy: Tensor
    value: float
    command: str


def best_known(problem: Problem[Any]) -> BestKnown:
    """Return the best known policy of a world: of a registered one with default arguments, or from a closed form.

    Raises:
        ValueError: this is no problem, or no optimum is known for this world (``agents.planning.pepg(problem)``
            computes one).
    """
    if not isinstance(problem, Problem):
        raise ValueError(f"problem must be a PerformativeMDP (env.unwrapped.problem), got {type(problem).__name__}")
    best = problem.best_known()
    if best is None:
        raise ValueError(
            "no best known policy is shipped for this world: compute one with agents.planning.pepg(problem) "
            "and pass its value as best_value"
        )
    return best


def find_shipped(problem: PerformativeMDP) -> BestKnown | None:
    """Return the best policy shipped for a tabular world, or registered as a file with one; ``None`` if there is none.

    A world is recognised by its behaviour: its performative values on fixed probe policies.
    """
    if problem not in _known:
        signature = world_signature(problem)
        for path in (*sorted(DATA.glob("*.npz")), *_registered()):
            of_file, best = _read(path)
            if np.shape(of_file) == np.shape(signature) and np.allclose(of_file, signature, rtol=0.0, atol=_SAME_WORLD):
                _known[problem] = best
                break
        else:
            return None
    return _known[problem]


def world_signature(problem: PerformativeMDP) -> NDArray[np.float64]:
    """Return what a world is recognised by: its size, and ``J`` of a few fixed policies."""
    shape = (problem.n_states, problem.n_actions)
    rng = np.random.default_rng(0)
    probes = [rng.dirichlet(np.ones(shape[1]), size=shape[0]) for _ in range(_N_PROBES)]
    with torch.no_grad():
        return np.array([*shape, *(float(performative_value(problem, probe)) for probe in probes)])


def save_best_known(name: str, problem: PerformativeMDP, policy: Tensor, command: str) -> Path:
    """Write the best known policy of a world into the package's data and return the file."""
    DATA.mkdir(parents=True, exist_ok=True)
    path = DATA / f"{name}.npz"
    with torch.no_grad():
        value = float(performative_value(problem, policy))
    np.savez(path, policy=policy.numpy(), value=value, signature=world_signature(problem), command=command)
    _read.cache_clear()
    _known.clear()
    return path


def _registered() -> list[Path]:
    return [world.optimum for world in WORLDS.values() if isinstance(world.optimum, Path)]


@cache
def _read(path: Path) -> tuple[NDArray[np.float64], BestKnown]:
    """Return what a world is recognised by, and its best known policy."""
    with np.load(path) as data:
        best = BestKnown(torch.from_numpy(data["policy"]), float(data["value"]), str(data["command"]))
        return data["signature"], best
