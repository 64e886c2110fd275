"""Bounds over intervals of willingness against what the season is inside them."""

import numpy as np
import pytest
import torch

from perf_envs.worlds.pricing.first_root import Segments
from perf_envs.worlds.pricing.revision import RevisionBounds
from perf_envs.worlds.pricing.season import Season
from tests.perf_envs.worlds import make_world

INSIDE = np.linspace(0.0, 1.0, 201)


def market(seed):
    """Return bounds of a random policy in a random market, and the way they are for."""
    rng = np.random.default_rng(seed)
    env = make_world(
        "PerformativePricing-v0",
        horizon=int(rng.integers(1, 15)),
        inventory=int(rng.integers(1, 6)),
        shift=float(rng.choice([0.5, 3.0, 20.0])),
        temperature=float(rng.choice([0.02, 0.2, 1.0])),
        base_willingness=float(rng.uniform(-2.0, 6.0)),
    )
    response = env.problem.response_map
    pi = torch.from_numpy(rng.dirichlet(np.full(env.n_actions, 0.1), size=env.n_states))
    limit = response.base_willingness + rng.choice([-1.0, 1.0]) * rng.uniform(0.1, 20.0)
    return RevisionBounds(Season(response, pi), limit), response.base_willingness, limit, rng


@pytest.mark.parametrize("seed", range(40))
def test_bounds_hold_inside_their_segments(seed):
    bounds, start, limit, rng = market(seed)
    ends = start + (limit - start) * np.sort(rng.uniform(size=(2, 1)), axis=0)
    for shrink in (1.0, 0.1, 1e-3):
        near, far = ends[0], ends[0] + shrink * (ends[1] - ends[0])
        segment = Segments(bounds.points(near), bounds.points(far))
        inside = near + INSIDE * (far - near)
        values = bounds.points(inside).value
        assert values.max() <= bounds.largest(segment) + bounds.tolerance
        least, most = bounds.slopes(segment)
        slopes = np.diff(values) / np.abs(np.diff(inside))
        rounding = 2.0 * bounds.tolerance / np.abs(np.diff(inside)).min()
        assert slopes.min() >= least - rounding
        assert slopes.max() <= most + rounding


@pytest.mark.parametrize("seed", range(10))
def test_bounds_close_in_as_segments_shrink(seed):
    bounds, start, limit, _ = market(seed)
    near, widths = np.full(4, start + 0.4 * (limit - start)), 10.0 ** -np.arange(3, 7)
    segments = Segments(bounds.points(near), bounds.points(near + np.sign(limit - start) * widths))
    least, most = bounds.slopes(segments)
    above = bounds.largest(segments) - np.maximum(segments.near.value, segments.far.value)
    # To first order: a tenth for a tenth of the width. With slopes that close in, values do to second order.
    for bound in (most - least, above):
        assert (bound[1:] <= 0.15 * bound[:-1] + 10.0 * bounds.tolerance).all()
