"""What is deployed: one object per policy, and the space of the policies that a world can be handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Policy(ABC):
    """A policy as a world is handed it: checked, and not to be changed.

    Called with the index of an observation, or with an array of indices, it says what is done there.
    """

    @property
    @abstractmethod
    def array(self) -> Floats:
        """The policy as one array, in the form in which it is saved; not to be written to."""

    @abstractmethod
    def __call__(self, where: Any) -> Any:
        """Return what is done at observations, given by their index or by an array of indices."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return :attr:`array` for numpy."""
        return np.array(self.array, dtype=dtype) if copy else np.asarray(self.array, dtype=dtype)


P = TypeVar("P", bound=Policy)


class PolicySpace(ABC, Generic[P]):
    """The policies of a world.

    Attributes:
        observations: where a policy is asked, ``[Q, ...]``: what an agent sees in each state.
    """

    observations: Any

    @abstractmethod
    def read(self, policy: Any, observations: Any = None, deterministic: bool = False) -> P:
        """Return a policy in any form that users have it in, checked.

        Args:
            policy: one of this space, which comes back as it is; or whatever else can be asked what it does.
            observations: where it is asked, if an agent sees something else than :attr:`observations`.
            deterministic: ask models for their deterministic action instead of their distribution.

        Raises:
            ValueError: it is no policy of this space.
        """

    @abstractmethod
    def from_array(self, array: Any) -> P:
        """Return the policy that was saved as ``array``.

        Raises:
            ValueError: the array is no policy of this space.
        """

    @abstractmethod
    def uniform(self) -> P:
        """Return the policy that does everything alike: it is worth as much as uniformly random actions."""

    @abstractmethod
    def initial(self) -> P:
        """Return a policy such as training begins with."""

    @abstractmethod
    def sample(self, policy: P, where: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
        """Draw an action at each of the observations with indices ``where [n]``; return ``[n, ...]``."""

    @abstractmethod
    def with_random_actions(self, policy: P, share: float) -> P:
        """Return a policy of which a share, in [0, 1], of the actions is uniformly random.

        Raises:
            ValueError: ``share`` is out of range.
        """
