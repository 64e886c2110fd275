"""Small worlds and batches written by hand, for the terms of the loss."""

import numpy as np
import torch

from agents import PePG, make_vec_env
from agents.pepg.batches import PePGBatch

#: State ``s < 12`` is period ``s // 3`` of the season with ``s % 3 + 1`` units left, state 12 is the end.
SEASON = {"horizon": 4, "inventory": 3, "n_prices": 4}
N_STATES, N_ACTIONS = 13, 4


def season(n_envs=4, seed=0, **kwargs):
    return make_vec_env("PerformativePricing-v0", n_envs, seed, {**SEASON, **kwargs})


def table_model(venv=None, **arguments):
    """Return PePG with a table of random logits and values; logits ``[S, A]`` and values ``[S]``, float64."""
    model = PePG("SoftmaxPolicy", venv or season(), device="cpu", seed=0, **arguments)
    rng = torch.Generator().manual_seed(4)
    with torch.no_grad():
        model.policy.action_net.weight.normal_(generator=rng)
        model.policy.value_net.weight.normal_(generator=rng)
    logits, values = model.policy.action_net.weight, model.policy.value_net.weight
    return model, logits.detach().T.double(), values.detach()[0].double()


def some_batch(seed=0, size=60):
    """Return visits with weights, advantages and old probabilities that are nobody's."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 3.0, size)
    states = torch.from_numpy(rng.integers(N_STATES - 1, size=size))
    return PePGBatch(
        observations=states,
        actions=torch.from_numpy(rng.integers(N_ACTIONS, size=size)),
        advantages=torch.from_numpy(rng.normal(1.0, 2.0, size)).float(),
        returns=torch.from_numpy(rng.normal(1.0, 2.0, size)).float(),
        old_log_prob=torch.from_numpy(rng.uniform(-3.0, -0.5, size)).float(),
        weights=torch.from_numpy(weights / weights.mean()).float(),
        states=states,
    )
