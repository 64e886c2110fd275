import numpy as np
import pytest

from perf_envs.worlds.gridworld.blocks import BlockFactors


def random_chains(seed, n_states=30, n_moves=4, n_blocks=5):
    rng = np.random.default_rng(seed)
    successors = rng.integers(n_states, size=(n_states, n_moves))
    chains = 0.9 * rng.dirichlet(np.ones(n_moves), size=(n_states, n_blocks)).transpose(2, 0, 1)
    chains[:, rng.integers(n_states, size=3)] = 0.0  # ends
    return successors, chains


def dense(successors, chain):
    """Return ``I - C`` of one block, summed up entry by entry: repeated successors add up."""
    matrix = np.eye(len(successors))
    for move, state in np.ndindex(chain.shape):
        matrix[state, successors[state, move]] -= chain[move, state]
    return matrix


@pytest.mark.parametrize("transpose", ["N", "T"])
def test_the_blocks_are_solved_as_dense_systems_are(transpose):
    successors, chains = random_chains(0)
    factors = BlockFactors(successors, 5).update(chains, np.ones(5, dtype=bool))
    right = np.random.default_rng(1).standard_normal((5, 30))
    solution = factors.solve(right.ravel(), transpose).reshape(5, 30)
    for block in range(5):
        matrix = dense(successors, chains[:, :, block])
        wanted = np.linalg.solve(matrix.T if transpose == "T" else matrix, right[block])
        np.testing.assert_allclose(solution[block], wanted, rtol=1e-11, atol=1e-12)


def test_only_what_has_changed_is_factorised_anew():
    successors, chains = random_chains(0)
    _, others = random_chains(1)
    changed = np.array([False, True, False, False, True])
    factors = BlockFactors(successors, 5).update(chains, np.ones(5, dtype=bool))
    kept = [block for block, moved in zip(factors._blocks, changed, strict=True) if not moved]
    factors.update(others[:, :, changed], changed)
    assert [block for block, moved in zip(factors._blocks, changed, strict=True) if not moved] == kept
    mixed = np.where(changed, others, chains)
    right = np.ones((5, 30))
    fresh = BlockFactors(successors, 5).update(mixed, np.ones(5, dtype=bool))
    np.testing.assert_array_equal(factors.solve(right.ravel()), fresh.solve(right.ravel()))
