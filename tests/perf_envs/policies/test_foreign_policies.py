"""Policies of other libraries: each is deployed as what it does, or refused in words that say what a policy may be."""

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import perf_envs  # noqa: F401 registers the worlds

WORLDS = {
    "PerformativePricing-v0": r"policy must be an array \[states, actions\], a callable .* probabilities, or a model",
    "LinearPricing-v0": r"policy must be \(mean, std\), a callable observation -> action, or a model",
}


def make_world(world_id):
    return gym.make(world_id, deployment="declared").unwrapped


class Raises:
    """A policy that fails in a way of its own."""

    def __init__(self, error):
        self.error = error

    def __call__(self, observation):
        raise self.error


class NeedsMore:
    """Has a ``predict`` that cannot be called with observations."""

    def predict(self):
        return 0


class Embeds(nn.Module):
    """A network that wants tensors."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Embedding(100, 8)

    def forward(self, state):
        return self.layer(state)


class TakesBatches(nn.Module):
    """A network whose ``forward`` takes a batch with ``obs`` and returns a batch, as in Tianshou."""

    def forward(self, batch, state=None):
        return {"logits": batch.obs, "state": state}


class HalfAPolicy:
    """Has ``get_distribution``, and nothing else that Stable-Baselines3's policies have."""

    def get_distribution(self, observations):
        return torch.distributions.Categorical(logits=torch.zeros(len(observations), 8))


ERRORS = [TypeError("a"), AttributeError("b"), ValueError("c"), RuntimeError("d"), KeyError(4), ZeroDivisionError()]
CANNOT_BE_ASKED = {
    "no argument": lambda: lambda: [1 / 8] * 8,
    "two arguments": lambda: lambda state, action: 1 / 8,
    **{f"raises {type(error).__name__}": lambda error=error: Raises(error) for error in ERRORS},
    "predict without arguments": NeedsMore,
    "network of tensors": Embeds,
    "network of batches": TakesBatches,
    "class of models": lambda: Greedy,
}


@pytest.mark.parametrize("world_id", WORLDS)
@pytest.mark.parametrize("make", CANNOT_BE_ASKED.values(), ids=CANNOT_BE_ASKED)
def test_a_policy_that_cannot_be_asked_is_refused_in_words_and_nothing_changes(make, world_id):
    world = make_world(world_id)
    with pytest.raises(ValueError, match=WORLDS[world_id] + ".*could not be asked at") as refusal:
        world.deploy(make())
    assert refusal.value.__cause__ is not None  # the error itself, with its traceback
    assert world.round == 0


def test_half_a_policy_is_refused_in_words():
    for world_id, words in {**WORLDS, "LinearPricing-v0": "policy as prices must have shape"}.items():
        with pytest.raises(ValueError, match=words):
            make_world(world_id).deploy(HalfAPolicy())


def logits():
    torch.manual_seed(0)
    return lambda state: nn.Linear(1, 8)(torch.tensor([float(state)]))


NO_PROBABILITIES = {
    "an action": lambda: lambda state: 3,
    "words": lambda: lambda state: "left",
    "a dictionary": lambda: lambda state: {"probs": [1 / 8] * 8},
    "nothing": lambda: lambda state: None,
    "another length": lambda: lambda state: [0.5, 0.5],
    "a batch of one": lambda: lambda state: [[1 / 8] * 8],
    "a distribution": lambda: lambda state: torch.distributions.Categorical(logits=torch.zeros(8)),
}


@pytest.mark.parametrize("make", NO_PROBABILITIES.values(), ids=NO_PROBABILITIES)
def test_a_function_that_returns_no_probabilities_is_refused_in_words(make):
    world = make_world("PerformativePricing-v0")
    with pytest.raises(ValueError, match=r"answers observation .* instead of 8 probabilities"):
        world.deploy(make())
    assert world.round == 0


def test_logits_are_no_probabilities():
    with pytest.raises(ValueError, match=r"policy at state 0 must (be non-negative|sum to 1)"):
        make_world("PerformativePricing-v0").deploy(logits())


def deployed(policy):
    world = make_world("PerformativePricing-v0")
    world.deploy(policy)
    return world.rounds.policy.probs


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_tables_of_other_libraries_are_tables():
    table = np.random.default_rng(0).dirichlet(np.ones(8), size=81)
    frame = pd.DataFrame(table, columns=[f"price {price}" for price in range(8)])
    for form in (np.asmatrix(table), frame, np.asfortranarray(table), table[::-1][::-1]):
        np.testing.assert_array_equal(deployed(form), table)


class Greedy:
    """``predict`` as in scikit-learn and d3rlpy: observations alone, actions alone."""

    def __init__(self, wrap=np.asarray):
        self.wrap = wrap

    def predict(self, x):
        return self.wrap(np.asarray(x) % 8)


class Recurrent(Greedy):
    """Returns a memory as well."""

    def predict(self, observation, state=None, deterministic=False):
        return super().predict(observation), (np.zeros(3),)


@pytest.mark.parametrize("wrap", [np.asarray, list, torch.tensor], ids=["array", "list", "tensor"])
def test_a_predict_that_knows_no_deterministic_is_asked_without(wrap):
    np.testing.assert_array_equal(deployed(Greedy(wrap)), np.eye(8)[np.arange(81) % 8])


def test_a_predict_of_other_libraries_can_have_a_memory_and_is_refused_then():
    with pytest.raises(ValueError, match="depend on the observation alone"):
        deployed(Recurrent())


def test_a_type_error_inside_of_predict_is_not_taken_for_another_signature():
    calls = []

    class Broken:
        def predict(self, observation, deterministic=False):
            calls.append(observation)
            raise TypeError("'NoneType' object is not callable")

    with pytest.raises(ValueError, match=r"could not be asked .* 'NoneType' object is not callable"):
        deployed(Broken())
    assert len(calls) == 1


def test_a_predict_without_deterministic_posts_continuous_prices_too():
    class Posts:
        def predict(self, x):
            return np.full((len(x), world.problem.n_products), 0.25)

    world = make_world("LinearPricing-v0")
    world.deploy(Posts())
    low, high = (np.asarray(bound) for bound in (world.problem.price_low, world.problem.price_high))
    np.testing.assert_allclose(world.rounds.mean_price, low + (0.25 + 1) / 2 * (high - low))
