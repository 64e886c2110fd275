"""Intervals of 95 %: how often they hold the true figure, counted in repeated experiments."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from train.report.intervals import deviation_interval, interval, mean_of_shares
from train.report.resampling import RESAMPLES, draws
from train.report.statistics import (
    Estimate,
    aggregate,
    average_improvement,
    estimate_curve,
    estimate_iqm,
    estimate_spread,
    performance_profile,
    probability_of_improvement,
)

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "long tail below": lambda rng, shape: -rng.lognormal(0.0, 1.5, size=shape),
    "heavy tails": lambda rng, shape: rng.standard_t(2, size=shape),
    "whole numbers": lambda rng, shape: rng.poisson(2.0, size=shape).astype(np.float64),
    "three values": lambda rng, shape: rng.integers(3, size=shape).astype(np.float64),
    "ceiling": lambda rng, shape: np.minimum(rng.normal(size=shape), 0.3),
    "one in five fails": lambda rng, shape: rng.normal(0.0, 0.05, size=shape) - (rng.random(shape) < 0.2),
}
N_EXPERIMENTS = 1200


def population_iqm(name: str) -> float:
    """Return the mean of the middle half of a distribution, from a million draws."""
    drawn = np.sort(DISTRIBUTIONS[name](np.random.default_rng(99), (1_000_000,)))
    return float(drawn[250_000:750_000].mean())


def coverage(name: str, n: int) -> float:
    """Return how often the interval of ``n`` runs holds the true figure; a point of a curve is an experiment."""
    true = population_iqm(name)
    scores = DISTRIBUTIONS[name](np.random.default_rng((n, 7)), (n, N_EXPERIMENTS))
    held = 0
    for part in np.array_split(scores, 12, axis=1):
        _, low, high = estimate_curve(part)
        held += int(((low <= true + 1e-12) & (true <= high + 1e-12)).sum())
    return held / N_EXPERIMENTS


def at_least(share: float, n: int = N_EXPERIMENTS) -> float:
    """Return what a share that truly is as large falls below once in 100 000 times."""
    return float(stats.binom.ppf(1e-5, n, share)) / n


@pytest.mark.parametrize(
    ("name", "n", "promised"),
    [
        (name, n, promised)
        for name in DISTRIBUTIONS
        for n, promised in ((3, 0.88), (5, 0.92), (10, 0.93), (20, 0.93))
        if (name, n) != ("one in five fails", 3)  # half of the time none of three runs fails
    ],
)
def test_the_interval_of_the_interquartile_mean_holds_it(name: str, n: int, promised: float) -> None:
    assert coverage(name, n) >= at_least(promised)


def test_it_is_not_wider_than_it_need_be() -> None:
    for n in (5, 10, 20):
        assert coverage("normal", n) <= 1.0 - at_least(0.02)
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(400,))
    estimate = estimate_iqm(normal)
    # The asymptotic error of the 25 % trimmed mean of normal draws is 1.0925 / sqrt(n): Huber, Robust Statistics.
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 1.0925 / 20.0, rel=0.2)


def test_of_three_runs_the_interval_is_the_textbook_s() -> None:
    values = np.array([1.0, 2.0, 6.0])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    found = estimate_iqm(values)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.03)


def test_the_interval_is_two_intervals_in_one() -> None:
    samples = np.linspace(0.0, 1.0, 2001) ** 8  # skewed: the percentiles reach farther up, Student's farther down
    low, high = interval(np.float64(0.1), samples, 10)
    half = stats.t.ppf(0.975, 9) * samples.std() * np.sqrt(10 / 9)
    assert low == pytest.approx(0.1 - half)
    assert high == pytest.approx(0.975**8, rel=1e-3)
    assert high > 0.1 + half
    low, high = interval(np.float64(0.9), 1.0 - samples, 10)
    assert (low, high) == (pytest.approx(1.0 - 0.975**8, rel=1e-3), pytest.approx(0.9 + half))


def test_a_single_run_has_no_interval() -> None:
    assert estimate_iqm([2.5]) == Estimate(2.5, 2.5, 2.5)
    assert [float(part[0]) for part in estimate_curve([[2.5]])] == [2.5, 2.5, 2.5]


def test_runs_that_are_equal_have_an_interval_without_width() -> None:
    found = estimate_iqm([2.5] * 6)
    assert (found.low, found.value, found.high) == pytest.approx((2.5, 2.5, 2.5))
    assert estimate_spread([2.5] * 6) == Estimate(0.0, 0.0, 0.0)


# -- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_equal_algorithms_are_told_apart_less_than_once_in_twenty(name: str) -> None:
    first, second = (
        estimate_curve(DISTRIBUTIONS[name](np.random.default_rng(seed), (5, N_EXPERIMENTS))) for seed in (1, 2)
    )
    apart = (first[1] > second[2]) | (second[1] > first[2])
    assert apart.mean() <= 1.0 - at_least(0.95)


def test_five_seeds_tell_algorithms_apart_that_are_far_apart() -> None:
    rng = np.random.default_rng(0)
    better, worse = (estimate_curve(rng.normal(level, 1.0, size=(5, N_EXPERIMENTS))) for level in (8.0, 0.0))
    assert (better[1] > worse[2]).mean() > 0.9


# -- shares ---------------------------------------------------------------------------------------------------------


def wins(mine: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.mean([(a > b) + 0.5 * (a == b) for a, b in itertools.product(mine, theirs)]))


@pytest.mark.parametrize("level", [0.0, 0.8, 1.6])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (10, 5), (10, 10)])
def test_the_interval_of_the_probability_of_improvement_holds_it(level: float, spread: float, n: int, m: int) -> None:
    rng, true = np.random.default_rng((n, m)), float(stats.norm.cdf(level / np.hypot(spread, 1.0)))
    found = [
        probability_of_improvement(rng.normal(level, spread, size=n), rng.normal(size=m)) for _ in range(N_EXPERIMENTS)
    ]
    assert np.mean([estimate.low <= true <= estimate.high for estimate in found]) >= at_least(0.9)


def test_the_average_over_worlds_holds_the_mean_probability() -> None:
    rng, levels = np.random.default_rng(0), (0.0, 0.5, 1.0, 2.0)
    true = float(np.mean([stats.norm.cdf(level / 2**0.5) for level in levels]))
    found = [
        average_improvement([rng.normal(level, 1.0, 5) for level in levels], [rng.normal(size=6) for _ in levels])
        for _ in range(N_EXPERIMENTS)
    ]
    assert np.mean([estimate.low <= true <= estimate.high for estimate in found]) >= at_least(0.94)
    alone = probability_of_improvement(rng.normal(size=5), rng.normal(size=6))
    assert np.mean([e.high - e.low for e in found]) < 0.75 * (alone.high - alone.low), "four worlds say more than one"


def test_the_probability_in_one_world_has_wilson_s_interval_of_the_smaller_side() -> None:
    mine, theirs = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.0, 2.0, 4.0, 4.5, 6.0, 7.0])
    found = probability_of_improvement(mine, theirs)
    p = wins(mine, theirs)
    assert found.value == pytest.approx(p)
    # Wilson's bounds are where the measured share is 1.96 standard errors of the true share away.
    for bound in (found.low, found.high):
        assert abs(p - bound) == pytest.approx(stats.norm.ppf(0.975) * (bound * (1 - bound) / 4) ** 0.5)
    assert probability_of_improvement(theirs, mine).low == pytest.approx(1.0 - found.high)
    assert probability_of_improvement([2.0] * 5, [1.0] * 9).low == pytest.approx(5 / (5 + stats.norm.ppf(0.975) ** 2))


def test_shares_of_several_worlds_are_put_together_by_their_squared_distances() -> None:
    shares = np.array([0.2, 1.0, 0.5])
    single = [mean_of_shares(shares[[i]], np.array([n])) for i, n in enumerate((4, 6, 9))]
    mean, low, high = mean_of_shares(shares, np.array([4, 6, 9]))
    assert mean == pytest.approx(1.7 / 3)
    assert mean - low == pytest.approx(sum((p - below) ** 2 for p, below, _ in single) ** 0.5 / 3)
    assert high - mean == pytest.approx(sum((h - p) ** 2 for p, _, h in single) ** 0.5 / 3)


def test_profiles_have_bounds_that_hold_the_true_share() -> None:
    rng, thresholds = np.random.default_rng(0), np.array([-1.0, 0.3, 1.0])
    true = np.mean([stats.norm.sf(thresholds), stats.norm.sf(thresholds, loc=0.5)], axis=0)
    held = np.zeros(3)
    for _ in range(N_EXPERIMENTS):
        share, low, high = performance_profile(rng.normal([0.0, 0.5], 1.0, size=(5, 2)), thresholds)
        held += (low <= true) & (true <= high)
        assert ((low >= 0.0) & (low <= share) & (share <= high) & (high <= 1.0)).all()
    assert (held / N_EXPERIMENTS >= at_least(0.93)).all()


# -- several worlds, spread -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "promised"), [("iqm", 0.93), ("median", 0.93), ("optimality_gap", 0.93)])
def test_the_intervals_over_worlds_hold_their_figures(name: str, promised: float) -> None:
    rng, n, levels = np.random.default_rng(0), 400, np.array([0.5, 0.6, 0.7])
    large = rng.normal(levels, 0.1, size=(1_000_000, 3))
    # Of 15 runs the three highest and lowest are left out, of the population a quarter; the medians are the middle's.
    true = {
        "iqm": float(np.mean([np.sort(large[i : i + 5].ravel())[3:12].mean() for i in range(0, 200_000, 5)])),
        "median": 0.6,
        "optimality_gap": float(1.0 - np.minimum(large, 1.0).mean()),
    }[name]
    found = [getattr(aggregate(rng.normal(levels, 0.1, size=(5, 3))), name) for _ in range(n)]
    assert np.mean([estimate.low <= true <= estimate.high for estimate in found]) >= at_least(promised, n)


def test_the_interval_of_the_median_lies_around_the_world_in_the_middle() -> None:
    found = aggregate(np.random.default_rng(0).normal([0.1, 0.5, 0.55], 1e-3, size=(6, 3))).median
    assert 0.49 < found.low <= found.value <= found.high < 0.51


def test_runs_of_every_world_are_resampled_on_their_own() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(40, 1))
    opposite = np.concatenate([one, 1.0 - one], axis=1)  # their sum never changes, if they are resampled as pairs
    alone, both = (aggregate(scores).median for scores in (one, opposite))
    ratio = (both.high - both.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(0.5**0.5, rel=0.1)


@pytest.mark.parametrize(("name", "promised"), [("normal", 0.93), ("exponential", 0.86), ("lognormal", 0.7)])
@pytest.mark.parametrize("n", [5, 10])
def test_the_interval_of_the_spread_holds_it(name: str, n: int, promised: float) -> None:
    rng = np.random.default_rng(n)
    true = {"normal": 1.0, "exponential": 1.0, "lognormal": ((np.e - 1) * np.e) ** 0.5}[name]
    found = [deviation_interval(DISTRIBUTIONS[name](rng, (n,))) for _ in range(N_EXPERIMENTS)]
    assert np.mean([low <= true <= high for low, high in found]) >= at_least(promised)
    assert np.mean([high < 0.9 * true or low > 1.1 * true for low, high in found]) < 0.3


def test_the_interval_of_the_spread_is_bonett_s() -> None:
    # Written out for n = 8 from the paper: centre trimmed by 1 / (2 sqrt(n - 4)) = 1/4 at either end.
    x = np.array([1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 7.0, 9.0])
    z, n = stats.norm.ppf(0.975), 8
    centre = (2.5 + 3.0 + 3.5 + 4.0) / 4
    kurtosis = n * sum((v - centre) ** 4 for v in x) / sum((v - x.mean()) ** 2 for v in x) ** 2
    c = n / (n - z)
    error = c * ((kurtosis - (n - 3) / n) / (n - 1)) ** 0.5
    variance = x.var(ddof=1)
    expected = [np.exp(0.5 * (np.log(c * variance) + sign * z * error)) for sign in (-1, 1)]
    assert deviation_interval(x) == pytest.approx(tuple(expected))


# -- resampling -----------------------------------------------------------------------------------------------------


def test_resamples_are_of_all_runs_alike_and_streams_are_independent() -> None:
    drawn = draws(6)
    assert drawn.shape == (RESAMPLES, 6)
    counts = np.bincount(drawn.ravel(), minlength=6)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-4
    other = draws(6, 1)
    table = np.zeros((6, 6))
    np.add.at(table, (drawn.ravel(), other.ravel()), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-4
    assert not drawn.flags.writeable
