"""What a benchmark is asked for: blocks of algorithms x worlds x seeds. Trains nothing and imports no agents."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from perf_envs.validation import check_choice, check_count
from train.yaml_files import dump_yaml, read_mapping

PLAN = "bench.yaml"
SUITES = Path(__file__).parent / "suites"
#: A run by world, algorithm and seed.
Key = tuple[str, str, int]
Name = TypeVar("Name", str, int)


@dataclass(frozen=True)
class Block:
    """Every one of some algorithms in every one of some worlds, with the same seeds.

    Raises:
        ValueError: from the constructor, names or seeds that are missing or repeated.
    """

    algos: tuple[str, ...]
    envs: tuple[str, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("algos", "envs", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be one or more different values, got {list(values)}")

    def runs(self) -> Iterable[Key]:
        """Return the runs, world by world."""
        return itertools.product(self.envs, self.algos, self.seeds)


@dataclass(frozen=True)
class Plan:
    """What a benchmark was asked for; the order of the names is that of its tables and plots.

    Attributes:
        blocks: what is to be run. A run that is in two of them is made once.
        command: the command line that asked for it.
        n_timesteps: environment steps of every run, ``None`` for those of the settings.
        n_evals: exact evaluations along each training.
    """

    blocks: tuple[Block, ...]
    command: str = ""
    n_timesteps: int | None = None
    n_evals: int | None = None

    @classmethod
    def product(cls, algos: Sequence[str], envs: Sequence[str], seeds: Sequence[int], **rest: Any) -> Plan:
        """Return a plan of one block."""
        return cls((Block(tuple(algos), tuple(envs), tuple(seeds)),), **rest)

    @property
    def algos(self) -> tuple[str, ...]:
        """All algorithms, in order."""
        return distinct(algo for block in self.blocks for algo in block.algos)

    @property
    def envs(self) -> tuple[str, ...]:
        """All worlds, in order."""
        return distinct(env for block in self.blocks for env in block.envs)

    def runs(self) -> list[Key]:
        """Return the runs in the order of tables: by world, algorithm and seed."""
        asked = {key for block in self.blocks for key in block.runs()}
        seeds = sorted({seed for block in self.blocks for seed in block.seeds})
        return [key for key in itertools.product(self.envs, self.algos, seeds) if key in asked]

    def seeds_of(self, algo: str, env: str) -> list[int]:
        """Return the seeds an algorithm has in a world."""
        return sorted({seed for b in self.blocks if algo in b.algos and env in b.envs for seed in b.seeds})

    def dump(self) -> str:
        """Return the plan as YAML."""
        blocks = [{name: list(getattr(block, name)) for name in ("algos", "envs", "seeds")} for block in self.blocks]
        return dump_yaml(
            {"command": self.command, "n_timesteps": self.n_timesteps, "n_evals": self.n_evals, "blocks": blocks}
        )

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan that was written down.

        Raises:
            ValueError: the file is no plan.
        """
        data = read_mapping(path)
        try:
            blocks = tuple(_load_block(block) for block in data.pop("blocks"))
            return _checked(cls(blocks, **data))
        except KeyError as error:
            raise ValueError(
                f"{path} is not the plan of a benchmark, it has no {error}: bench writes it anew"
            ) from None
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not the plan of a benchmark: {error}; bench writes it anew") from None


def _load_block(block: dict[str, Any]) -> Block:
    for name, kind in (("algos", str), ("envs", str), ("seeds", int)):
        values = block[name]
        if not isinstance(values, list) or not all(type(value) is kind for value in values):
            raise ValueError(f"{name} must be a list of {'numbers' if kind is int else 'names'}, got {values!r}")
    return Block(*(tuple(block[name]) for name in ("algos", "envs", "seeds")))


def _checked(plan: Plan) -> Plan:
    if not isinstance(plan.command, str):
        raise ValueError(f"command must be a text, got {plan.command!r}")
    for name in ("n_timesteps", "n_evals"):
        if getattr(plan, name) is not None:
            check_count(name, getattr(plan, name))
    return plan


@dataclass(frozen=True)
class Suite:
    """Several blocks in a file.

    Attributes:
        blocks: what is to be run.
        configs: a folder with settings on top of those that the algorithms have, ``ALGO.yaml``; ``None`` for none.
    """

    blocks: tuple[Block, ...]
    configs: Path | None = None


def read_suite(name: str) -> Suite:
    """Return a suite: a shipped one by name, or a file of the user's that ends in ``.yaml``.

    A suite has a list ``blocks`` of mappings with ``algos``, ``envs`` and ``seeds``, their number, and may have
    ``configs``, a folder, which is looked for beside the file.

    Raises:
        ValueError: there is no such suite, or it is not valid.
    """
    shipped = sorted(path.stem for path in SUITES.glob("*.yaml"))
    is_file = name.endswith((".yaml", ".yml"))
    what = "suite (or a file whose name ends in .yaml)"
    path = Path(name) if is_file else SUITES / f"{check_choice(what, name, shipped)}.yaml"
    data = read_mapping(path)
    for key in data:
        check_choice(f"{path}: key", key, ["blocks", "configs"])
    blocks = data.get("blocks")
    if not isinstance(blocks, list) or not blocks:
        raise ValueError(f"{path}: blocks must be a list of mappings with algos, envs and seeds, got {blocks!r}")
    configs = data.get("configs")
    if configs is not None and not isinstance(configs, str):
        raise ValueError(f"{path}: configs must be a folder, got {configs!r}")
    read = tuple(_read_block(block, f"{path}, block {index}") for index, block in enumerate(blocks, start=1))
    return Suite(read, None if configs is None else path.parent / configs)


def _read_block(block: Any, where: str) -> Block:
    if not isinstance(block, dict) or set(block) != {"algos", "envs", "seeds"}:
        raise ValueError(f"{where}: must have algos, envs and seeds, got {block!r}")
    for name in ("algos", "envs"):
        if not (isinstance(block[name], list) and all(isinstance(value, str) for value in block[name])):
            raise ValueError(f"{where}: {name} must be a list of names, got {block[name]!r}")
    seeds = tuple(range(check_count(f"{where}: seeds", block["seeds"])))
    try:
        return Block(tuple(block["algos"]), tuple(block["envs"]), seeds)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def distinct(names: Iterable[Name]) -> tuple[Name, ...]:
    """Return names without repetitions, in order."""
    return tuple(dict.fromkeys(names))
