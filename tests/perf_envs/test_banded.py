import numpy as np
import pytest

from perf_envs.worlds.gridworld.banded import BandedFactors


def columns_of(matrix, width):
    columns = np.zeros((len(matrix), 3 * width + 1))
    for i, j in np.argwhere(matrix):
        columns[j, 2 * width + i - j] = matrix[i, j]
    return columns


@pytest.mark.parametrize(("size", "width"), [(1, 0), (5, 0), (6, 1), (20, 4), (9, 8)])
def test_the_solution_is_that_of_a_dense_solver(size, width):
    rng = np.random.default_rng(size)
    i, j = np.indices((size, size))
    matrix = np.where(abs(i - j) <= width, rng.standard_normal((size, size)), 0.0)
    right = rng.standard_normal(size)
    factors = BandedFactors(columns_of(matrix, width), width)
    np.testing.assert_allclose(factors.solve(right), np.linalg.solve(matrix, right), rtol=1e-9)
    np.testing.assert_allclose(factors.solve(right, "T"), np.linalg.solve(matrix.T, right), rtol=1e-9)


def test_a_singular_matrix_is_refused():
    with pytest.raises(ValueError, match="must not be singular, but pivot 2 is 0"):
        BandedFactors(columns_of(np.diag([1.0, 0.0, 1.0]), 1), 1)
