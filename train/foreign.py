"""Policies that were trained elsewhere: read, evaluated, and put beside the runs of a results folder."""

from __future__ import annotations

import importlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.save_util import load_from_zip_file

from perf_envs.policies import AskedPolicy
from perf_envs.record_rounds import evaluations_text
from perf_envs.registration import module_of, split_variant
from perf_envs.validation import did_you_mean
from train import provenance
from train.evaluators import Evaluator, ExactEvaluator, World, find_evaluator
from train.files import write_bytes, write_json, write_text
from train.folders import RESULT, run_folder
from train.locks import claimed
from train.naming import world_name
from train.recording import EVALUATIONS
from train.registry import ALGORITHMS
from train.yaml_files import dump_yaml


@dataclass(frozen=True)
class ForeignPolicy:
    """A policy from elsewhere.

    Attributes:
        name: what it is called.
        policy: an array as runs save it, or anything that worlds can ask.
    """

    name: str
    policy: Any


def read_foreign(given: Any) -> ForeignPolicy:
    """Return a policy from elsewhere.

    Args:
        given: the path of a model of Stable-Baselines3 (``.zip``) or of an array (``.npy``), ``"module:function"``, or
            anything that worlds can read as a policy.

    Raises:
        ValueError: it cannot be read.
    """
    if not isinstance(given, str | Path):
        return ForeignPolicy(getattr(given, "__name__", type(given).__name__), given)
    path = Path(given)
    if path.suffix == ".npy":
        return ForeignPolicy(path.stem, _read_array(path))
    if path.suffix == ".zip":
        return ForeignPolicy(path.stem, _read_model(path))
    module, _, name = str(given).partition(":")
    if not name:
        raise ValueError(f"policy must be a file.zip, a file.npy or module:function, got {str(given)!r}")
    try:
        holder = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"policy must name a module that can be imported, got {given!r}: {error}") from error
    if not hasattr(holder, name):
        raise ValueError(f"{module} has no {name!r}{did_you_mean(name, vars(holder))}")
    return ForeignPolicy(name, getattr(holder, name))


def _read_array(path: Path) -> NDArray[np.float64]:
    try:
        array: NDArray[np.float64] = np.load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    return array


def _read_model(path: Path) -> Any:
    """Return the policy of a saved model; which algorithm has trained it does not matter."""
    try:
        data, parameters, _ = load_from_zip_file(path, device="cpu")
        if data is None or "policy_class" not in data:
            raise ValueError("it holds no policy")
        make, spaces = data["policy_class"], (data["observation_space"], data["action_space"])
        explores = {"use_sde": True} if data.get("use_sde") else {}
        policy = make(*spaces, lr_schedule=lambda _: 0.0, **{**explores, **data.get("policy_kwargs", {})})
        policy.load_state_dict(parameters["policy"])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is no model of Stable-Baselines3 that can be read: {reason}") from error
    return policy


@dataclass(frozen=True)
class Evaluation:
    """What a policy from elsewhere is worth.

    Attributes:
        result: as of a run, see :func:`train.run.execute`.
        best_value: the best performative value known in the world.
        array: the policy as it is saved, if it is an array.
    """

    result: dict[str, Any]
    best_value: float | None
    array: NDArray[np.float64] | None

    @classmethod
    def of(cls, foreign: ForeignPolicy, env: str, seed: int = 0, name: str | None = None) -> Evaluation:
        """Evaluate a policy in a world.

        Args:
            foreign: the policy.
            env: id of the world or of a variant, or ``module:ID``.
            seed: of the episodes that are played.
            name: what it is called.

        Raises:
            ValueError: there is no such world, or it does not take the policy.
        """
        env = world_name(env)
        world = World(*split_variant(env))
        evaluator = find_evaluator(world)
        policy = _in_world(evaluator, foreign.policy)
        label = foreign.name if name is None else name
        result = {
            **{"algo": _folder_name(label), "label": label, "variant_of": None, "env": env, "seed": seed},
            **{"steps": 0, "deployments": 1, "evaluation": evaluator.how, "gamma": evaluator.gamma},
            **evaluator.figures(policy),
            "uniform_value": evaluator.uniform_value(),
            **evaluator.returns(policy, seed).figures(),
        }
        return cls(result, evaluator.best_known_value(), evaluator.array(policy))

    def save(self, out: Path, command: str, uses_response_map: bool = False) -> Path:
        """Put the evaluation beside the runs of a results folder, and return where it is.

        Args:
            out: the results folder.
            command: the command line that made it.
            uses_response_map: whether the policy was found with knowledge of the response map.

        Raises:
            ValueError: the folder holds another run of this name already, or it is the name of an algorithm.
        """
        result = self.result | {"uses_response_map": uses_response_map}
        if result["algo"] in ALGORITHMS:
            raise ValueError(f"name must be another than that of an algorithm here, got {result['label']!r}")
        named = {key: result[key] for key in ("algo", "env", "seed")}
        env_id, env_kwargs = split_variant(result["env"])
        module = module_of(env_id)
        folder = run_folder(out, result["env"], result["algo"], result["seed"])
        with claimed(folder):
            if (folder / RESULT).exists():
                raise ValueError(f"{folder} holds a run of this name already: choose another --name, or another --seed")
            folder.mkdir(parents=True, exist_ok=True)
            world = {"env_kwargs": env_kwargs, **({} if module is None else {"env_module": module})}
            write_text(folder / "config.yaml", dump_yaml({**named, **world, "n_timesteps": 0}))
            write_text(folder / "command.txt", command + "\n")
            write_json(folder / "meta.json", {"run": named, **provenance.gathered()})
            row = {key: result[key] for key in ("performative_value", "performative_value_se", "stability_gap")}
            write_text(folder / EVALUATIONS, evaluations_text([{"timesteps": 0, "round": 1, **row, "wall_time": 0.0}]))
            if self.array is not None:
                table = io.BytesIO()
                np.save(table, self.array)
                write_bytes(folder / "policy.npy", table.getvalue())
            write_json(folder / RESULT, result)
        return folder


def evaluate(policy: Any, env: str, seed: int = 0) -> dict[str, Any]:
    """Return what a policy is worth: ``J``, stability and optimality gap, normalised score, played returns.

    Args:
        policy: the path of a model of Stable-Baselines3 (``.zip``) or of an array (``.npy``), ``"module:function"``, or
            a model, an array or a callable itself.
        env: id of the world or of a variant, or ``module:ID``.
        seed: of the episodes that are played.

    Returns:
        ``performative_value`` with its standard error where it was played (``evaluation`` says which),
        ``stability_gap``, ``optimality_gap``, ``normalised_score`` (0 is the uniform policy, 1 the best known),
        ``rollout_return_mean`` and so on; ``None`` where something is not known.

    Raises:
        ValueError: there is no such world, or it does not take the policy.
    """
    found = Evaluation.of(read_foreign(policy), env, seed)
    value, uniform, best = found.result["performative_value"], found.result["uniform_value"], found.best_value
    gap = None if best is None else best - value
    known = best is not None and uniform is not None and best > uniform
    score = (value - uniform) / (best - uniform) if known else None
    return {**found.result, "best_value": best, "optimality_gap": gap, "normalised_score": score}


def _in_world(evaluator: Evaluator, policy: Any) -> Any:
    """Return a policy in the form in which the evaluator takes it."""
    if isinstance(evaluator, ExactEvaluator):
        policies = evaluator.problem.policies
        return policies.from_array(policy) if isinstance(policy, np.ndarray) else policies.read(policy)
    env = evaluator.world.make()
    asked = AskedPolicy(policy, env.observation_space, env.action_space)
    env.close()
    return asked


def _folder_name(label: str) -> str:
    name = re.sub(r"[^\w.-]+", "_", label).strip("._-")
    if not name:
        raise ValueError(f"name must have letters or digits, got {label!r}")
    return name
