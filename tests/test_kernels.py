"""The script that runs the numerical tests as other processors compute leaves out, in words, what it cannot run."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "kernels.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("ci_kernels", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ci_kernels", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("machine", "native", "found", "reason"),
    [
        ("aarch64", "DEFAULT", (0, {"SkylakeX"}, "AVX2"), "those of x86-64, this machine is aarch64"),
        ("x86_64", "AVX2", (0, {"SkylakeX"}, "AVX2"), "need AVX512, this processor has AVX2"),
        ("x86_64", "", (0, {"SkylakeX"}, "AVX2"), "need AVX512, this processor has nothing that PyTorch names"),
        ("x86_64", "AVX512", (-4, set(), ""), "some arithmetic ends with exit code -4"),
        ("x86_64", "AVX512", (0, {"Haswell", "SkylakeX"}, "AVX2"), "OpenBLAS takes Haswell, SkylakeX where SkylakeX"),
        ("x86_64", "AVX512", (0, set(), "AVX2"), "OpenBLAS takes nothing it names"),
        ("x86_64", "AVX512", (0, {"SkylakeX"}, "AVX512"), "PyTorch takes AVX512 where AVX2 is wanted"),
        ("AMD64", "AVX512", (0, {"SkylakeX"}, "AVX2"), ""),
    ],
)
def test_kernels_that_a_machine_does_not_have_are_left_out_with_the_reason(
    script, monkeypatch, machine, native, found, reason
):
    monkeypatch.setattr(script, "probe", lambda settings: found)
    said = script.reason_to_skip(script.CHOICES[1], machine, native)
    assert reason in said
    assert bool(said) == bool(reason)


def test_a_choice_that_the_libraries_do_not_know_is_noticed(script):
    unknown = script.Kernels("nobody", "DEFAULT", "Nonsense", "DEFAULT", {"OPENBLAS_CORETYPE": "Nonsense"})
    assert script.reason_to_skip(unknown, "x86_64", "DEFAULT")


@pytest.mark.parametrize("codes", [[0, 0], [1, 0], [0, 1]])
def test_it_fails_if_the_tests_fail_under_any_kernels(script, monkeypatch, capsys, codes):
    left = list(codes)
    monkeypatch.setattr(script, "probe", lambda settings: (0, set(), "AVX512"))
    monkeypatch.setattr(script, "reason_to_skip", lambda *_: "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=left.pop(0)))
    assert script.main(["-q"]) == max(codes)
    shown = capsys.readouterr().out
    assert shown.count("\n-- kernels of ") == 2
    assert ("tests failed under" in shown) == any(codes)


def test_where_nothing_can_be_run_nothing_fails(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "reason_to_skip", lambda *_: "they are not there")
    monkeypatch.setattr(script, "probe", lambda settings: (0, set(), ""))
    assert script.main([]) == 0
    assert capsys.readouterr().out.count("skipped: kernels of") == 2
