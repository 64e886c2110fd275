import numpy as np
import pytest
import torch

from agents import MDPO

PI = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
COUNTS = np.array([[4, 2, 2], [1, 1, 3]])
ADVANTAGES = np.array([[1.0, -1.0, 0.3], [-2.0, 0.5, 0.1]])


@pytest.mark.parametrize("step_size", [0.3, 1.0])
def test_many_steps_on_the_proximal_problem_end_at_the_mirror_descent_update(filled, table_of, step_size):
    """``pi_new ~ pi_old exp(t A)``: the closed form of mirror descent with the divergence as Bregman distance."""
    model = filled(
        MDPO,
        PI,
        COUNTS,
        ADVANTAGES,
        step_size=step_size,
        n_epochs=400,
        batch_size=None,
        learning_rate=0.03,
        normalize_advantage=False,
        max_grad_norm=1e9,
    )
    model.train()
    expected = PI * np.exp(step_size * ADVANTAGES)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(table_of(model), expected, atol=1e-3)


def test_the_step_size_falls_from_one_towards_zero_over_the_training(table_env):
    model = MDPO("MlpPolicy", table_env(), n_steps=20, batch_size=20, n_epochs=1, seed=0, device="cpu")
    seen = []
    model._end_round = lambda: seen.append(model._step_now) or {}
    model.learn(110)
    assert seen == pytest.approx([1.0, 90 / 110, 70 / 110, 50 / 110, 30 / 110, 10 / 110])


def test_where_the_step_size_is_zero_only_the_critic_learns(filled):
    model = filled(MDPO, PI, COUNTS, ADVANTAGES, step_size=0.0, batch_size=None)
    model.rollout_buffer.returns[:] = 1.0
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.train()
    after = model.policy.state_dict()
    assert torch.equal(before["action_net.weight"], after["action_net.weight"])
    assert not torch.equal(before["value_net.weight"], after["value_net.weight"])
