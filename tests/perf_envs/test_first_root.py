"""Branch and bound against functions whose roots are known."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from perf_envs.worlds.pricing.first_root import Points, first_root


class BoundedPolynomial:
    """A polynomial whose slope is bounded by that in the middle of a segment and the largest curvature in between."""

    tolerance = 1e-13

    def __init__(self, polynomial):
        self.polynomial, self.slope, self.n_points = polynomial, polynomial.deriv(), 0
        self.curvature = Polynomial(np.abs(polynomial.deriv(2).coef))

    def points(self, at):
        self.n_points += len(at)
        return Points(at, self.polynomial(at), at)

    def largest(self, segments):
        return np.full(len(segments), np.inf)

    def slopes(self, segments):
        near, far = segments.near.at, segments.far.at
        spread = 0.5 * np.abs(far - near) * self.curvature(np.maximum(np.abs(near), np.abs(far)))
        middle = self.slope(0.5 * (near + far)) * np.sign(far - near)
        return middle - spread, middle + spread


def bracket_of(roots, end=1.0, n_steps=4, constant=-1.0):
    """Return where the search from 0 finds a root of the polynomial that is ``constant`` at 0 and has these roots."""
    polynomial = Polynomial.fromroots(roots) if roots else Polynomial([1.0])
    function = BoundedPolynomial(constant / polynomial(0.0) * polynomial)
    return first_root(function, function.points(np.linspace(0.0, end, n_steps + 1))), function


@pytest.mark.parametrize(
    "roots",
    [
        [0.3],
        [0.9999],
        [0.4, 0.41, 0.9],
        [0.6, 0.6 + 1e-4, 0.99],
        [0.31, 0.32, 0.33, 0.34, 0.35],
        [0.2, 3.0],
        [0.01, -0.5],
    ],
)
def test_the_first_root_is_bracketed_however_close_the_next_one_is(roots):
    bracket, _ = bracket_of(roots)
    first = min(root for root in roots if root > 0.0)
    assert bracket.near <= first <= bracket.far
    assert sum(bracket.near <= root <= bracket.far for root in roots) == 1


def test_the_way_may_go_down():
    bracket, _ = bracket_of([-0.2, -0.20001, 0.1], end=-1.0)
    assert bracket.far <= -0.2 <= bracket.near
    assert bracket.far > -0.20001


@pytest.mark.parametrize("roots", [[], [-0.1], [1.1, 1.2], [0.5 + 1e-4j, 0.5 - 1e-4j], [0.3 + 0.01j, 0.3 - 0.01j, 1.5]])
def test_where_there_is_no_root_none_is_found(roots):
    polynomial = Polynomial(np.real(Polynomial.fromroots(roots).coef)) if roots else Polynomial([1.0])
    function = BoundedPolynomial(polynomial / -polynomial(0.0))
    assert first_root(function, function.points(np.linspace(0.0, 1.0, 5))) is None


@pytest.mark.parametrize("n_steps", [1, 3, 128])
@pytest.mark.parametrize("root", [0.123, 0.5, 0.987])
def test_a_maximum_that_touches_zero_is_a_root(root, n_steps):
    bracket, function = bracket_of([root, root], n_steps=n_steps)
    # Values within 1e-13 of zero lie within 1e-6 of the root and less; the end of the bracket is one of them.
    assert bracket.far == pytest.approx(root, abs=1e-6)
    assert bracket.near == bracket.far or function.points(np.array([bracket.far])).value >= 0.0
    assert function.n_points < 10_000


def test_what_lies_behind_the_first_root_costs_nothing():
    wild = [0.1, *(0.5 + 1e-5 * np.arange(1, 8))]
    _, function = bracket_of(wild, n_steps=8)
    _, alone = bracket_of([0.1], n_steps=8)
    assert function.n_points <= 10 * alone.n_points
