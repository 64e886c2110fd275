"""The policy that is deployed is the one that acts: followed, refused in words, or noticed and said once."""

import functools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction, TransformReward
from sb3_contrib import QRDQN, TQC, MaskablePPO, RecurrentPPO
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from agents import DeployCallback, PePG, PerformativeNPG, PerformativePPO, make_vec_env
from agents.retraining import RepeatedRetraining
from perf_envs import PerformativeMDP, gaussian_policy
from perf_envs.wrappers import StateObservation, VectorStateObservation

PRICING, LINEAR = "PerformativePricing-v0", "LinearPricing-v0"
FEATURES = np.eye(81, dtype=np.float32)


class Reversed(gym.ActionWrapper):
    """Action 0 posts the highest price."""

    def action(self, action):
        return self.action_space.n - 1 - action


class Mirrored(gym.ObservationWrapper):
    """Shows another state than the one the world is in."""

    def observation(self, observation):
        return self.observation_space.n - 1 - observation


class LateSeason(gym.ObservationWrapper):
    """Shows the time that is left instead of the time that has gone."""

    def observation(self, observation):
        return 1.0 - observation


class Sticky(gym.Wrapper):
    """Repeats the last action now and then."""

    last = None

    def step(self, action):
        if self.last is not None and self.np_random.random() < 0.25:
            action = self.last
        self.last = action
        return self.env.step(action)


class Twice(gym.Wrapper):
    """Does everything twice."""

    def step(self, action):
        first = self.env.step(action)
        return first if first[2] or first[3] else self.env.step(action)


def wrapped(wrapper, env_id=PRICING):
    return wrapper(gym.make(env_id))


def learners(n_steps=32):
    """Return functions that train an algorithm with its policy deployed."""
    small = {"n_steps": n_steps, "seed": 0, "device": "cpu"}

    def callback(algorithm, **more):
        return lambda env: algorithm("MlpPolicy", env, **small, **more).learn(2 * n_steps, DeployCallback())

    def itself(algorithm, **more):
        return lambda env: algorithm("MlpPolicy", env, **small, **more).learn(2 * n_steps)

    return {
        "ppo": callback(PPO, batch_size=32),
        "a2c": callback(A2C),
        "pepg": itself(PePG),
        "pepg strict": itself(PePG, strict=True),
        "performative_ppo": itself(PerformativePPO),
        "performative_npg": itself(PerformativeNPG),
    }


LEARNERS = learners()
learner = pytest.mark.parametrize("learn", list(LEARNERS.values()), ids=list(LEARNERS))


@learner
@pytest.mark.parametrize("wrapper", [Reversed, Sticky])
def test_wrappers_that_change_actions_are_refused(learn, wrapper):
    with pytest.raises(ValueError, match=r"hand on the actions of the agent.*agent 0 chose \d and the world was given"):
        learn(wrapped(wrapper))


@learner
def test_rescaled_actions_are_refused(learn):
    with pytest.raises(ValueError, match="hand on the actions"):
        learn(wrapped(functools.partial(RescaleAction, min_action=np.float32(0), max_action=np.float32(1)), LINEAR))


@learner
@pytest.mark.parametrize(("wrapper", "env_id"), [(Mirrored, PRICING), (LateSeason, LINEAR)])
def test_wrappers_that_change_observations_but_not_their_shape_are_refused(learn, wrapper, env_id):
    with pytest.raises(ValueError, match="must show state s as query_observations"):
        learn(wrapped(wrapper, env_id))


@learner
def test_one_action_is_one_step_of_the_world(learn):
    with pytest.raises(ValueError, match="one step of the world for each action, got 2"):
        learn(wrapped(Twice))


def test_rewards_of_other_units_are_refused_where_those_of_the_response_map_are_added_to_them():
    def scale(env):
        return TransformReward(env, lambda reward: 10.0 * reward)

    for name in ("pepg", "performative_ppo", "performative_npg"):
        with pytest.raises(ValueError, match="hand out the rewards of the world"):
            LEARNERS[name](wrapped(scale))
    LEARNERS["ppo"](wrapped(scale))  # learns from nothing else


@pytest.mark.parametrize("wrapper", [Reversed, Mirrored])
def test_tabular_methods_refuse_them_too(wrapper):
    model = RepeatedRetraining("TabularPolicy", wrapped(wrapper), n_steps=64, seed=0)
    with pytest.raises(ValueError, match="env must"):
        model.learn(64)


@pytest.mark.parametrize("start_method", [None, "fork"])
def test_every_copy_is_compared(start_method):
    def make(index):
        return lambda: wrapped(Reversed) if index == 1 else gym.make(PRICING)

    makers = [make(0), make(1)]
    venv = DummyVecEnv(makers) if start_method is None else SubprocVecEnv(makers, start_method=start_method)
    try:
        with pytest.raises(ValueError, match="agent 1 chose"):
            PPO("MlpPolicy", venv, n_steps=16, batch_size=16, seed=0).learn(32, DeployCallback())
    finally:
        venv.close()


@pytest.mark.parametrize("name", ["ppo", "pepg"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.make(PRICING),
        lambda: gym.make(LINEAR, n_products=3),
        lambda: StateObservation(gym.make(PRICING), FEATURES),
        lambda: make_vec_env(PRICING, 3, seed=0),
        lambda: make_vec_env(LINEAR, 3, seed=0),
        lambda: make_vec_env(
            PRICING, 3, seed=0, vector_wrapper=functools.partial(VectorStateObservation, observations=FEATURES)
        ),
        lambda: VecNormalize(make_vec_env(LINEAR, 3, seed=0), norm_reward=False),
        lambda: DummyVecEnv([lambda: gym.make("PerformativeGridWorld-v0")] * 2),
    ],
)
def test_environments_that_change_nothing_are_not_refused(name, make):
    LEARNERS[name](make())


def test_masked_actions_are_refused():
    env = ActionMasker(gym.make(PRICING), lambda env: np.arange(8) % 2 == 0)
    with pytest.raises(ValueError, match="MaskablePPO masks actions step by step"):
        MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=16).learn(16, DeployCallback())
    plain = MaskablePPO("MlpPolicy", gym.make(PRICING), n_steps=16, batch_size=16)
    plain.learn(32, DeployCallback(), use_masking=False)


def test_policies_with_a_memory_are_refused_in_words():
    model = RecurrentPPO("MlpLstmPolicy", gym.make(PRICING), n_steps=16, batch_size=16)
    with pytest.raises(ValueError, match=r"depend on the observation alone.*lstm_states and episode_starts"):
        model.learn(16, DeployCallback())

    class Remembering:
        def predict(self, observation, deterministic=False):
            return np.zeros(len(observation), dtype=int), (np.zeros(3),)

    with pytest.raises(ValueError, match="depend on the observation alone"):
        gym.make(PRICING).unwrapped.deploy(Remembering())


def test_predicted_actions_must_be_actions():
    class Wrong:
        def predict(self, observation, deterministic=False):
            return np.full(len(observation), -1), None

    with pytest.raises(ValueError, match=r"one of 0\.\.7 per state"):
        gym.make(PRICING).unwrapped.deploy(Wrong())


class Cheat(PPO):
    """Acts otherwise than its policy says."""

    def collect_rollouts(self, env, callback, rollout_buffer, n_rollout_steps):
        forward = self.policy.forward

        def changed(obs, deterministic=False):
            actions, values, log_prob = forward(obs, deterministic)
            return actions * 0 + 3, values, log_prob

        self.policy.forward = changed
        try:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        finally:
            self.policy.forward = forward


def test_actions_that_are_not_those_of_the_policy_are_noticed_once():
    model = Cheat("MlpPolicy", make_vec_env(PRICING, 8, seed=0), n_steps=16, batch_size=64, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(16 * 8 * 4, DeployCallback())
    told = [str(one.message) for one in caught if "not those of the policies deployed" in str(one.message)]
    assert len(told) == 1
    assert "action 3 was played in 128 of 128 steps" in told[0]


@pytest.mark.parametrize("algorithm", [DQN, QRDQN])
def test_exploration_is_deployed_along_with_the_greedy_policy(algorithm):
    venv = make_vec_env(PRICING, 1, seed=0)
    model = algorithm(
        "MlpPolicy",
        venv,
        seed=0,
        buffer_size=2000,
        learning_starts=400,
        train_freq=200,
        exploration_initial_eps=0.6,
        exploration_final_eps=0.2,
        exploration_fraction=0.5,
    )
    tables = []

    class Tables(DeployCallback):
        def _on_rollout_start(self):
            super()._on_rollout_start()
            tables.append(venv.get_attr("rounds")[0].policy.probs.copy())

    model.learn(2000, Tables())
    np.testing.assert_allclose(tables[0], 1 / 8)  # random until learning starts
    np.testing.assert_allclose(tables[1], 1 / 8)
    # The share falls from .6 to .2 over the first half: .44 at step 400 and .36 at 600, .4 on average; then it is .2.
    np.testing.assert_allclose(tables[2].max(-1), 0.6 + 0.4 / 8, rtol=1e-6)
    np.testing.assert_allclose(tables[7].max(-1), 0.8 + 0.2 / 8, rtol=1e-6)


@pytest.mark.parametrize("algorithm", [SAC, TQC])
def test_squashed_policies_are_deployed_by_the_mean_of_what_they_play(algorithm):
    venv = make_vec_env(LINEAR, 1, seed=0, env_kwargs={"n_products": 2})
    model = algorithm("MlpPolicy", venv, seed=0, buffer_size=100)
    observations = venv.get_attr("problem")[0].query_observations
    mean, std = gaussian_policy(model, observations, 2)
    played = np.stack([model.predict(observations, deterministic=False)[0] for _ in range(4000)])
    error = played.std(0) / np.sqrt(len(played))
    assert (np.abs(played.mean(0) - mean) < 5.0 * error).all()
    assert not std.any()
    deterministic, _ = gaussian_policy(model, observations, 2, deterministic=True)
    np.testing.assert_allclose(deterministic, model.predict(observations, deterministic=True)[0], rtol=1e-6)


def test_replay_over_many_rounds_is_noticed():
    model = DQN("MlpPolicy", make_vec_env(PRICING, 1, seed=0), learning_starts=10, buffer_size=1000, train_freq=50)
    with pytest.warns(UserWarning, match="buffer_size=1000 keeps transitions of 20 rounds of 50 steps"):
        model.learn(50, DeployCallback())


def test_worlds_that_do_not_tell_what_was_played_can_be_deployed_to():
    class Stranger(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(81), gym.spaces.Discrete(8)

        def __init__(self):
            self._world = gym.make(PRICING).unwrapped
            self.problem: PerformativeMDP = self._world.problem
            self.deployed = 0

        query_observations = np.arange(81)

        @property
        def round(self):
            return self._world.round

        def set_deployment(self, mode):
            self._world.set_deployment(mode)

        def deploy(self, policy, answer=None):
            self.deployed += 1
            return self._world.deploy(policy, answer)

        def reset(self, *, seed=None, options=None):
            return self._world.reset(seed=seed)

        def step(self, action):
            return self._world.step(action)

    env = Stranger()
    PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0).learn(32, DeployCallback())
    assert env.deployed == 2
