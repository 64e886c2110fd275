"""Whether the actions that were played come from the policies that were deployed.

Where actions come from ``pi``, the sum over the steps played of

    f(s, a) - sum_b pi(b|s) f(s, b)

is a martingale, whatever the states are. With ``V = (sum of its squared steps + 2 sum of their variances) / 3``, its
square divided by ``2 V`` is the evidence that they do not: ``exp(-evidence)`` bounds, up to a small factor, the
probability that the sum gets so far from 0 (Delyon, "Exponential inequalities for sums of weakly dependent variables",
Electronic Journal of Probability 2009). It holds for rare actions and for few steps, where a chi-square test does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Evidence, in nats, from which actions are not what was deployed: by chance once in hundreds of millions of trainings.
MISFIT = 20.0


class Fit:
    """Sums of differences between actions played and policies deployed, for several ``f`` at once.

    Args:
        n_functions: number of functions ``f``.

    Attributes:
        n_steps: steps that were compared.
        played: sum of ``f`` over the steps played, ``[n_functions]``.
        expected: the same, as the policies deployed would have it on average.
    """

    def __init__(self, n_functions: int) -> None:
        self.n_steps = 0
        self.played: Floats = np.zeros(n_functions)
        self.expected: Floats = np.zeros(n_functions)
        self._squares: Floats = np.zeros(n_functions)
        self._variances: Floats = np.zeros(n_functions)

    def add(self, n_steps: int, played: Floats, expected: Floats, squares: Floats, variances: Floats) -> None:
        """Add the steps of a round: the sums of ``f``, of what it should be, of squared differences, of variances."""
        self.n_steps += n_steps
        self.played += played
        self.expected += expected
        self._squares += squares
        self._variances += variances

    @property
    def evidence(self) -> Floats:
        """Evidence that the actions are not those of the policies, in nats, ``[n_functions]``."""
        scale = 2.0 * (self._squares + 2.0 * self._variances) / 3.0
        gap = np.square(self.played - self.expected)
        # Differences that are rounding errors of many steps are no evidence, however small the variance.
        scale = np.maximum(scale, 1e-12 * max(1, self.n_steps))
        evidence: Floats = gap / scale
        return evidence

    def worst(self) -> int | None:
        """Return the index of the function with most evidence, ``None`` if there is not enough for any."""
        evidence = self.evidence
        index = int(evidence.argmax())
        return index if evidence[index] > MISFIT else None


def add_counts(fit: Fit, counts: Floats, pi: Floats) -> None:
    """Add a round of a tabular world to a fit of ``A + 1`` functions.

    These are the indicator of each action, and ``pi(a|s)``: the probability that the policy gave to what was played,
    which is too small where actions or states are exchanged.

    Args:
        fit: the fit.
        counts: how often each action was played in each state, ``[S, A]``.
        pi: the policy deployed, ``[S, A]``.
    """
    visits = counts.sum(-1, keepdims=True)
    rest = 1.0 - pi
    mean = np.square(pi).sum(-1, keepdims=True)
    surplus = pi - mean
    fit.add(
        int(visits.sum()),
        np.append(counts.sum(0), (counts * pi).sum()),
        np.append((visits * pi).sum(0), (visits * mean).sum()),
        np.append(
            (counts * np.square(rest) + (visits - counts) * np.square(pi)).sum(0), (counts * np.square(surplus)).sum()
        ),
        np.append((visits * pi * rest).sum(0), (visits * pi * np.square(surplus)).sum()),
    )


def add_actions(fit: Fit, actions: Floats, means: Floats, variances: Floats) -> None:
    """Add steps of a world with continuous actions to a fit of ``d`` functions, the actions themselves.

    Args:
        fit: the fit.
        actions: those played, ``[n, d]``.
        means: their means under the policy deployed, ``[n, d]``.
        variances: their variances, ``[n, d]``.
    """
    fit.add(len(actions), actions.sum(0), means.sum(0), np.square(actions - means).sum(0), variances.sum(0))
