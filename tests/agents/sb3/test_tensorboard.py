import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import DeployCallback
from agents import make_vec_env as make_world
from tests.agents.sb3.algorithms import ACTION_ENVS, every_algorithm


def scalars(folder):
    events = EventAccumulator(str(folder)).Reload()
    return {key: events.Scalars(key) for key in events.Tags()["scalars"]}


@every_algorithm
def test_everything_users_look_for_is_logged(case, tmp_path):
    model = case.make("MlpPolicy", IdentityEnv(2, ep_length=10), tensorboard_log=str(tmp_path))
    model.learn(64, log_interval=1, tb_log_name="run")
    logged = scalars(tmp_path / "run_1")
    assert case.logged <= set(logged)
    assert [event.step for event in logged["time/fps"]] == list(range(model.n_steps, 65, model.n_steps))
    assert "train/std" not in logged


@every_algorithm
def test_continuous_policies_log_their_deviation(case, tmp_path):
    if "Box" not in case.actions:
        pytest.skip("it does not take these actions")
    model = case.make("MlpPolicy", ACTION_ENVS["Box"](), tensorboard_log=str(tmp_path))
    model.learn(64, log_interval=1, tb_log_name="run")
    assert scalars(tmp_path / "run_1")["train/std"][0].value == pytest.approx(1.0, abs=0.5)


@every_algorithm
def test_runs_are_told_apart_and_continued(case, tmp_path):
    model = case.make("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2), tensorboard_log=str(tmp_path))
    model.learn(32, log_interval=1, tb_log_name="first")
    model.learn(32, log_interval=1, tb_log_name="first")
    model.learn(32, log_interval=1, tb_log_name="first", reset_num_timesteps=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first_1", "first_2"]
    # Files of one second are read in the order of their names, in which the tenth comes before the ninth.
    events = sorted(scalars(tmp_path / "first_2")["time/fps"], key=lambda event: event.wall_time)
    assert [event.step for event in events] == [32, 64]


@every_algorithm
def test_deployments_are_logged(case, tmp_path):
    venv = make_world("PerformativePricing-v0", n_envs=2, seed=0)
    model = case.make("MlpPolicy", venv, tensorboard_log=str(tmp_path))
    rollout = model.n_steps * 2
    model.learn(3 * rollout, log_interval=1, tb_log_name="run", callback=DeployCallback())
    logged = scalars(tmp_path / "run_1")
    assert [event.value for event in logged["perf/round"]] == [1.0, 2.0, 3.0]
    assert all(event.value >= 0.0 for event in logged["perf/shift"])
