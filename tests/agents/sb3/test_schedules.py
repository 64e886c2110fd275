import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule

from agents.common.schedules import ramp
from tests.agents.sb3.algorithms import every_algorithm


class Rates(BaseCallback):
    """Notes the learning rate of the optimiser at the start of every rollout."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _on_rollout_start(self):
        self.seen.append(self.model.policy.optimizer.param_groups[0]["lr"])

    def _on_step(self):
        return True


def rates(case, learning_rate, calls=1):
    callback = Rates()
    model = case.make("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2), n_steps=8, learning_rate=learning_rate)
    for _ in range(calls):
        model.learn(64, callback=callback)
    return callback.seen


@every_algorithm
def test_a_number_stays(case):
    assert rates(case, 0.01) == [0.01] * 4


@pytest.mark.parametrize("schedule", [lambda remaining: 0.1 * remaining, LinearSchedule(0.1, 0.0, 1.0)])
@every_algorithm
def test_a_schedule_is_followed(case, schedule):
    # A rollout is a quarter of the training; its update comes after it.
    assert rates(case, schedule) == pytest.approx([0.1, 0.075, 0.05, 0.025])


@every_algorithm
def test_a_schedule_starts_again_with_every_training(case):
    assert rates(case, ramp(1.0, 0.0, 0.1), calls=2) == pytest.approx(
        [0.0, 0.025, 0.05, 0.075, 0.1, 0.025, 0.05, 0.075]
    )


@every_algorithm
def test_a_schedule_is_saved_with_the_model(case, tmp_path):
    model = case.make("MlpPolicy", "CartPole-v1", learning_rate=ramp(1.0, 0.2, 0.1))
    model.save(tmp_path / "model")
    loaded = case.build.load(tmp_path / "model", device="cpu")
    assert loaded.lr_schedule(0.5) == pytest.approx(0.15)
