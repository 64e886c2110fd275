"""Running tests in forks of a process that has imported the libraries, and noting which lines they execute."""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import arch  # noqa: F401 the libraries of the tests, imported once for all forks
import clarabel  # noqa: F401
import hypothesis  # noqa: F401
import pygame  # noqa: F401
import pytest
import rliable.metrics  # noqa: F401
import sb3_contrib  # noqa: F401
import scipy.optimize  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".mutants_cache"


def forked(work, limit, output):
    """Return the exit status of ``work()`` in a child of its own session, ended after ``limit`` seconds."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setsid()
            signal.alarm(int(limit) + 1)
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1), os.dup2(descriptor, 2)
            status = int(work())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it has started
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def run_pytest(tests, scratch, plugins=()):
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(scratch / "hypothesis")
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", f"--basetemp={scratch / 'tmp'}", f"--rootdir={ROOT}"]
    return pytest.main([*options, *([] if plugins else ["-x"]), *tests], plugins=list(plugins))


class Coverage:
    """Which lines of the packages each passing test executes, and how long it takes."""

    def __init__(self, paths):
        self.paths, self.now, self.tests = paths, set(), {}

    def _call(self, frame, event, argument):
        path = self.paths.get(frame.f_code.co_filename)
        if path is None:
            return None
        seen = self.now

        def line(frame, event, argument):
            seen.add((path, frame.f_lineno))
            return line

        return line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        """Note the lines of one test."""
        self.now.clear()
        self.failed, start = False, time.perf_counter()
        sys.settrace(self._call)
        result = yield
        sys.settrace(None)
        if not self.failed:
            self.tests[item.nodeid] = [time.perf_counter() - start, sorted(self.now)]
        return result

    def pytest_runtest_logreport(self, report):
        """Note that a test does not pass."""
        self.failed = self.failed or report.outcome != "passed"


def covered(test_file, files, scratch):
    """Return what each test of a file executes of ``files``, ``{test: [seconds, [[path, line], ...]]}``.

    It is kept until one of the files changes.
    """
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in [ROOT / test_file, *files])).hexdigest()[:16]
    kept = CACHE / f"{test_file.replace('/', '-')}-{digest}.json"
    if not kept.exists():

        def measure():
            coverage = Coverage({str(file): str(file.relative_to(ROOT)) for file in files})
            status = run_pytest([test_file], scratch, [coverage])
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(coverage.tests))
            return status

        status = forked(measure, 1800, scratch / "output")
        if status not in {0, 5}:  # 5: there are no tests
            print(
                f"{test_file}: exit {status} before any change\n{(scratch / 'output').read_text()[-2000:]}", flush=True
            )
    return json.loads(kept.read_text()) if kept.exists() else {}
