"""Time to import the packages and to show the help of the command line, beside the import of Gymnasium.

    python benchmarks/import_time.py

Each is run in processes of its own, all of them in turn, and counted in processor time, of which the least is taken: it
hardly depends on what else the machine does. An idle Python is subtracted nowhere; its line says what it takes.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the children have it from here

import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 7
REFERENCE = "import gymnasium"
COMMANDS = {
    "python alone": ["-c", "pass"],
    REFERENCE: ["-c", "import gymnasium"],
    "import perf_envs": ["-c", "import perf_envs"],
    "import agents": ["-c", "import agents"],
    "import train": ["-c", "import train"],
    "python -m train --help": ["-m", "train", "--help"],
    "python -m train run --help": ["-m", "train", "run", "--help"],
    "import torch": ["-c", "import torch"],
    "a world, made and played": [
        "-c",
        "import gymnasium, perf_envs; env = gymnasium.make('PerformativePricing-v0'); env.reset(), env.step(0)",
    ],
    "from agents import PePG": ["-c", "from agents import PePG"],
}


def processor_seconds(arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    seconds = {name: [] for name in COMMANDS}
    for repeat in range(REPEATS + 1):
        for name, arguments in COMMANDS.items():
            taken = processor_seconds(arguments)
            if repeat:  # the first reads files and writes bytecode
                seconds[name].append(taken)
    least = {name: min(taken) for name, taken in seconds.items()}
    print(f"least processor time of {REPEATS} processes")
    print(f"{'':<30}{'s':>8}{'/ gymnasium':>14}")
    for name, taken in least.items():
        print(f"{name:<30}{taken:>8.3f}{taken / least[REFERENCE]:>14.2f}")


if __name__ == "__main__":
    main()
