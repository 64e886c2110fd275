"""Bad arguments are refused by name, with the value and what was expected."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.planning import natural_policy_gradient
from agents.retraining.tabular import TabularPolicy
from perf_envs import Dynamics, PerformativeMDP, exact
from perf_envs.tensor_checks import as_policy
from perf_envs.validation import did_you_mean
from perf_envs.wrappers import StateObservation
from tests.perf_envs.worlds import Corridor, make_world

GRID, PRICING, SOFTMAX = "PerformativeGridWorld-v0", "PerformativePricing-v0", "SoftmaxPeMDP-v0"
NAN, INF = float("nan"), float("inf")

OUT_OF_RANGE = [
    *[(GRID, "beta", value) for value in (0.0, -1.0, NAN, INF, "hot", None)],
    *[(GRID, "epsilon", value) for value in (-0.1, 1.1, NAN)],
    *[(GRID, "n_followers", value) for value in (0, -3, 2.5)],
    *[(GRID, "intervention_cost", value) for value in (-0.01, NAN)],
    *[(PRICING, name, value) for name in ("horizon", "inventory") for value in (0, 1.5)],
    *[(PRICING, "n_prices", value) for value in (1, 2.5)],
    *[(PRICING, "min_price", value) for value in (0.0, -1.0)],
    *[(PRICING, "max_price", value) for value in (0.5, NAN)],
    *[(PRICING, "arrival", value) for value in (0.0, 1.2)],
    *[(PRICING, "temperature", value) for value in (0.0, -1.0)],
    *[(PRICING, "shift", value) for value in (-0.5, NAN)],
    *[(PRICING, name, NAN) for name in ("base_willingness", "reference_price")],
    *[(SOFTMAX, name, value) for name in ("n_states", "n_actions") for value in (0, 1.5)],
    *[(SOFTMAX, name, value) for name in ("kappa", "xi") for value in (NAN, INF)],
    *[(SOFTMAX, "instance_seed", value) for value in (-1, 0.5)],
    *[(world, "gamma", value) for world in (GRID, PRICING, SOFTMAX) for value in (0.0, 1.0, -0.5, 1.5, NAN)],
    *[(world, "round_length", value) for world in (GRID, PRICING, SOFTMAX) for value in (0, -1, 10.5, INF)],
    *[(world, "adaptation_rate", value) for world in (GRID, PRICING, SOFTMAX) for value in (0.0, -0.1, 1.1, NAN)],
    *[(world, "deployment", value) for world in (GRID, PRICING, SOFTMAX) for value in ("Observed", "", 3)],
]


@pytest.mark.parametrize(("world_id", "name", "value"), OUT_OF_RANGE)
def test_an_argument_out_of_range_is_named_with_its_value(world_id, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be") as refusal:
        make_world(world_id, **{name: value})
    assert f"got {value!r}" in str(refusal.value)


NEAREST = [("grid", "mandel8x8", "mandal8x8"), ("grid", "SMALL4X4", "small4x4"), ("deployment", "observe", "observed")]


@pytest.mark.parametrize(("name", "value", "nearest"), NEAREST)
def test_a_misspelt_name_is_answered_with_the_nearest_one(name, value, nearest):
    with pytest.raises(ValueError, match=rf"^{name} must be one of .*{nearest}.*did you mean '{nearest}'"):
        make_world(GRID, **{name: value})


def test_nothing_is_suggested_for_a_name_unlike_all_others():
    assert did_you_mean("zzz", ["observed", "declared"]) == ""


WORLDS = ["PerformativeGridWorld-v0", "LinearPricing-v0", "PerformativePricing-v0", "SoftmaxPeMDP-v0"]


@pytest.mark.parametrize("name", ["Ring-v0", "CliffWalking-v0", "MountainCar-v0", "Pendulum-v1", "World", "v0"])
def test_a_name_that_shares_letters_only_is_not_taken_for_a_misspelling(name):
    assert did_you_mean(name, WORLDS) == ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LinearPrising-v0", "LinearPricing-v0"),
        ("linearpricing", "LinearPricing-v0"),
        ("PerformativePricing-v1", "PerformativePricing-v0"),
        ("GridWorld-v0", "PerformativeGridWorld-v0"),
        ("SoftmaxPMDP-v0", "SoftmaxPeMDP-v0"),
    ],
)
def test_a_name_with_a_few_wrong_letters_or_without_its_beginning_is_recognised(name, meant):
    assert did_you_mean(name, WORLDS) == f" (did you mean {meant!r}?)"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.full((2, 2), 0.5, dtype=object), r"\[2, 2\], got ndarray of object with shape \(2, 2\)"),
        (np.full((2, 2), "0.5"), r"\[2, 2\], got ndarray of <U3 with shape \(2, 2\)"),
        ([[0.5, 0.5], [1.0]], r"\[2, 2\], got list with rows of 1 to 2 entries"),
        ("often", r"\[2, 2\], got str"),
        (None, r"\[2, 2\], got NoneType"),
    ],
)
def test_what_is_no_array_of_numbers_is_described(table, message):
    with pytest.raises(ValueError, match=rf"^policy must be an array of numbers {message}$"):
        as_policy(table, 2, 2, "policy")


@pytest.mark.parametrize("bad", ["abc", np.array([None, None]), [[0.5], [0.5, 0.5]]])
def test_numbers_that_are_none_are_refused_by_name(bad):
    problem = make_world("SoftmaxPeMDP-v0").problem
    for name, call in {
        "rho": lambda: PerformativeMDP(problem.response_map, bad, 0.9),
        "logits": lambda: exact.performative_gradient(problem, bad),
        "transitions": lambda: Dynamics.from_dense(bad, np.zeros((2, 2))),
        "features": lambda: natural_policy_gradient(problem, features=bad),
    }.items():
        with pytest.raises(ValueError, match=f"^{name} must be an array of numbers, got"):
            call()


class Counting(gym.Wrapper):
    """Counts actions and states from 1."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = gym.spaces.Discrete(env.unwrapped.n_actions, start=1)

    def step(self, action):
        return self.env.step(action - 1)


def test_states_and_actions_that_are_not_numbered_from_zero_are_refused():
    env, table = gym.make("SoftmaxPeMDP-v0"), np.eye(10)
    with pytest.raises(ValueError, match=r"^action space of env must be numbered from 0.*Discrete\(4, start=1\)"):
        StateObservation(Counting(env), table)
    shown = gym.wrappers.TransformObservation(env, lambda state: state + 1, gym.spaces.Discrete(10, start=1))
    with pytest.raises(ValueError, match=r"Discrete\(10\), got Discrete\(10, start=1\)"):
        StateObservation(shown, table)
    for part, n in (("action_space", 4), ("observation_space", 10)):
        members = {
            part: gym.spaces.Discrete(n, start=1),
            "predict": lambda self, states, deterministic: (states % 4, None),
        }
        with pytest.raises(ValueError, match=rf"^{part} of the policy must be numbered from 0"):
            env.unwrapped.deploy(type("Policy", (), members)())
    assert env.unwrapped.round == 0
    for which in (0, 1):
        spaces = [gym.spaces.Discrete(10), gym.spaces.Discrete(4)]
        spaces[which] = gym.spaces.Discrete(4, start=2)
        with pytest.raises(ValueError, match=r"must count from 0.*start=2"):
            TabularPolicy(*spaces)


GRIDS = {
    "empty": ([], r"non-empty sequence of rows, got \[\]"),
    "not a grid": (7, "non-empty sequence of rows, got 7"),
    "a flat list": ([0.0, 1.0], "row 0 must be a sequence of numbers, got 0.0"),
    "empty rows": ([[], []], r"at least 1, got lengths \[0, 0\]"),
    "ragged characters": (["..G", ".."], r"rows of one length.*\[3, 2\]"),
    "ragged numbers": ([[0.0, 1.0], [0.0]], r"rows of one length.*\[2, 1\]"),
    "too many axes": (np.ones((2, 2, 2)), "row 0 must be a sequence of numbers"),
    "unknown character": ([".?G"], r"row 0 must use the cells \. F H G, got '\?'"),
    "words": ([["a", "b"]], "row 0 must be a sequence of numbers"),
    "NaN": ([[0.0, NAN], [0.0, 1.0]], "row 0, column 1 must be finite, got nan"),
    "infinite": ([[0.0, 0.0], [-INF, 1.0]], "row 1, column 0 must be finite, got -inf"),
    "no goal": (["..", ".H"], r"must have a goal .* is -0\.01"),
    "no goal in numbers": (np.zeros((3, 3)), r"must have a goal .* is 0\.0"),
    "nowhere to start": (["GG", "G."], "first row or column that is not a goal"),
    "nothing but goals": (["GG", "GG"], "first row or column that is not a goal"),
}


@pytest.mark.parametrize(("grid", "message"), GRIDS.values(), ids=GRIDS)
def test_a_bad_grid_is_refused(grid, message):
    with pytest.raises(ValueError, match=f"^grid .*{message}"):
        make_world(GRID, grid=grid)


FOLLOWER_GRIDS = {
    "none": ([], r"follower_grids must hold at least one grid, got \[\]"),
    "a number": (3, "follower_grids must hold at least one grid, got 3"),
    "another shape": (
        [np.zeros((2, 3))],
        r"follower_grids\[0\] must have the shape of the grid, \(2, 2\), got \(2, 3\)",
    ),
    "different shapes": ([np.zeros((2, 2)), np.zeros((1, 2))], r"follower_grids\[1\] .* got \(1, 2\)"),
    "NaN": ([[[0.0, 0.0], [NAN, 1.0]]], r"follower_grids\[0\] at row 1, column 0 must be finite"),
}


@pytest.mark.parametrize(("grids", "message"), FOLLOWER_GRIDS.values(), ids=FOLLOWER_GRIDS)
def test_bad_follower_grids_are_refused(grids, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make_world(GRID, grid=["..", ".G"], follower_grids=grids)


RHOS = {
    "NaN": ([NAN, 1.0], "rho must be finite"),
    "negative": ([-0.5, 1.5], r"rho must be non-negative, got \[-0.5, 1.5\]"),
    "unnormalised": ([0.5, 0.6], r"rho must sum to 1 \(the sum is 1.1\)"),
    "two axes": ([[1.0]], r"rho must have shape \[S\], got \(1, 1\)"),
}


@pytest.mark.parametrize(("rho", "message"), RHOS.values(), ids=RHOS)
def test_a_bad_start_distribution_is_refused(rho, message):
    with pytest.raises(ValueError, match=message):
        PerformativeMDP(Corridor().problem.response_map, rho, 0.9)


def test_a_problem_made_of_a_plain_function_must_be_told_the_number_of_actions():
    with pytest.raises(ValueError, match="n_actions must be given"):
        PerformativeMDP(lambda pi: None, [1.0], 0.9)


def test_a_response_with_another_number_of_states_is_refused():
    problem = PerformativeMDP(Corridor().problem.response_map, [0.5, 0.5], 0.9)
    with pytest.raises(ValueError, match="4 states but rho has 2"):
        problem.unshifted()


@pytest.mark.parametrize("rows", [[[1 / 3, 2 / 3]], ((1 / 3, 2 / 3),), np.array([[1 / 3, 2 / 3]])])
def test_a_policy_keeps_double_precision_whatever_holds_it(rows):
    assert as_policy(rows, 1, 2)[0, 0].item() == 1 / 3


def test_a_single_precision_policy_is_normalised():
    rows = torch.softmax(torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), -1)
    policy = as_policy(rows, 5, 7)
    assert policy.dtype == torch.float64
    torch.testing.assert_close(policy.sum(-1), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(policy.float(), rows)


@pytest.mark.parametrize("view", [np.broadcast_to([0.25, 0.75], (3, 2)), np.array([[0.25, 0.75]] * 3)[::-1]])
def test_read_only_arrays_and_views_are_policies_too(view):
    np.testing.assert_array_equal(as_policy(view, 3, 2), [[0.25, 0.75]] * 3)


def test_a_policy_keeps_its_autograd_history():
    pi = torch.full((2, 2), 0.5, dtype=torch.float64, requires_grad=True)
    assert as_policy(pi, 2, 2) is pi
