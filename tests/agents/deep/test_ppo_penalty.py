import numpy as np
import pytest
import torch
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)

from agents import PPOPenalty
from agents.deep.ppo_penalty import BETA_RANGE, adapted
from agents.deep.previous import approximate_divergence, divergence

PI = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
COUNTS = np.array([[2, 1, 1], [1, 1, 3]])
ADVANTAGES = np.array([[1.0, -1.0, 0.3], [-2.0, 0.5, 0.1]])


@pytest.mark.parametrize(
    ("kl", "expected"),
    [(0.0151, 2.0), (0.0149, 1.0), (0.01, 1.0), (0.0067, 1.0), (0.0066, 0.5), (0.0, 0.5), (1.0, 2.0)],
)
def test_the_penalty_doubles_above_and_halves_below_the_target(kl, expected):
    assert adapted(1.0, kl, target_kl=0.01) == expected


def test_the_penalty_stays_within_reach():
    low = high = 1.0
    for _ in range(100):
        low, high = adapted(low, 0.0, 0.01), adapted(high, 1.0, 0.01)
    assert (low, high) == BETA_RANGE


@pytest.mark.parametrize("target_kl", [1e-4, 1e4])
def test_after_a_round_the_penalty_follows_the_exact_divergence_of_the_round(filled, table_of, target_kl):
    logged = {}
    model = filled(PPOPenalty, PI, COUNTS, ADVANTAGES, target_kl=target_kl, learning_rate=0.05, batch_size=3)
    model.logger.record = lambda key, value, exclude=None: logged.update({key: value})
    model.train()
    moved = (PI * np.log(PI / table_of(model))).sum(-1)
    kl = (COUNTS.sum(-1) * moved).sum() / COUNTS.sum()
    assert kl > 1e-3
    assert logged["train/kl"] == pytest.approx(kl, rel=1e-3)
    assert logged["train/beta"] == 1.0
    assert model.beta == (2.0 if kl > 1.5 * target_kl else 0.5)


def test_many_small_steps_end_where_surrogate_and_penalty_balance(filled, table_of):
    """- sum pi A + beta KL(old || pi) is least at pi = beta old / (mu - A), with the mu that makes it sum to 1."""
    advantages = ADVANTAGES - (PI * ADVANTAGES).sum(-1, keepdims=True)
    model = filled(
        PPOPenalty,
        PI,
        COUNTS,
        advantages,
        beta=4.0,
        n_epochs=500,
        batch_size=None,
        learning_rate=0.03,
        normalize_advantage=False,
        max_grad_norm=1e9,
    )
    model.train()
    for state in range(2):
        low, high = advantages[state].max() + 1e-9, advantages[state].max() + 100.0
        for _ in range(200):  # bisection on mu: the sum falls as it grows
            middle = (low + high) / 2
            low, high = (
                (middle, high) if (4.0 * PI[state] / (middle - advantages[state])).sum() > 1.0 else (low, middle)
            )
        expected = 4.0 * PI[state] / (low - advantages[state])
        np.testing.assert_allclose(table_of(model)[state], expected, atol=2e-3)


def test_divergences_are_those_of_the_joint_actions():
    def gaussian(mean, log_std):
        return DiagGaussianDistribution(2).proba_distribution(torch.tensor([mean]), torch.tensor(log_std))

    p, q = gaussian([0.3, -1.0], [0.1, -0.5]), gaussian([0.0, 0.5], [-0.2, 0.4])
    expected = 0.0
    for m1, s1, m2, s2 in ((0.3, 0.1, 0.0, -0.2), (-1.0, -0.5, 0.5, 0.4)):
        expected += s2 - s1 + (np.exp(2 * s1) + (m1 - m2) ** 2) / (2 * np.exp(2 * s2)) - 0.5
    assert divergence(p, q).tolist() == pytest.approx([expected], rel=1e-5)

    p, q = (BernoulliDistribution(2).proba_distribution(torch.tensor([x])) for x in ([0.0, 1.0], [0.5, -1.0]))
    a, b = 1 / (1 + np.exp(-np.array([[0.0, 1.0], [0.5, -1.0]])))
    expected = (a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))).sum()
    assert divergence(p, q).tolist() == pytest.approx([expected], rel=1e-5)

    logits = torch.tensor([[0.1, 0.2, -0.3, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.5, -1.0, 0.0]])
    p, q = (MultiCategoricalDistribution([2, 3]).proba_distribution(x) for x in logits)
    parts = [
        divergence(*(CategoricalDistribution(3).proba_distribution(x[:, part]) for x in logits))
        for part in (slice(0, 2), slice(2, 5))
    ]
    assert divergence(p, q).tolist() == pytest.approx((parts[0] + parts[1]).tolist(), rel=1e-5)


def test_the_estimate_of_the_divergence_is_unbiased():
    old, new = torch.tensor(PI[0]), torch.tensor([0.4, 0.4, 0.2]).double()
    log_ratio = torch.log(new / old)
    per_action = torch.stack([approximate_divergence(log_ratio[[action]]) for action in range(3)])
    assert float((old * per_action).sum()) == pytest.approx(float((old * torch.log(old / new)).sum()))
    assert bool((per_action >= 0.0).all())
