"""``ValueError``s that are also what Stable-Baselines3 or Gymnasium raise: an ``except`` for either catches them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gymnasium.error import NameNotFound
from stable_baselines3.common.vec_env import VecEnv

from perf_envs.validation import check_count


class RefusedAssertionError(ValueError, AssertionError):
    """What Stable-Baselines3 asserts about an argument or a space does not hold."""


class RefusedImplementationError(ValueError, NotImplementedError):
    """Stable-Baselines3 has no implementation for an argument or a space."""


class RefusedArgumentsError(ValueError, TypeError):
    """Arguments that an environment does not take."""


class UnknownEnvironmentError(ValueError, NameNotFound):
    """An id under which no environment is registered."""


class UnknownModuleError(ValueError, ModuleNotFoundError):
    """The module of an id such as ``"module:Env-v0"`` does not exist."""


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn the ways in which Stable-Baselines3 refuses arguments and spaces into ``ValueError``s of the same kind.

    Args:
        what: the call in question, as the start of a sentence: ``"PPO cannot be built like this"``.
    """
    try:
        yield
    except ValueError:  # one of ours already, or in Stable-Baselines3's own words
        raise
    except AssertionError as error:
        raise RefusedAssertionError(f"{what}: {error}") from error
    except NotImplementedError as error:
        raise RefusedImplementationError(f"{what}: {error}") from error


def check_batch_size(batch_size: int | None) -> int | None:
    """Return ``batch_size`` if it is ``None`` or a whole number > 1, else raise ``ValueError`` (as an assertion)."""
    if batch_size is None:
        return None
    try:
        return check_count("batch_size", batch_size, at_least=2)
    except ValueError as error:
        raise RefusedAssertionError(str(error)) from None


def check_rollout(n_steps: int, env: VecEnv | None) -> None:
    """Raise ``ValueError`` (as an assertion) if a rollout in ``env`` has one step only: no deviation of advantages."""
    n_envs = 2 if env is None else env.num_envs
    if n_steps * n_envs <= 1:
        raise RefusedAssertionError(
            f"n_steps * n_envs must be greater than 1, got n_steps={n_steps} and n_envs={n_envs}"
        )
