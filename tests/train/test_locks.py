import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from train.locks import at_work_in, awaited, claimed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pepg" / "World-v0" / "seed_0"


@pytest.fixture
def let_go(folder: Path) -> Iterator[threading.Event]:
    """Somebody else, another thread, who works in the folder until told to let go."""
    holds, let_go = threading.Event(), threading.Event()

    def work() -> None:
        with claimed(folder), at_work_in(folder.parent):
            holds.set()
            let_go.wait(60)

    other = threading.Thread(target=work)
    other.start()
    assert holds.wait(60)
    yield let_go
    let_go.set()
    other.join()


@pytest.mark.usefixtures("let_go")
def test_who_claims_a_folder_in_use_is_told_by_whom(folder: Path) -> None:
    with (
        pytest.raises(ValueError, match=rf"seed_0 is in use by process {os.getpid()} on .*: wait .* --out"),
        claimed(folder),
    ):
        pass


@pytest.mark.parametrize("kind", ["run", "folder"])
def test_who_waits_says_for_whom_and_goes_on_when_the_other_is_done(
    kind: str, folder: Path, let_go: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    timer = threading.Timer(0.3, let_go.set)
    timer.start()
    with awaited(folder) if kind == "run" else at_work_in(folder.parent):
        assert let_go.is_set()
    timer.join()
    assert f"by process {os.getpid()}" in capsys.readouterr().err


def test_who_holds_a_folder_may_claim_it_again_and_lets_go_once(folder: Path) -> None:
    with awaited(folder), claimed(folder):
        with claimed(folder):
            pass
        assert folder.with_name(".seed_0.holder").is_file(), "it is held still"
    assert not folder.with_name(".seed_0.holder").exists()
    with claimed(folder):
        pass
