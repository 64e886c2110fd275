import warnings

import pytest


@pytest.fixture(autouse=True)
def _ordinary_environments_are_meant_here():
    """Most of these tests are about Stable-Baselines3, in environments that answer to nobody."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the environment has no response map", category=UserWarning)
        yield
