"""The weights of visits: ``gamma^t``, with the time known from the state, since a period is a step."""

import numpy as np
import pytest

from agents import PePG, PePGPolicy, SoftmaxPolicy, make_vec_env
from perf_envs.wrappers import VectorStateObservation

from .worlds import N_STATES, SEASON, season


class Records:
    """Keeps what every gradient step was computed from."""

    def pepg_loss(self, batch, *args, **kwargs):
        self.batches = [*getattr(self, "batches", []), batch]
        return super().pepg_loss(batch, *args, **kwargs)


class RecordingTable(Records, SoftmaxPolicy):
    pass


class RecordingFeatures(Records, PePGPolicy):
    pass


def periods(batch):
    return batch.states.numpy() // 3


@pytest.mark.parametrize("n_steps", [2, 3, 7])
def test_visits_weigh_by_the_time_in_their_episode_in_every_round(n_steps):
    """Rounds end in the middle of seasons, and the next one goes on where it left."""
    model = PePG(RecordingTable, season(8), n_steps=n_steps, gamma=0.7, discount_visits=True, seed=0, device="cpu")
    model.learn(8 * n_steps * 5)
    assert len(model.policy.batches) == 5
    for batch in model.policy.batches:
        expected = 0.7 ** periods(batch)
        np.testing.assert_allclose(batch.weights, expected / expected.mean(), rtol=1e-5)
    assert max(periods(batch)[::n_steps].max() for batch in model.policy.batches) > 0  # it did go on


def test_the_weights_of_a_round_average_to_one_over_all_its_mini_batches():
    arguments = {"n_steps": 6, "n_epochs": 2, "batch_size": 16, "discount_visits": True, "gamma": 0.7}
    model = PePG(RecordingTable, season(8), seed=0, device="cpu", **arguments).learn(48)
    passes = model.policy.batches[:3], model.policy.batches[3:]
    for batches in passes:
        times, weights = (np.concatenate(part) for part in ([*map(periods, batches)], [b.weights for b in batches]))
        assert len(times) == 48
        np.testing.assert_allclose(weights, 0.7**times / (0.7**times).mean(), rtol=1e-5)
    visits = [np.concatenate([batch.states for batch in batches]) for batches in passes]
    np.testing.assert_array_equal(*map(np.sort, visits))  # every visit once per pass
    assert not np.array_equal(*visits)  # in an order of its own


def test_without_discounting_all_visits_weigh_the_same():
    model = PePG(RecordingTable, season(8), n_steps=6, gamma=0.7, seed=0, device="cpu").learn(96)
    for batch in model.policy.batches:
        np.testing.assert_array_equal(batch.weights, 1.0)


def test_states_that_are_not_shown_are_those_in_which_the_actions_were_taken():
    """The features of a state are its index, in another form: what is recorded must agree with what was seen."""
    shown = np.arange(N_STATES, dtype=np.float32)[:, None]
    venv = make_vec_env(
        "PerformativePricing-v0",
        4,
        0,
        SEASON,
        vector_wrapper=lambda env: VectorStateObservation(env, shown),
    )
    model = PePG(RecordingFeatures, venv, n_steps=5, n_epochs=2, batch_size=7, seed=0, device="cpu").learn(60)
    assert len(model.policy.batches) == 3 * 2 * 3
    for batch in model.policy.batches:
        np.testing.assert_array_equal(batch.observations.flatten(), batch.states)
