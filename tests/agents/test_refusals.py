"""Who expects ``ValueError``, and who expects what Stable-Baselines3 or Gymnasium raise: both catch what is refused."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import DeployCallback, PePG
from agents.common import refusals
from agents.common.guards import Guarded
from agents.deep import GRPO, MDPO, NPG, REINFORCE, PPOPenalty
from agents.retraining import RepeatedRetraining


class GuardedPPO(Guarded, PPO):
    """Stable-Baselines3's own, guarded."""


class Still(gym.Env):
    """An environment with the spaces it is told."""

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or spaces.Box(-1.0, 1.0, (2,))
        self.action_space = action_space or spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


TUPLE = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)])
ON_POLICY = [PePG, GRPO, MDPO, NPG, REINFORCE, PPOPenalty, GuardedPPO]


def make(algorithm, env, **arguments):
    return algorithm("MlpPolicy", env, device="cpu", **arguments)


def both(error, call, match):
    """Check that a call is caught by those who expect ``ValueError``, and by those who expect another error."""
    for expected in (ValueError, error):
        with pytest.raises(expected, match=match):
            call()


@pytest.mark.parametrize("algorithm", ON_POLICY)
@pytest.mark.filterwarnings("ignore:the environment has no response map")
def test_spaces_that_are_not_supported_are_refused_as_stable_baselines_does(algorithm):
    both(AssertionError, lambda: make(algorithm, Still(action_space=spaces.Text(3))), "only supports")
    both(NotImplementedError, lambda: make(algorithm, Still(observation_space=TUPLE)), "is not supported")
    for guard in (AssertionError, NotImplementedError):  # what Stable-Baselines3 raises for these
        space = {"action_space": spaces.Text(3)} if guard is AssertionError else {"observation_space": TUPLE}
        with pytest.raises(guard):
            PPO("MlpPolicy", Still(**space), device="cpu")


@pytest.mark.parametrize("algorithm", ON_POLICY)
def test_a_rollout_or_a_batch_of_one_step_is_refused_as_stable_baselines_does(algorithm):
    both(AssertionError, lambda: make(algorithm, Still(), n_steps=1), r"n_steps \* n_envs|buffer_size")
    if algorithm not in (NPG, REINFORCE):  # whose batches serve the critic alone, or are whole rollouts
        both(AssertionError, lambda: make(algorithm, Still(), batch_size=1), "batch_size")


@pytest.mark.parametrize("algorithm", ON_POLICY)
@pytest.mark.filterwarnings("ignore:the environment has no response map")
def test_an_environment_with_another_number_of_copies_is_refused_and_the_old_one_kept(algorithm):
    model = make(algorithm, DummyVecEnv([Still] * 2), n_steps=8)
    env = model.get_env()
    both(AssertionError, lambda: model.set_env(DummyVecEnv([Still] * 3)), "number of environments")
    assert model.get_env() is env
    plain = A2C("MlpPolicy", DummyVecEnv([Still] * 2), device="cpu")
    with pytest.raises(AssertionError):
        plain.set_env(DummyVecEnv([Still] * 3))


@pytest.mark.filterwarnings("ignore:the environment has no response map")
def test_learning_without_an_environment_is_refused_as_stable_baselines_does(tmp_path):
    make(PePG, Still()).save(tmp_path / "model")
    model = PePG.load(tmp_path / "model", device="cpu")
    both(AssertionError, lambda: model.learn(10), "env must be set")


def test_the_tabular_algorithms_refuse_other_actions_as_stable_baselines_does():
    env = Still(observation_space=spaces.Discrete(3), action_space=spaces.Box(-1.0, 1.0, (1,)))
    both(AssertionError, lambda: RepeatedRetraining("TabularPolicy", env), "only supports")


@pytest.mark.parametrize("name", [name for name in vars(refusals) if name.startswith(("Refused", "Unknown"))])
def test_refusals_come_through_processes_as_they_are(name):
    error = getattr(refusals, name)("words")
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied)) == (type(error), "words")


class Shifted(gym.Wrapper):
    """Shows and takes the indices of a world from ``start`` on."""

    def __init__(self, env, start=1):
        super().__init__(env)
        self.start = start
        self.observation_space = spaces.Discrete(env.observation_space.n, start=start)
        self.action_space = spaces.Discrete(env.action_space.n, start=start)

    @property
    def query_observations(self):
        return self.env.unwrapped.query_observations + self.start

    def reset(self, **kwargs):
        observation, info = self.env.reset(**kwargs)
        return observation + self.start, info

    def step(self, action):
        observation, *rest = self.env.step(action - self.start)
        return observation + self.start, *rest


COUNTING = [
    spaces.Discrete(3, start=1),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([2, 3], start=[0, 2]),
    spaces.Dict(a=spaces.Box(-1.0, 1.0, (2,)), b=spaces.Discrete(3, start=4)),
]


@pytest.mark.parametrize("space", COUNTING, ids=str)
@pytest.mark.parametrize("algorithm", ON_POLICY)
def test_observations_that_do_not_count_from_0_are_refused(algorithm, space):
    name = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    with pytest.raises(ValueError, match=r"observation_space must count from 0"):
        algorithm(name, Still(observation_space=space), device="cpu")


@pytest.mark.parametrize("space", COUNTING[:3], ids=str)
@pytest.mark.parametrize("algorithm", ON_POLICY)
def test_actions_that_do_not_count_from_0_are_refused(algorithm, space):
    with pytest.raises(ValueError, match=r"action_space must count from 0"):
        make(algorithm, Still(action_space=space))


@pytest.mark.parametrize(
    ("algorithm", "policy"),
    [(PePG, "MlpPolicy"), (PePG, "SoftmaxPolicy"), (RepeatedRetraining, "TabularPolicy")],
)
def test_a_world_shown_with_other_indices_is_refused_by_those_who_know_its_answer(algorithm, policy):
    with pytest.raises(ValueError, match="observation_space must count from 0"):
        algorithm(policy, Shifted(gym.make("PerformativePricing-v0")), device="cpu")


@pytest.mark.parametrize(
    "policy", [PePG.policy_aliases["SoftmaxPolicy"], RepeatedRetraining.policy_aliases["TabularPolicy"]]
)
def test_tables_are_refused_where_indices_do_not_count_from_0(policy):
    from_0, from_1 = spaces.Discrete(3), spaces.Discrete(3, start=1)
    for name, pair in (("observation_space", (from_1, from_0)), ("action_space", (from_0, from_1))):
        with pytest.raises(ValueError, match=f"{name} must count from 0"):
            policy(*pair, lambda _: 0.1)
    policy(from_0, from_0, lambda _: 0.1)


def test_a_policy_of_stable_baselines_is_not_deployed_where_indices_do_not_count_from_0():
    env = DummyVecEnv([lambda: Shifted(gym.make("PerformativePricing-v0"))])
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu")
    env.reset()
    with pytest.raises(ValueError, match="must count from 0"):
        model.learn(8, callback=DeployCallback())
    assert np.asarray(env.get_attr("round")).tolist() == [0]
