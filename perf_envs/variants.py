"""Named variants of the registered worlds: the strengths and kinds of answer that agents are compared in.

``"PerformativePricing-v0@strong"`` is a registered world, and what it is made with where that differs from its default:

    env_id, env_kwargs = split_variant("PerformativePricing-v0@strong")
    env = gym.make(env_id, **env_kwargs)
"""

from __future__ import annotations

import copy
from typing import Any

from perf_envs.validation import check_choice, did_you_mean

Arguments = dict[str, Any]

SEPARATOR = "@"


def _stressed(n_actions: int) -> dict[str, Arguments]:
    """Return the worlds that do not answer smoothly.

    Quantised answers have a level per action, so that the uniform policy is perceived as what it is; agents that follow
    the answer's gradient are given that of a world that does not round.
    """
    quantised = {"name": "quantised", "levels": n_actions, "surrogate": "straight-through"}
    wrappers = {"piecewise-linear": "piecewise-linear", "quantised": quantised, "noisy": "noisy"}
    return {name: {"response_wrapper": wrapper} for name, wrapper in wrappers.items()}


#: Arguments by world and variant. How strongly a world answers is what its paper, or its formula, scales it with:
#: followers' rationality ``beta``, the fall of willingness or demand ``shift``, ``kappa`` and ``xi`` of the softmax.
VARIANTS: dict[str, dict[str, Arguments]] = {
    "PerformativeGridWorld-v0": {
        "weak": {"beta": 3.0},
        "strong": {"beta": 30.0},
        "gradual": {"adaptation_rate": 0.15},
        **_stressed(4),
    },
    "PerformativePricing-v0": {"weak": {"shift": 1.0}, "strong": {"shift": 6.0}, **_stressed(8)},
    "SoftmaxPeMDP-v0": {"weak": {"kappa": 0.5, "xi": 0.25}, "strong": {"kappa": 2.0, "xi": 1.0}, **_stressed(4)},
    "LinearPricing-v0": {"weak": {"shift": 0.75}, "strong": {"shift": 2.0}},
}


def split_variant(name: str) -> tuple[str, Arguments]:
    """Return id and arguments of a world that may be a variant.

    Args:
        name: ``ID`` or ``ID@VARIANT``.

    Raises:
        ValueError: the world has no such variant, or no variants at all.
    """
    env_id, separator, variant = name.partition(SEPARATOR)
    if not separator:
        return env_id, {}
    variants = VARIANTS.get(env_id)
    if variants is None:
        hint = did_you_mean(env_id, VARIANTS)
        raise ValueError(f"{env_id!r} has no variants, got {name!r}; worlds that have: {', '.join(VARIANTS)}{hint}")
    return env_id, copy.deepcopy(variants[check_choice(f"variant of {env_id}", variant, variants)])


def variant_names(env_id: str) -> list[str]:
    """Return the full names of the variants of a registered world."""
    return [f"{env_id}{SEPARATOR}{variant}" for variant in VARIANTS.get(env_id, {})]
