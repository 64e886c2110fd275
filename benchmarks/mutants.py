"""Which one-line mistakes do the tests notice? Mutants of the core, the agents and the statistics, and who survives.

    python benchmarks/mutants.py [-n 350] [--seed 0] [--package pepg deep] [--under agents/pepg/response.py]

A process that has imported the libraries, but none of our packages, forks once per mutant: the child compiles the
changed line in place of the file's (no file is touched) and runs the tests that execute this line, shortest first, to
the first failure. ``docs/mutants.md`` says what is changed, and what the rates are.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch start their threads
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # pytest's plugins want to be imported after pytest has started

import argparse
import ast
import importlib.machinery
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from forked_tests import ROOT, covered, forked, run_pytest
from mutations import mutations

#: Package: the files that are changed, and the tests among which those that execute a changed line are found.
PACKAGES = {
    "exact": (
        ["perf_envs/exact"],
        ["perf_envs/exact", "theory/test_*.py", "agents/planning/test_stable*.py", "perf_envs/test_ro*.py"],
    ),
    "responses": (
        ["perf_envs/worlds", "perf_envs/perception.py"],
        [f"perf_envs/{name}.py" for name in ("test_[bgs]*", "test_pri*", "test_ro*", "test_linear_d*")]
        + ["perf_envs/test_fit.py", "perf_envs/exact/test_[cg]*.py"],
    ),
    "core": (
        [f"perf_envs/{name}.py" for name in ("tabular_rounds", "rounds", "vector", "sampling", "fit")],
        [
            f"perf_envs/test_{name}.py"
            for name in ("deployment", "rounds", "policy_tables", "linear_[dp]*", "vector", "fit", "unanswered")
        ],
    ),
    "pepg": (
        ["agents/pepg"],
        ["agents/test_pepg*.py", "agents/test_deploy*.py", "agents/test_evaluating.py", "agents/pepg"],
    ),
    "deep": (["agents/deep"], ["agents/deep"]),
    "retraining": (["agents/retraining"], ["agents/retraining"]),
    "statistics": (
        ["train/report/statistics.py", "train/evaluators.py", "train/evaluation.py"],
        ["train/test_statistics.py", "train/test_evaluation.py", "train/test_continuous*.py"],
    ),
}


class Mutant(NamedTuple):
    """A changed line."""

    path: str
    line: int
    old: str
    new: str
    source: str


def files_of(package):
    found = [ROOT / name for name in PACKAGES[package][0]]
    return sorted(file for name in found for file in (name.rglob("*.py") if name.is_dir() else [name]))


def tests_of(package):
    found = [file for name in PACKAGES[package][1] for file in (ROOT / "tests").glob(name)]
    found = [file for name in found for file in (name.rglob("test_*.py") if name.is_dir() else [name])]
    return sorted({str(file.relative_to(ROOT)) for file in found})


def mutants_of(package, count, rng, under):
    """Draw ``count`` lines and one mutant of each."""
    lines = defaultdict(list)
    for file in files_of(package):
        path, source = str(file.relative_to(ROOT)), file.read_text()
        if path.startswith(under):
            for line, changed in mutations(source):
                old, new = (text.splitlines()[line - 1].strip() for text in (source, changed))
                lines[path, line].append(Mutant(path, line, old, new, changed))
    drawn = rng.sample(sorted(lines), min(count, len(lines)))
    return [rng.choice(lines[line]) for line in drawn]


def runs_on_import(mutant):
    functions = [node for node in ast.walk(ast.parse(mutant.source)) if isinstance(node, ast.FunctionDef)]
    return not any(node.body[0].lineno <= mutant.line <= node.end_lineno for node in functions)


def chosen(mutant, executed, budget):
    """Return ``{test: seconds}`` of the tests that execute the line (of the module, if it runs on import)."""
    whole = runs_on_import(mutant)
    hits = {
        test: took
        for test, (took, lines) in executed.items()
        if any(path == mutant.path and (whole or line == mutant.line) for path, line in lines)
    }
    tests = {}
    for test, took in sorted(hits.items(), key=lambda pair: pair[1]):
        if not tests or sum(tests.values()) + took <= budget:
            tests[test] = took
    return tests


def outcome(mutant, tests, scratch):
    """Return ``killed``, ``survived`` or ``timed out``."""
    if not tests:
        return "survived"
    whole = str(ROOT / mutant.path)

    def work():
        get_code = importlib.machinery.SourceFileLoader.get_code

        def changed(loader, name):
            return compile(mutant.source, whole, "exec") if loader.path == whole else get_code(loader, name)

        importlib.machinery.SourceFileLoader.get_code = changed
        return run_pytest(list(tests), scratch)

    status = forked(work, 60 + 10 * sum(tests.values()), scratch / "output")
    shutil.rmtree(scratch / "tmp", ignore_errors=True)
    return "survived" if status == 0 else "timed out" if status == -signal.SIGALRM else "killed"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=350, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--package", nargs="+", choices=list(PACKAGES), default=list(PACKAGES))
    parser.add_argument("--under", default="", help="only files whose path starts so")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests per mutant, the shortest first")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sizes = {package: sum(len(file.read_text()) for file in files_of(package)) for package in arguments.package}
    table = [f"{'package':12}{'mutants':>9}{'killed':>9}{'survived':>10}{'timed out':>11}{'rate':>7}"]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for package, size in sizes.items():
            count = round(arguments.n * size / sum(sizes.values()))
            drawn = mutants_of(package, count, random.Random(f"{package} {arguments.seed}"), arguments.under)
            executed = {}
            for file in tests_of(package):
                executed |= covered(file, [file for every in PACKAGES for file in files_of(every)], scratch)
            found = Counter()
            for mutant in drawn:
                tests = chosen(mutant, executed, arguments.budget)
                result = outcome(mutant, tests, scratch)
                found[result] += 1
                if result != "killed":
                    remark = "" if tests else ", no test executes it"
                    print(
                        f"{mutant.path}:{mutant.line}: {result}{remark}\n  - {mutant.old}\n  + {mutant.new}", flush=True
                    )
                print(f"{package} {found.total()}/{len(drawn)}", end="\r", file=sys.stderr, flush=True)
            killed, survived, late = found["killed"], found["survived"], found["timed out"]
            rate = f"{(killed + late) / max(len(drawn), 1):.0%}"
            table.append(f"{package:12}{len(drawn):9}{killed:9}{survived:10}{late:11}{rate:>7}")
            print(f"{table[-1]}\n", flush=True)
    print("\n".join(table))


if __name__ == "__main__":
    main()
