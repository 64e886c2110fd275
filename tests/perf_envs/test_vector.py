"""Vector environments: one world, the physics of the scalar environment, the autoreset modes of Gymnasium."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from perf_envs import Dynamics, PerformativeVectorEnv
from perf_envs.sampling import StepSampler
from tests.perf_envs.worlds import IDS, Corridor, CorridorVectorEnv, make_world, random_policy

worlds = pytest.mark.parametrize("world_id", IDS)
every_mode = pytest.mark.parametrize("mode", list(AutoresetMode))


@worlds
def test_one_step_is_the_same_alone_and_side_by_side(world_id):
    env = make_world(world_id)
    sampler = StepSampler(env.problem.response(random_policy(env, 0)))
    rng = np.random.default_rng(0)
    states, actions = rng.integers(env.n_states, size=2000), rng.integers(env.n_actions, size=2000)
    uniforms = rng.random(2000)
    uniforms[:3] = 0.0, np.nextafter(1.0, 0.0), 0.5
    together = sampler.step_many(states, actions, uniforms)
    alone = [sampler.step(*one) for one in zip(states.tolist(), actions.tolist(), uniforms.tolist(), strict=True)]
    for column, expected in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(column, expected)


def test_an_outcome_without_probability_is_never_drawn():
    probs = torch.tensor([[[0.0, 0.5, 0.0, 0.5, 0.0]]], dtype=torch.float64)
    sampler = StepSampler(Dynamics(torch.zeros(1, 5, dtype=torch.int64), probs, torch.zeros(1, 1, dtype=torch.float64)))
    uniforms = np.array([0.0, np.nextafter(0.5, 0.0), 0.5, np.nextafter(1.0, 0.0)])
    state = np.zeros(4, dtype=np.int64)
    assert sampler.step_many(state, state, uniforms)[2].tolist() == [1, 1, 3, 3]
    assert [sampler.step(0, 0, uniform)[2] for uniform in uniforms.tolist()] == [1, 1, 3, 3]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("n_outcomes", [1, 2, 3, 5, 8, 13])
def test_outcomes_are_drawn_by_inversion_whatever_their_number(n_outcomes, shared):
    rng = np.random.default_rng(n_outcomes)
    probs = rng.dirichlet(np.full(n_outcomes, 0.3), size=(4, 3))
    successors = rng.integers(4, size=(4, n_outcomes) if shared else (4, 3, n_outcomes))
    expected = rng.random((4, 3))
    paid = None if shared else torch.from_numpy(rng.random((3, n_outcomes)))
    dynamics = Dynamics(torch.from_numpy(successors), torch.from_numpy(probs), torch.from_numpy(expected), paid)
    states, actions, uniforms = rng.integers(4, size=500), rng.integers(3, size=500), rng.random(500)
    following, rewards, outcomes = StepSampler(dynamics).step_many(states, actions, uniforms)
    for s, a, u, then, reward, outcome in zip(states, actions, uniforms, following, rewards, outcomes, strict=True):
        passed = 0
        while u >= sum(probs[s, a, : passed + 1]) and passed < n_outcomes - 1:
            passed += 1
        assert outcome == passed
        assert then == (successors[s, outcome] if shared else successors[s, a, outcome])
        assert reward == (expected[s, a] if paid is None else paid[a, outcome])


@worlds
def test_steps_are_drawn_with_the_probabilities_in_force(world_id):
    env = make_world(world_id)
    dynamics = env.problem.response(random_policy(env, 0))
    n, state = 40_000, 1
    following, rewards, _ = StepSampler(dynamics).step_many(
        np.full(n, state), np.zeros(n, dtype=np.int64), np.random.default_rng(0).random(n)
    )
    expected = dynamics.dense()[0][state, 0].numpy()
    frequencies = np.bincount(following, minlength=env.n_states) / n
    assert (np.abs(frequencies - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / n)).all()
    error = 4.5 * rewards.std() / np.sqrt(n) + 1e-12
    assert abs(rewards.mean() - float(dynamics.rewards[state, 0])) <= error


@worlds
@pytest.mark.parametrize("limit", [None, 17])
def test_a_single_sub_environment_walks_the_path_of_the_scalar_one(world_id, limit):
    """With one sub-environment reset at once, both draw the same numbers in the same order."""
    settings = {"round_length": 40, "adaptation_rate": 0.5}
    scalar = make_world(world_id, **settings)
    limited = TimeLimit(scalar, limit) if limit else scalar
    vector = gym.make_vec(
        world_id, num_envs=1, max_episode_steps=limit or 10_000, autoreset_mode="SameStep", **settings
    )
    rng = np.random.default_rng(1)
    observation, info = limited.reset(seed=3)
    observations, infos = vector.reset(seed=3)
    assert (observations[0], infos["round"][0]) == (observation, info["round"])
    ended = 0
    for _ in range(300):
        action = int(rng.integers(scalar.n_actions))
        observation, reward, terminated, truncated, info = limited.step(action)
        observations, rewards, terminations, truncations, infos = vector.step([action])
        assert (rewards[0], terminations[0], truncations[0]) == (reward, terminated, truncated)
        assert {key: infos[key][0] for key in info} == info
        if terminated or truncated:
            ended += 1
            assert infos["final_obs"][0] == observation
            observation, _ = limited.reset()
        assert observations[0] == observation
    assert scalar.round == vector.round == 7
    np.testing.assert_array_equal(scalar.rounds.policy.probs, vector.rounds.policy.probs)
    assert ended > 0 or world_id == "SoftmaxPeMDP-v0"


class Scripted:
    """Hands out given numbers, one at a time, where an environment expects its random generator."""

    def __init__(self):
        self.numbers = []

    def random(self):
        return self.numbers.pop(0)


class Recorded:
    """A generator that keeps the arrays it has drawn."""

    def __init__(self, seed):
        self._rng, self.draws = np.random.default_rng(seed), []

    def random(self, size):
        self.draws.append(self._rng.random(size))
        return self.draws[-1]


class SideBySide:
    """Scalar environments walked on the numbers that a vector environment draws, treated as ``mode`` says."""

    def __init__(self, world_id, n, limit, mode, settings):
        self.worlds = [make_world(world_id, **settings, deployment="declared") for _ in range(n)]
        self.envs = [TimeLimit(world, limit) for world in self.worlds]
        self.mode, self.ended = mode, np.zeros(n, dtype=bool)
        for world in self.worlds:
            world.np_random = Scripted()

    def reset(self, chosen, starts):
        observations = []
        for index, start in zip(np.flatnonzero(chosen), starts, strict=True):
            self.worlds[index].np_random.numbers.append(float(start))
            observations.append(self.envs[index].reset()[0])
            self.ended[index] = False
        return observations

    def step(self, actions, uniforms):
        """Step those that are not over; return per environment what ``step`` returned, ``None`` where it is over."""
        steps = []
        for env, world, action, uniform, over in zip(
            self.envs, self.worlds, actions, uniforms, self.ended, strict=True
        ):
            world.np_random.numbers[:] = [] if over else [float(uniform)]
            steps.append(None if over else env.step(action))
        self.ended = np.array([step is not None and (step[2] or step[3]) for step in steps])
        return steps

    def deploy(self, policy):
        return [world.deploy(policy) for world in self.worlds]


@worlds
@every_mode
@pytest.mark.parametrize("deployment", ["observed", "declared"])
def test_every_mode_walks_the_paths_of_scalar_environments_on_the_same_draws(world_id, mode, deployment):
    """All that ``step`` returns, before and after deployments; the scalar worlds are told what the vector one saw."""
    n, limit, settings = 7, 23, {"adaptation_rate": 0.6}
    vector = gym.make_vec(
        world_id, n, autoreset_mode=mode, max_episode_steps=limit, deployment=deployment, round_length=30, **settings
    )
    alone = SideBySide(world_id, n, limit, mode, settings)
    source = vector.np_random = Recorded(0)
    rng = np.random.default_rng(1)
    observations, infos = vector.reset()
    assert observations.tolist() == alone.reset(np.ones(n, dtype=bool), source.draws.pop())
    for time in range(150):
        actions = rng.integers(vector.single_action_space.n, size=n)
        over = alone.ended.copy()
        rounds = vector.round
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        steps = alone.step(actions, source.draws.pop(0))
        for index, step in enumerate(steps):
            if step is None:  # it was reset, or waits for it; what there is to tell of the round was told with that
                alone.worlds[index].rounds.step_info()
                assert (rewards[index], terminated[index], truncated[index]) == (0.0, False, False)
                continue
            observation, *expected, info = step
            final = mode is AutoresetMode.SAME_STEP and alone.ended[index]
            assert (infos["final_obs"] if final else observations)[index] == observation
            assert [rewards[index], terminated[index], truncated[index]] == expected
            told = {key for key in infos if key[0] != "_" and infos[f"_{key}"][index]} - {"final_obs", "final_info"}
            assert {key: infos[key][index] for key in told} == info
            if final:
                assert {key: infos["final_info"][key][index] for key in info} == info
        for chosen in (over, alone.ended.copy() if mode is AutoresetMode.SAME_STEP else []):
            if np.any(chosen):
                assert observations[chosen].tolist() == alone.reset(chosen, source.draws.pop(0))
        if mode is AutoresetMode.DISABLED and alone.ended.any():
            chosen = alone.ended.copy()
            observations, _ = vector.reset(options={"reset_mask": chosen})
            assert observations[chosen].tolist() == alone.reset(chosen, source.draws.pop(0))
        if vector.round > rounds:
            alone.deploy(vector.rounds.policy.probs)
        if deployment == "declared" and time in (40, 41, 90):
            pi = random_policy(vector.problem, time)
            assert alone.deploy(pi) == [vector.deploy(pi)] * n
        assert not source.draws
    assert vector.round >= 3


@pytest.mark.filterwarnings("ignore:3 copies of a performative world")  # which is meant here
@worlds
def test_a_round_is_as_long_as_in_worlds_of_their_own(world_id):
    own = SyncVectorEnv(
        [lambda: gym.make(world_id, round_length=11, max_episode_steps=5)] * 3, autoreset_mode="SameStep"
    )
    shared = gym.make_vec(world_id, 3, round_length=11, max_episode_steps=5, autoreset_mode="SameStep")
    rounds = [], []
    for env in (shared, own):
        env.reset(seed=0)
    for _ in range(50):
        for env in (shared, own):
            env.step(np.zeros(3, dtype=np.int64))
        rounds[0].append([shared.round] * 3)
        rounds[1].append([single.unwrapped.round for single in own.envs])
    assert rounds[0] == rounds[1]
    assert rounds[0][-1] == [4, 4, 4]


def pair(mode, n=5, limit=4):
    """Return our corridors and Gymnasium's, in the same autoreset mode; nothing in a corridor is left to chance."""
    ours = CorridorVectorEnv(num_envs=n, max_episode_steps=limit, autoreset_mode=mode, deployment="declared")
    theirs = SyncVectorEnv([lambda: TimeLimit(Corridor(deployment="declared"), limit)] * n, autoreset_mode=mode)
    return ours, theirs


def same_info(ours, theirs):
    """Whether all that Gymnasium says is said here too, with the same masks."""
    for key, value in theirs.items():
        if key.startswith("_"):
            np.testing.assert_array_equal(ours[key], value, err_msg=key)
        elif isinstance(value, dict):
            same_info(ours[key], value)
        else:
            mask = theirs[f"_{key}"]
            np.testing.assert_array_equal(np.asarray(ours[key])[mask], np.asarray(value)[mask], err_msg=key)


@every_mode
def test_finished_sub_environments_are_treated_as_gymnasium_does(mode):
    ours, theirs = pair(mode)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset(seed=0)[0], theirs.reset(seed=0)[0])
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(60):
        actions = (rng.random(5) < 0.7).astype(np.int64)
        (*mine, my_info), (*expected, their_info) = ours.step(actions), theirs.step(actions)
        for array, other in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(array, other)
            assert array.dtype == other.dtype
        if mode is AutoresetMode.SAME_STEP:  # Gymnasium moves what it knows of the last step into ``final_info``
            their_info = {key: value for key, value in their_info.items() if "right" not in key}
        same_info(my_info, their_info)
        finished = mine[2] | mine[3]
        ends["terminated"] += mine[2].sum()
        ends["truncated"] += mine[3].sum()
        if mode is AutoresetMode.DISABLED and finished.any():
            options = {"reset_mask": finished}
            np.testing.assert_array_equal(
                ours.reset(options=options)[0], theirs.reset(options={"reset_mask": finished.copy()})[0]
            )
    assert min(ends.values()) > 5


def test_a_sub_environment_that_is_being_reset_reports_no_step():
    env = CorridorVectorEnv(num_envs=2, autoreset_mode="NextStep", round_length=100)
    env.reset(seed=0)
    for _ in range(3):
        env.step([1, 0])
    observations, rewards, terminated, truncated, infos = env.step([1, 1])
    assert observations.tolist() == [0, 1]
    assert rewards.tolist() == [0.0, 0.0]
    assert not terminated.any()
    assert not truncated.any()
    assert infos["_right"].tolist() == [False, True]
    assert infos["right"].tolist() == [False, True]
    assert env.rounds._steps_observed == 7


def test_with_autoreset_disabled_a_finished_sub_environment_must_be_reset_first():
    env = CorridorVectorEnv(num_envs=3, autoreset_mode="Disabled")
    env.reset(seed=0)
    for _ in range(3):
        env.step([1, 0, 1])
    with pytest.raises(ValueError, match=r"sub-environments \[0, 2\] are finished"):
        env.step([1, 0, 1])
    observations, _ = env.reset(options={"reset_mask": np.array([True, False, True])})
    assert observations.tolist() == [0, 0, 0]
    assert env.step([1, 1, 0])[0].tolist() == [1, 1, 0]


def test_a_partial_reset_leaves_the_others_where_they_are():
    env = CorridorVectorEnv(num_envs=3, autoreset_mode="Disabled", max_episode_steps=3)
    env.reset(seed=0)
    env.step([1, 1, 1])
    observations, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert observations.tolist() == [1, 0, 1]
    env.step([0, 0, 0])
    assert env.step([0, 0, 0])[3].tolist() == [True, False, True]


def test_the_policy_is_observed_from_the_pooled_actions():
    env = gym.make_vec("SoftmaxPeMDP-v0", num_envs=8, round_length=13)
    rng = np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    counts = np.zeros((10, 4))
    for step in range(13):
        assert env.round == 0
        actions = rng.integers(4, size=8)
        np.add.at(counts, (observations, actions), 1)
        observations, *_, infos = env.step(actions)
        assert infos["round"].tolist() == [0] * 8, step
    assert env.round == 1
    assert counts.sum() == 104
    np.testing.assert_allclose(
        env.rounds.policy.probs, (counts + 0.25) / (counts.sum(-1, keepdims=True) + 1), atol=1e-15
    )
    *_, infos = env.step(actions)
    assert infos["round"].tolist() == [1] * 8
    assert infos["_shift"].all()
    assert (infos["shift"] > 0).all()
    assert "shift" not in env.step(actions)[-1]


@worlds
def test_all_sub_environments_live_in_one_world(world_id):
    env = gym.make_vec(world_id, num_envs=3, deployment="declared")
    env.reset(seed=0)
    pi = random_policy(env.problem, 0)
    shift = env.deploy(pi)
    assert env.round == env.single.round == 1
    assert env.dynamics.shift_from(env.problem.response(pi)) == (0.0, 0.0)
    *_, infos = env.step([0, 0, 0])
    assert infos["shift"].tolist() == [shift.transition] * 3
    assert infos["reward_shift"].tolist() == [shift.reward] * 3


@worlds
@every_mode
def test_a_vector_walk_repeats_bit_for_bit_after_a_seeded_reset(world_id, mode):
    env = gym.make_vec(world_id, num_envs=6, round_length=9, max_episode_steps=9, autoreset_mode=mode)

    def life():
        rng = np.random.default_rng(2)
        seen = [env.reset(seed=5)[0].tolist()]
        for _ in range(40):
            observations, rewards, terminated, truncated, infos = env.step(
                rng.integers(env.single_action_space.n, size=6)
            )
            seen.append([observations.tolist(), rewards.tolist(), infos["round"].tolist()])
            if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
                env.reset(options={"reset_mask": terminated | truncated})
        return seen, env.round, env.rounds.policy.probs.tolist()

    first, second = life(), life()
    assert first == second
    assert first[1] >= 3


@worlds
def test_make_vec_works_without_a_warning(world_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make_vec(world_id, num_envs=4, max_episode_steps=5)
        assert isinstance(env, PerformativeVectorEnv)
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(30):
            observations, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
            assert env.observation_space.contains(observations)
            assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)
        env.close()


@worlds
def test_make_vec_truncates_at_the_registered_or_given_step_limit(world_id):
    assert gym.make_vec(world_id, num_envs=2).max_episode_steps == gym.spec(world_id).max_episode_steps
    env = gym.make_vec(world_id, num_envs=2, max_episode_steps=2)
    env.reset(seed=0)
    assert not env.step([0, 0])[3].any()
    assert env.step([0, 0])[3].all()


@worlds
def test_the_metadata_tells_the_autoreset_mode(world_id):
    assert gym.make_vec(world_id, num_envs=1).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    disabled = gym.make_vec(world_id, num_envs=1, autoreset_mode=AutoresetMode.DISABLED)
    assert disabled.metadata["autoreset_mode"] is AutoresetMode.DISABLED


BAD = [
    ({"num_envs": 0}, "num_envs must be >= 1, got 0"),
    ({"num_envs": 1.5}, "num_envs must be a whole number >= 1, got 1.5"),
    ({"max_episode_steps": 0}, "max_episode_steps must be >= 1, got 0"),
    ({"autoreset_mode": "Sometimes"}, r"autoreset_mode must be one of \['NextStep', .*got 'Sometimes'"),
    ({"render_mode": "ansi"}, "render_mode must be None: Corridor draws nothing; got 'ansi'"),
    ({"round_length": 0}, "round_length must be >= 1, got 0"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CorridorVectorEnv(**settings)


@pytest.mark.parametrize("actions", [[0], [0, 0, 0], 0, [[0, 0]], [0, 2], [-1, 0]])
def test_bad_actions_are_refused_and_nothing_changes(actions):
    env = CorridorVectorEnv(num_envs=2)
    env.reset(seed=0)
    env.step([1, 0])
    before = env._states.tolist(), env._steps.tolist(), env.rounds._steps_observed, env.np_random.bit_generator.state
    with pytest.raises(ValueError, match="actions must"):
        env.step(actions)
    after = env._states.tolist(), env._steps.tolist(), env.rounds._steps_observed, env.np_random.bit_generator.state
    assert after == before


@pytest.mark.parametrize("mask", [[True], np.array([1, 0]), np.array([True, False, True])])
def test_a_bad_reset_mask_is_refused_and_nothing_changes(mask):
    env = CorridorVectorEnv(num_envs=2)
    env.reset(seed=0)
    env.step([1, 1])
    with pytest.raises(ValueError, match=r"options\['reset_mask'\] must be bool \[2\]"):
        env.reset(seed=1, options={"reset_mask": mask})
    assert env._states.tolist() == [1, 1]
    assert env.rounds._steps_observed == 2


@every_mode
def test_what_was_returned_is_the_callers_to_keep(mode):
    """Overwriting every array that was handed out changes nothing, then or later."""

    def walk(spoil):
        env = gym.make_vec("PerformativePricing-v0", 5, autoreset_mode=mode, round_length=4)
        env.reset(seed=0)
        seen = []
        for _ in range(30):
            *arrays, infos = env.step(np.full(5, 3))
            seen.append([array.tolist() for array in arrays])
            if mode is AutoresetMode.DISABLED and (arrays[2] | arrays[3]).any():
                env.reset(options={"reset_mask": arrays[2] | arrays[3]})
            if spoil:
                for array in [*arrays, *(value for value in infos.values() if isinstance(value, np.ndarray))]:
                    array[:] = 1
        return seen

    assert walk(spoil=True) == walk(spoil=False)


def test_a_vector_environment_must_be_reset_before_it_is_stepped():
    env = CorridorVectorEnv(num_envs=2)
    with pytest.raises(ResetNeeded, match="before reset"):
        env.step([0, 0])
    env.reset(seed=0)
    assert env.step([1, 0])[0].tolist() == [1, 0]


def test_only_the_infos_asked_for_are_reported():
    env = gym.make_vec("PerformativePricing-v0", 3, autoreset_mode="SameStep")
    env.report_only(["sale", "shift"])
    _, infos = env.reset(seed=0)
    assert infos == {}
    env.deploy(random_policy(env.problem, 0))
    keys = [set(env.step([0, 0, 0])[-1]) for _ in range(2)]
    assert keys == [{"sale", "_sale", "shift", "_shift"}, {"sale", "_sale"}]
    while "final_info" not in infos:
        *_, infos = env.step([0, 0, 0])
    assert set(infos["final_info"]) == {"sale", "_sale"}
    env.report_only([])
    assert env.step([0, 0, 0])[-1].keys() <= {"final_obs", "_final_obs", "final_info", "_final_info"}


def test_infos_the_world_does_not_have_are_refused():
    env = gym.make_vec("PerformativePricing-v0", 3)
    with pytest.raises(ValueError, match=r"info_keys must be one of .*got 'sales' \(did you mean 'sale'\?\)"):
        env.report_only(["price", "sales"])
    env.reset(seed=0)
    assert env.step([0, 0, 0])[-1].keys() == {"round", "_round", "price", "_price", "sale", "_sale"}
