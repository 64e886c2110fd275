"""What the deep agents refuse, and that refusing changes nothing."""

import inspect

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from agents import GRPO, MDPO, NPG, REINFORCE, PerformativeNPG, PerformativePPO, PPOPenalty

ALGORITHMS = [REINFORCE, PPOPenalty, MDPO, NPG, GRPO, PerformativePPO, PerformativeNPG]
BAD = {
    "learning_rate": -1e-3,
    "n_steps": 0,
    "batch_size": 0,
    "n_epochs": -1,
    "gamma": 1.5,
    "gae_lambda": -0.1,
    "ent_coef": -0.1,
    "vf_coef": -1.0,
    "max_grad_norm": 0.0,
    "target_kl": -0.01,
    "clip_range": -0.2,
    "beta": -1.0,
    "step_size": -1.0,
    "cg_damping": -1.0,
    "cg_max_steps": 0,
    "n_critic_updates": -1,
    "performative_coef": -1.0,
    "supervision": "both",
}


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(algorithm, name) for algorithm in ALGORITHMS for name in BAD if name in inspect.signature(algorithm).parameters],
)
def test_an_argument_out_of_range_is_named_with_its_value(algorithm, name, table_env):
    with pytest.raises(ValueError, match=rf"{name} must be .* got {BAD[name]!r}"):
        algorithm("MlpPolicy", table_env(), **{name: BAD[name]})


@pytest.mark.filterwarnings("ignore:the environment has no response map")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_rollout_of_one_step_is_refused(algorithm, table_env):
    with pytest.raises(ValueError, match="n_steps=1 and n_envs=1"):
        algorithm("MlpPolicy", table_env(), n_steps=1)
    algorithm("MlpPolicy", make_vec_env(table_env, 2), n_steps=1)


@pytest.mark.filterwarnings("ignore:the environment has no response map")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rewards_that_are_not_numbers_are_refused_before_anything_is_learnt(algorithm, table_env):
    rewards = np.zeros((3, 4))
    rewards[1, 2] = np.nan
    model = algorithm(
        "MlpPolicy", make_vec_env(lambda: table_env(rewards=rewards), 2, seed=0), n_steps=64, device="cpu"
    )
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with pytest.raises(ValueError, match=r"rewards must be finite, got nan from sub-environment \d at step \d+"):
        model.learn(128)
    assert all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())


@pytest.mark.filterwarnings("ignore:the environment has no response map")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_advantages_that_overflow_are_refused_before_anything_is_learnt(algorithm, table_env):
    model = algorithm("MlpPolicy", make_vec_env(table_env, 2, seed=0), n_steps=64, device="cpu")
    _, callback = model._setup_learn(128)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 64)
    begin = model._begin_round

    def overflow():
        begin()
        model.rollout_buffer.advantages.fill(np.inf)

    model._begin_round = overflow
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with pytest.raises(ValueError, match="must be finite, got"):
        model.train()
    assert all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())


@pytest.mark.filterwarnings("ignore:the environment has no response map")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_gradient_that_is_not_finite_is_refused_before_the_step(algorithm, table_env):
    model = algorithm("MlpPolicy", make_vec_env(table_env, 2, seed=0), n_steps=64, device="cpu")
    _, callback = model._setup_learn(128)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 64)
    model.policy.action_net.weight.register_hook(lambda gradient: gradient * torch.nan)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with pytest.raises(ValueError, match="must be finite, got nan"):
        model.train()
    assert all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())


@pytest.mark.filterwarnings("ignore:the environment has no response map")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "space",
    [spaces.Box(-1, 1, (2,), np.float32), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)],
    ids=lambda space: type(space).__name__,
)
def test_it_trains_on_actions_of_several_parts(algorithm, space, table_env):
    class Parts(table_env):
        def __init__(self):
            super().__init__()
            self.action_space = space

        def step(self, action):
            observation, _, *rest = super().step(0)
            return observation, float(np.sum(action)), *rest

    model = algorithm("MlpPolicy", make_vec_env(Parts, 2, seed=0), n_steps=32, seed=0, device="cpu")
    before = model.policy.action_net.weight.clone()
    model.learn(64)
    assert not torch.equal(before, model.policy.action_net.weight)
    action, _ = model.predict(np.array([0, 1, 2]))
    assert action.shape == (3, *space.shape)


@pytest.mark.parametrize("algorithm", [REINFORCE, PPOPenalty, MDPO, NPG])
def test_values_that_are_not_numbers_are_refused_before_anything_is_learnt(algorithm, table_env):
    model = algorithm("MlpPolicy", make_vec_env(table_env, 2, seed=0), n_steps=8, device="cpu")
    with torch.no_grad():
        model.policy.value_net.weight[0, 0] = torch.nan
    before = model.policy.action_net.weight.clone()
    with pytest.raises(ValueError, match="values of a rollout must be finite, got nan at step 0 of sub-environment 0"):
        model.learn(16)
    assert torch.equal(before, model.policy.action_net.weight)
