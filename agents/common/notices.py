"""What goes wrong in silence around deployments, noticed and said once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback, EventCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv


class FitCheck:
    """Asks the worlds after a round whether the actions played are those of the policy deployed; warns once.

    Attributes:
        is_due: whether a policy was deployed since the last look.
    """

    def __init__(self) -> None:
        self.is_due = False
        self._told = False

    def look(self, venv: VecEnv) -> None:
        """Compare what was played since the last deployment; from here on another policy may act.

        Warns:
            UserWarning: the actions are not those of the policies deployed.
        """
        if self._told or not self.is_due or not venv.has_attr("misfit"):
            return
        self.is_due = False
        found = next((misfit for misfit in venv.env_method("misfit", True) if misfit is not None), None)
        if found is not None:
            self._told = True
            warnings.warn(
                f"the actions played are not those of the policies deployed: {found}. The world answers a policy that "
                "nobody plays. Deploy what acts (exploration, masks and wrappers included), or let the world observe "
                "it with deployment='observed'",
                stacklevel=3,
            )


def notice_evaluation(callback: Any) -> None:
    """Warn if one of the callbacks of a training evaluates in a world that nobody deploys to.

    Warns:
        UserWarning: Stable-Baselines3's ``EvalCallback`` has a performative world.
    """
    for one in _all_of(callback):
        deploys = getattr(one, "deploys_before_evaluation", False)
        if isinstance(one, EvalCallback) and not deploys and one.eval_env.has_attr("set_deployment"):
            warnings.warn(
                f"{type(one).__name__} evaluates in a world of its own that is never deployed to, so what it reports, "
                "and the best model it keeps, belong to the unshifted world: use agents.EvalCallback, which deploys "
                "before it evaluates",
                stacklevel=3,
            )
            return


def notice_replay(model: OffPolicyAlgorithm, round_steps: int) -> None:
    """Warn if a replay buffer holds transitions of many rounds, in which the world was another one.

    Warns:
        UserWarning: it holds more than ten.
    """
    if model.buffer_size > 10 * round_steps:
        warnings.warn(
            f"buffer_size={model.buffer_size} keeps transitions of {model.buffer_size // round_steps} rounds of "
            f"{round_steps} steps, and learns from worlds that are gone: choose a buffer_size of a few rounds, or "
            "longer rounds (DeployCallback(every_steps=...))",
            stacklevel=3,
        )


def _all_of(callback: Any) -> Iterator[BaseCallback]:
    """Yield a callback and those inside of it."""
    if isinstance(callback, CallbackList):
        for one in callback.callbacks:
            yield from _all_of(one)
    elif isinstance(callback, BaseCallback):
        yield callback
        if isinstance(callback, EventCallback) and callback.callback is not None:
            yield from _all_of(callback.callback)
