import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.vec_env import VecTransposeImage, is_vecenv_wrapped

from tests.agents.sb3.algorithms import every_algorithm

SMALL = {"features_extractor_kwargs": {"features_dim": 16}}


class PaidImages(FakeImageEnv):
    """Pays for large actions: Stable-Baselines3's own environment pays nothing, so there would be nothing to learn."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(np.sum(action)), terminated, truncated, info


def images(channel_first=False, discrete=True):
    return PaidImages(screen_height=40, screen_width=36, n_channels=1, channel_first=channel_first, discrete=discrete)


@pytest.mark.parametrize("discrete", [True, False])
@every_algorithm
def test_convolutions_are_trained(case, discrete):
    if not discrete and "Box" not in case.actions:
        pytest.skip("it does not take these actions")
    model = case.make("CnnPolicy", make_vec_env(lambda: images(discrete=discrete), n_envs=2), policy_kwargs=SMALL)
    assert is_vecenv_wrapped(model.get_env(), VecTransposeImage)
    kernel = model.policy.features_extractor.cnn[0].weight
    before = kernel.detach().clone()
    model.learn(64)
    assert torch.isfinite(kernel).all()
    assert not torch.equal(kernel, before)


@every_algorithm
def test_channels_may_come_first_or_last(case, tmp_path):
    model = case.make("CnnPolicy", images(), policy_kwargs=SMALL).learn(32)
    image = images().observation_space.sample()
    last, _ = model.predict(image, deterministic=True)
    first, _ = model.predict(np.transpose(image, (2, 0, 1)), deterministic=True)
    assert last == first
    model.save(tmp_path / "model")
    loaded = case.build.load(tmp_path / "model", device="cpu")
    assert loaded.predict(image, deterministic=True)[0] == last
    assert not is_vecenv_wrapped(
        case.make("CnnPolicy", images(channel_first=True), policy_kwargs=SMALL).get_env(), VecTransposeImage
    )


@pytest.mark.parametrize("share", [True, False])
@every_algorithm
def test_actor_and_critic_may_have_extractors_of_their_own(case, share):
    model = case.make("CnnPolicy", images(), policy_kwargs={**SMALL, "share_features_extractor": share}).learn(32)
    assert (model.policy.pi_features_extractor is model.policy.vf_features_extractor) == share
