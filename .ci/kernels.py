"""Run the numerical tests as other processors compute.

OpenBLAS (under NumPy and SciPy), MKL and ATen (under PyTorch), NumPy itself and the C library choose their kernels by
the processor they find. Kernels differ in the order of sums and in fused multiply-add, and so in the last bits of
nearly every number: a test that holds with one processor's alone is a test of that processor. Environment variables
choose for them here. What a machine cannot run is left out and said.

Usage: python kernels.py [PYTEST ARGUMENTS]
"""

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
#: Where sums and solvers decide digits. Pictures, registration, wrappers, pickling and the bookkeeping of rounds are
#: left out, and so are slow tests, which repeat at a larger size what others do at a smaller.
NUMERICAL = [
    "tests/perf_envs/exact",
    *(
        f"tests/perf_envs/test_{name}.py"
        for name in (
            *("banded", "blocks", "dynamics", "first_root", "fit", "gradual_shift", "gridworld", "linear_demand"),
            *("linear_deployment", "linear_pricing", "pricing", "quantised_ties", "revision", "robustness"),
            "softmax_pemdp",
        )
    ),
    "tests/agents/planning",
    "tests/agents/retraining",
    "tests/theory",
]
#: What PyTorch can use, each including those before.
LEVELS = ["DEFAULT", "AVX2", "AVX512"]
#: Says what the libraries have chosen: OpenBLAS on standard error, once for NumPy and once for SciPy.
PROBE = """
import numpy as np, scipy.linalg, torch
matrix = np.random.default_rng(0).standard_normal((65, 65))
scipy.linalg.solve(matrix, np.linalg.solve(matrix, matrix @ matrix))
torch.from_numpy(matrix).exp().matmul(torch.from_numpy(matrix))
print("ATen:", torch.backends.cpu.get_cpu_capability())
"""


@dataclass(frozen=True)
class Kernels:
    """A choice of kernels.

    Attributes:
        name: what it is called here.
        needs: the level of PyTorch's kernels that the processor must have.
        core: what OpenBLAS reports to have chosen.
        aten: what PyTorch reports.
        settings: the environment variables that ask for it.
    """

    name: str
    needs: str
    core: str
    aten: str
    settings: dict[str, str] = field(default_factory=dict)


#: NumPy's own kernels beyond the oldest ones that this processor can run.
NUMPY_EXTENSIONS = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])

# As far apart as one machine can take them: no AVX and no fused multiply-add anywhere, and the widest vectors.
CHOICES = [
    Kernels(
        "the oldest x86-64 processors",
        "DEFAULT",
        "Katmai",
        "DEFAULT",
        {
            "OPENBLAS_CORETYPE": "Prescott",
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "NPY_DISABLE_CPU_FEATURES": " ".join(NUMPY_EXTENSIONS),
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F",
        },
    ),
    Kernels(
        "processors with AVX-512, and PyTorch at AVX2",
        "AVX512",
        "SkylakeX",
        "AVX2",
        {"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"},
    ),
]


def probe(settings: dict[str, str]) -> tuple[int, set[str], str]:
    """Return the exit code of some arithmetic under the settings, OpenBLAS's choices, and PyTorch's."""
    environment = {**os.environ, **settings, "OPENBLAS_VERBOSE": "2"}
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=False)
    shown = done.stdout + done.stderr
    return done.returncode, set(re.findall(r"^Core: (\S+)", shown, re.MULTILINE)), _last(r"ATen: (\S+)", shown)


def _last(pattern: str, text: str) -> str:
    return (re.findall(pattern, text) or [""])[-1]


def reason_to_skip(kernels: Kernels, machine: str, native: str) -> str:
    """Return why this machine cannot run these kernels, or nothing.

    Args:
        kernels: those in question.
        machine: the architecture.
        native: PyTorch's choice where nothing is asked for.
    """
    if machine.lower() not in ("x86_64", "amd64"):
        return f"they are those of x86-64, this machine is {machine}"
    if native not in LEVELS or LEVELS.index(native) < LEVELS.index(kernels.needs):
        return f"they need {kernels.needs}, this processor has {native or 'nothing that PyTorch names'}"
    code, cores, aten = probe(kernels.settings)
    if code != 0:
        return f"under them some arithmetic ends with exit code {code}"
    if cores != {kernels.core}:
        return f"OpenBLAS takes {', '.join(sorted(cores)) or 'nothing it names'} where {kernels.core} is wanted"
    return "" if aten == kernels.aten else f"PyTorch takes {aten} where {kernels.aten} is wanted"


def main(arguments: list[str]) -> int:
    """Run the tests under every choice of kernels; return 1 if any failed."""
    failed = []
    _, _, native = probe({})
    for kernels in CHOICES:
        settings = " ".join(f"{name}={value!r}" for name, value in kernels.settings.items())
        reason = reason_to_skip(kernels, platform.machine(), native)
        if reason:
            print(f"\n-- skipped: kernels of {kernels.name}: {reason}", flush=True)
            continue
        print(f"\n-- kernels of {kernels.name}: {settings}", flush=True)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", *NUMERICAL, *arguments]
        if subprocess.run(command, env={**os.environ, **kernels.settings}, cwd=ROOT, check=False).returncode:
            failed.append(kernels.name)
    if failed:
        print(f"\ntests failed under the kernels of {' and of '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
