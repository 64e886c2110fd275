"""The command line: train one agent, compare many, and report what came out."""

from typing import TYPE_CHECKING

from perf_envs.lazy import lazy_names

if TYPE_CHECKING:
    from train.foreign import evaluate
    from train.registry import Algorithm, register_algorithm
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {"Algorithm": "train.registry", "evaluate": "train.foreign", "register_algorithm": "train.registry"},
        extra="train",
    )

__all__ = ["Algorithm", "evaluate", "register_algorithm"]
