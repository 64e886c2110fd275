import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv

from tests.agents.sb3.algorithms import every_algorithm


class Counter(BaseCallback):
    """Counts how often each of its methods is called; stops after ``limit`` steps."""

    def __init__(self, limit=None):
        super().__init__()
        self.limit, self.calls = limit, {"start": 0, "rollout": 0, "step": 0, "rollout_end": 0, "end": 0}

    def _on_training_start(self):
        self.calls["start"] += 1

    def _on_rollout_start(self):
        self.calls["rollout"] += 1

    def _on_step(self):
        self.calls["step"] += 1
        assert {"rewards", "dones", "infos", "actions"} <= set(self.locals)
        return self.limit is None or self.calls["step"] < self.limit

    def _on_rollout_end(self):
        self.calls["rollout_end"] += 1

    def _on_training_end(self):
        self.calls["end"] += 1


def cartpole():
    return make_vec_env("CartPole-v1", n_envs=2, seed=0)


@every_algorithm
def test_callbacks_are_called_when_they_should_be(case):
    model, counter = case.make("MlpPolicy", cartpole(), n_steps=8), Counter()
    model.learn(48, callback=counter)
    assert counter.calls == {"start": 1, "rollout": 3, "step": 24, "rollout_end": 3, "end": 1}


@every_algorithm
def test_a_callback_can_stop_the_training(case):
    model = case.make("MlpPolicy", cartpole(), n_steps=8)
    model.learn(1000, callback=Counter(limit=11))
    assert model.num_timesteps == 22
    model.learn(16, reset_num_timesteps=False)  # and it can go on


@every_algorithm
def test_a_function_is_a_callback_too(case):
    model = case.make("MlpPolicy", cartpole(), n_steps=8)
    model.learn(1000, callback=lambda local, _: local["self"].num_timesteps < 10)
    assert model.num_timesteps == 10


@every_algorithm
def test_checkpoints_and_evaluations(case, tmp_path):
    model = case.make("MlpPolicy", IdentityEnv(2, ep_length=10))
    evaluation = EvalCallback(
        make_vec_env(lambda: IdentityEnv(2, ep_length=10)),
        callback_on_new_best=StopTrainingOnRewardThreshold(reward_threshold=-1.0),
        eval_freq=32,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        verbose=0,
    )
    checkpoints = CheckpointCallback(16, str(tmp_path), name_prefix="model")
    model.learn(1000, callback=CallbackList([checkpoints, evaluation]))
    assert model.num_timesteps == 32  # the threshold was passed at the first evaluation
    assert {"best_model.zip", "model_16_steps.zip", "model_32_steps.zip"} <= {path.name for path in tmp_path.iterdir()}
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [32]
    case.build.load(tmp_path / "model_16_steps", env=IdentityEnv(2), device="cpu").learn(16)


@every_algorithm
def test_events_and_episodes_can_be_counted(case):
    times = []

    class Note(BaseCallback):
        def _on_step(self):
            times.append(self.num_timesteps)
            return True

    model = case.make("MlpPolicy", IdentityEnv(2, ep_length=8))  # GRPO has no episode go on into the next rollout
    model.learn(
        1000,
        callback=[EveryNTimesteps(20, Note()), StopTrainingOnMaxEpisodes(max_episodes=6)],
    )
    assert times == [20, 40]
    assert model.num_timesteps == 48


@every_algorithm
def test_progress_can_be_shown(case, capsys):
    pytest.importorskip("tqdm.rich")
    case.make("MlpPolicy", cartpole()).learn(64, progress_bar=True)
    assert "100%" in capsys.readouterr().out
