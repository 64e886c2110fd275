import numpy as np
import pytest

from agents import DeployCallback
from agents import make_vec_env as make_world
from tests.agents.sb3.algorithms import ACTION_ENVS, every_algorithm
from tests.worlds import CONTINUOUS_WORLDS, TABULAR_WORLDS


def trained(model, callback=None):
    model.learn(96, callback=callback)
    return np.concatenate([part.detach().numpy().ravel() for part in model.policy.parameters()])


@pytest.mark.parametrize("kind", ACTION_ENVS)
@every_algorithm
def test_a_seed_decides_everything(case, kind):
    if kind not in case.actions:
        pytest.skip("it does not take these actions")
    first, second, other = (trained(case.make("MlpPolicy", ACTION_ENVS[kind](), seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("env_id", [*TABULAR_WORLDS, *CONTINUOUS_WORLDS])
@every_algorithm
def test_a_seed_decides_everything_in_worlds_that_answer(case, env_id):
    if ("Box" if env_id in CONTINUOUS_WORLDS else "Discrete") not in case.actions:
        pytest.skip("it does not take this world's actions")
    first, second = (
        trained(case.make("MlpPolicy", make_world(env_id, n_envs=2), seed=3), DeployCallback()) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
