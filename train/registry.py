"""The algorithms that are known by name: those shipped, those that other packages bring, and those registered here.

An algorithm is any class in the style of Stable-Baselines3: ``Class(policy, env, seed=..., **settings)``, with
``learn``. It is found

* by a shipped name, such as ``ppo``;
* by ``module:Class``, wherever that can be imported from;
* through an entry point in the group ``performative_rl.algorithms`` of an installed package, which names a class or an
  :class:`Algorithm`;
* after :func:`register_algorithm`.

Nothing is imported before a class is needed: names and help cost nothing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perf_envs.validation import check_choice, did_you_mean

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

#: Entry points of other packages.
GROUP = "performative_rl.algorithms"
_HERE = Path(__file__).parent
CONFIGS, TUNED, SPACES = _HERE / "configs", _HERE / "configs" / "tuned", _HERE / "search_spaces"
#: Constructor arguments that are not settings: the run provides them.
_PROVIDED = ("policy", "env", "seed", "verbose", "tensorboard_log", "_init_setup_model")


@dataclass(frozen=True)
class Algorithm:
    """How to build an algorithm.

    What else there is to know about it are attributes of its class: ``uses_response_map`` (it asks the world how it
    would respond to other policies; false if it does not say), ``deploys_itself``, ``supports(problem)``.

    Attributes:
        name: what it is called on the command line and in folders.
        label: what it is called in tables and plots.
        entry: its class, or ``"module:Class"``.
        variant_of: the algorithm it is another version of, such as an ablation, with its settings but for those in its
            own file. ``None`` for an algorithm in its own right.
        settings: files of settings, later ones over earlier ones (:mod:`train.settings`).
        tuned: the file of settings that tuning found, over those; it need not exist.
        search_space: where tuning looks (:mod:`train.tuning.spaces`), ``None`` where it cannot.
        seconds_per_step: rough cost of a step without deployments; a benchmark starts its longest runs first.
        is_main: whether it belongs to the main comparison of a report.
    """

    name: str
    label: str
    entry: str | type[BaseAlgorithm]
    variant_of: str | None = None
    settings: tuple[Path, ...] = ()
    tuned: Path | None = None
    search_space: Path | None = None
    seconds_per_step: float = 7e-5
    is_main: bool = False

    @functools.cached_property
    def build(self) -> type[BaseAlgorithm]:
        """Its class."""
        return _import(self.entry) if isinstance(self.entry, str) else self.entry

    @property
    def uses_response_map(self) -> bool:
        """Whether it asks the world how it would respond to other policies."""
        return bool(getattr(self.build, "uses_response_map", False))

    @property
    def deploys_itself(self) -> bool:
        """Whether it hands its policy to the world at the start of every rollout, without being told."""
        return bool(getattr(self.build, "deploys_itself", False))

    @property
    def policies(self) -> list[str]:
        """Names of the policies it takes."""
        return list(getattr(self.build, "policy_aliases", {}))

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Type annotation of every constructor argument that may be set; ``Any`` where it has none."""
        return {name: argument.annotation for name, argument in self._arguments.items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """Default of every constructor argument that may be set and has one."""
        empty = inspect.Parameter.empty
        return {name: argument.default for name, argument in self._arguments.items() if argument.default is not empty}

    @functools.cached_property
    def _arguments(self) -> dict[str, Any]:
        from agents.common.arguments import constructor_arguments

        return {name: one for name, one in constructor_arguments(self.build).items() if name not in _PROVIDED}

    @property
    def rollout_length(self) -> int | None:
        """Steps of each agent between two updates, unless settings say otherwise; ``None`` where there is no such."""
        return self.defaults.get("n_steps")

    def make(self, venv: VecEnv, seed: int, policy: str, **hyperparameters: Any) -> BaseAlgorithm:
        """Build the model.

        Raises:
            ValueError: the algorithm does not accept the hyperparameters.
        """
        try:
            return self.build(policy, venv, seed=seed, **hyperparameters)
        except Exception as error:  # whatever the constructors of Stable-Baselines3 and torch make of odd arguments
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{self.name} does not accept {hyperparameters}: {reason}") from error

    def supports(self, venv: VecEnv, problem: Any) -> bool:
        """Whether it can act in a world.

        A class that has ``supports`` is asked. Any other is made as far as Stable-Baselines3 checks the spaces.

        Args:
            venv: the world.
            problem: what is known about it, ``None`` if nothing is.
        """
        asked = getattr(self.build, "supports", None)
        if asked is not None:
            return bool(asked(problem))
        make: Any = self.build
        with warnings.catch_warnings(), contextlib.suppress(Exception):  # the run itself will say what is wrong
            warnings.simplefilter("ignore")
            try:
                make(next(iter(self.policies), "MlpPolicy"), venv, _init_setup_model=False)
            except AssertionError:
                return False
        return True


def _shipped(
    name: str, label: str, entry: str, variant_of: str | None = None, seconds: float = 7e-5, main: bool = False
) -> Algorithm:
    """Return a shipped algorithm, with its files."""
    names = [one for one in (variant_of, name) if one is not None]
    space = SPACES / f"{name}.yaml"
    return Algorithm(
        name,
        label,
        entry,
        variant_of,
        tuple(CONFIGS / f"{one}.yaml" for one in names),
        TUNED / f"{variant_of or name}.yaml",
        space if variant_of is None else None,
        seconds,
        main,
    )


_PEPG, _RETRAINING = "agents.pepg.pepg:PePG", "agents.retraining:RepeatedRetraining"
_SB3, _CONTRIB = "stable_baselines3", "sb3_contrib"
_SHIPPED = (
    _shipped("pepg", "PePG", _PEPG, seconds=2e-5, main=True),
    _shipped("ppo", "PPO", f"{_SB3}:PPO", main=True),
    _shipped("a2c", "A2C", f"{_SB3}:A2C", main=True),
    _shipped("trpo", "TRPO", f"{_CONTRIB}:TRPO", main=True),
    # One class: what sets them apart are the arguments in their configs.
    _shipped("rr", "RR", _RETRAINING, seconds=1e-5, main=True),
    _shipped("mdrr", "MDRR", _RETRAINING, seconds=1e-5, main=True),
    _shipped("zofw", "0-FW", "agents.retraining:ZerothOrderFrankWolfe", seconds=1e-5, main=True),
    _shipped("reinforce", "REINFORCE", "agents.deep.reinforce:REINFORCE"),
    _shipped("ppo_penalty", "PPO-penalty", "agents.deep.ppo_penalty:PPOPenalty"),
    _shipped("grpo", "GRPO", "agents.deep.grpo:GRPO"),
    _shipped("mdpo", "MDPO", "agents.deep.mdpo:MDPO"),
    _shipped("npg", "NPG", "agents.deep.npg:NPG"),
    _shipped("performative_ppo", "Performative PPO", "agents.deep.performative_ppo:PerformativePPO"),
    _shipped("performative_npg", "Performative NPG", "agents.deep.performative_npg:PerformativeNPG"),
    _shipped("rga", "RGA", _RETRAINING, seconds=1e-5),
    _shipped("drr", "DRR", _RETRAINING, seconds=1e-5),
    *(
        _shipped(f"pepg_{name}", f"PePG, {what}", _PEPG, "pepg", 2e-5)
        for name, what in (
            ("no_dynamics", "no dynamics term"),
            ("no_reward", "no reward term"),
            ("no_ramp", "no ramp"),
            ("no_entropy", "no entropy"),
            ("sampled", "sampled policy term"),
        )
    ),
    # Those that everybody starts with, as they come: whoever tunes them should not do worse.
    _shipped("ppo_defaults", "PPO, SB3 defaults", f"{_SB3}:PPO", "ppo", 4e-4),
    _shipped("a2c_defaults", "A2C, SB3 defaults", f"{_SB3}:A2C", "a2c"),
    _shipped("trpo_defaults", "TRPO, SB3 defaults", f"{_CONTRIB}:TRPO", "trpo", 2e-4),
    # Off-policy algorithms learn from what they have stored of worlds that have moved on since.
    _shipped("dqn", "DQN", f"{_SB3}:DQN", seconds=1e-4),
    _shipped("qrdqn", "QR-DQN", f"{_CONTRIB}:QRDQN", seconds=4e-4),
    _shipped("sac", "SAC", f"{_SB3}:SAC", seconds=6e-4),
    _shipped("tqc", "TQC", f"{_CONTRIB}:TQC", seconds=1e-3),
    _shipped("td3", "TD3", f"{_SB3}:TD3", seconds=7e-4),
)
#: Shipped algorithms by name.
SHIPPED: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in _SHIPPED}
#: Registered algorithms by name.
ALGORITHMS: dict[str, Algorithm] = dict(SHIPPED)


def register_algorithm(
    name: str,
    entry: str | type[BaseAlgorithm],
    *,
    label: str | None = None,
    variant_of: str | None = None,
    settings: str | Path | None = None,
    search_space: str | Path | None = None,
) -> Algorithm:
    """Register an algorithm under a name of its own, for the command line and everything behind it.

    Args:
        name: what it is called on the command line and in folders: letters, digits, ``.``, ``-`` and ``_``.
        entry: its class, or ``"module:Class"``; see :class:`Algorithm` for what it may say of itself.
        label: what it is called in tables and plots, its name by default.
        variant_of: the registered algorithm it is another version of: it has that one's settings, then its own.
        settings: a YAML file of settings (:mod:`train.settings`).
        search_space: a YAML file that says where tuning may look (:mod:`train.tuning.spaces`).

    Returns:
        What was registered.

    Raises:
        ValueError: the name cannot be a folder's, or is taken by another class or a shipped algorithm; ``entry`` is no
            class with ``learn``, ``variant_of`` is not registered, or a file does not exist. Nothing is registered
            then.
    """
    _check_name(name)
    if name in SHIPPED:
        raise ValueError(f"name must be free, but {name!r} is shipped")
    if not isinstance(entry, str):
        _check_class(entry)
    files = [_file("settings", settings)] if settings is not None else []
    whole = None if variant_of is None else find_algorithm(variant_of)
    algorithm = Algorithm(
        name,
        name if label is None else label,
        entry,
        variant_of,
        (*(() if whole is None else whole.settings), *files),
        None if whole is None else whole.tuned,
        None if search_space is None else _file("search_space", search_space),
    )
    known = ALGORITHMS.get(name)
    if known is not None and known.entry != entry and known.build is not algorithm.build:
        raise ValueError(f"name must be free, but {name!r} is registered for {known.entry}")
    ALGORITHMS[name] = algorithm
    return algorithm


def find_algorithm(name: str) -> Algorithm:
    """Return an algorithm by its name or by ``module:Class``, which is registered under the name of the class.

    What the module itself registers for the class under that name is taken as it is.

    Raises:
        ValueError: there is none; the nearest one is named.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if ":" in name:
        found = _import(name)
        known = ALGORITHMS.get(found.__name__)
        return register_algorithm(found.__name__, name) if known is None or known.build is not found else known
    _register_entry_points()
    return ALGORITHMS[check_choice("algo", name, ALGORITHMS)]


def algorithm_names() -> list[str]:
    """Return the names of all algorithms, those of other packages among them."""
    _register_entry_points()
    return list(ALGORITHMS)


def use_files(names: Iterable[str], settings: Path | None = None, spaces: Path | None = None) -> None:
    """Take settings and search spaces of some algorithms from folders of the user's, over those that they have.

    Args:
        names: the algorithms.
        settings: a folder with settings, ``NAME.yaml``; algorithms without a file there keep what they have.
        spaces: a folder with search spaces, likewise.

    Raises:
        ValueError: a folder does not exist, or has no file for any of them.
    """
    algorithms = [find_algorithm(name) for name in names]
    for folder, what in ((settings, "configs"), (spaces, "spaces")):
        if folder is None:
            continue
        files = {one.name: folder / f"{one.name}.yaml" for one in algorithms if (folder / f"{one.name}.yaml").is_file()}
        if not files:
            wanted = ", ".join(f"{one.name}.yaml" for one in algorithms)
            raise ValueError(f"{what} must be a folder with {wanted}, or some of these, got {str(folder)!r}")
        for name, path in files.items():
            known = ALGORITHMS[name]
            changed = (
                replace(known, settings=(*known.settings, path))
                if what == "configs"
                else replace(known, search_space=path)
            )
            ALGORITHMS[name] = changed


def find_defaults(name: str) -> Algorithm | None:
    """Return the version of an algorithm that has the defaults of its library; ``None`` where there is none."""
    return ALGORITHMS.get(f"{name}_defaults")


def shipped_facts(name: str) -> Mapping[str, Any] | None:
    """Return label, variant and knowledge of a shipped algorithm, for results that do not say; else ``None``.

    Older results carry no ``uses_response_map``; nothing is imported to answer for them.
    """
    if name not in SHIPPED:
        return None
    algorithm = SHIPPED[name]
    return {
        "label": algorithm.label,
        "variant_of": algorithm.variant_of,
        "uses_response_map": str(algorithm.entry).startswith(("agents.pepg.", "agents.deep.performative_")),
    }


@functools.cache
def _register_entry_points() -> None:
    """Register what installed packages bring; a name that is taken already stays what it is.

    Warns:
        UserWarning: a package brings what cannot be used, which is left out.
    """
    for point in importlib.metadata.entry_points(group=GROUP):
        if point.name in ALGORITHMS:
            continue
        try:
            ALGORITHMS[point.name] = _brought(point)
        except Exception as error:  # whatever goes wrong in the package of somebody else
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"algorithm {point.name!r} ({point.value}) cannot be used: {reason}", stacklevel=2)


def _brought(point: importlib.metadata.EntryPoint) -> Algorithm:
    """Return the algorithm that an entry point names."""
    _check_name(point.name)
    brought = point.load()
    if isinstance(brought, Algorithm):
        return replace(brought, name=point.name)
    _check_class(brought)
    return Algorithm(point.name, point.name, point.value)


def _import(entry: str) -> Any:
    """Return the class that ``module:Class`` names.

    Raises:
        ValueError: there is no such module, or no such class in it.
    """
    module, _, name = entry.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ValueError(f"algo must name a module that can be imported, got {entry!r}: {error}") from error
    except AttributeError:
        names = [one for one, value in vars(importlib.import_module(module)).items() if isinstance(value, type)]
        raise ValueError(f"{module} has no class {name!r}, got {entry!r}{did_you_mean(name, names)}") from None
    _check_class(found)
    return found


def _check_class(found: Any) -> None:
    if not isinstance(found, type) or not callable(getattr(found, "learn", None)):
        raise ValueError(f"algo must be a class with learn(), as Stable-Baselines3's are, got {found!r}")


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or not all(sign.isalnum() or sign in ".-_" for sign in name):
        raise ValueError(f"name must be made of letters, digits, '.', '-' and '_', got {name!r}")


def _file(argument: str, path: str | Path) -> Path:
    found = Path(path)
    if not found.is_file():
        raise ValueError(f"{argument} must be a file, got {str(path)!r}")
    return found
