import pytest

from perf_envs.exact import optima


@pytest.fixture
def empty_shelf(tmp_path, monkeypatch):
    """Keep what is saved here away from the data of the package."""
    monkeypatch.setattr(optima, "DATA", tmp_path / "optima")
    optima._read.cache_clear()
    optima._known.clear()
    yield
    monkeypatch.undo()
    optima._read.cache_clear()
    optima._known.clear()
