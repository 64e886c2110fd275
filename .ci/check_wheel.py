"""Check that a built wheel holds the three packages, complete, and nothing else.

Usage: python check_wheel.py WHEEL SITE, where SITE is the directory the wheel was installed into.
"""

import sys
import zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "performative-rl"
PACKAGES = {"perf_envs", "agents", "train"}


def source_files() -> set[str]:
    """Return the files of the packages in the source tree, relative to the repository."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    relative = (path.relative_to(ROOT) for path in files)
    return {
        path.as_posix()
        for path in relative
        if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    }


def problems(wheel: Path, site: Path) -> list[str]:
    """Return what is wrong with the wheel and its installation, one line each."""
    names = set(zipfile.ZipFile(wheel).namelist())
    top_level = {name.split("/")[0] for name in names}
    packages = {name for name in top_level if not name.endswith(".dist-info")}
    found = []
    if packages != PACKAGES:
        found.append(f"top-level names are {sorted(packages)}, expected {sorted(PACKAGES)}")
    found += [f"missing from the wheel: {name}" for name in sorted(source_files() - names)]

    installed = {dist.name: dist for dist in metadata.distributions(path=[str(site)])}
    if set(installed) != {NAME}:
        return [*found, f"installed distributions are {sorted(installed)}, expected only {NAME}"]
    scripts = [entry.name for entry in installed[NAME].entry_points.select(group="console_scripts")]
    if NAME not in scripts:
        found.append(f"no command {NAME!r} among the scripts {scripts}")
    found += [f"not installed: {name}" for name in sorted(PACKAGES) if not (site / name).is_dir()]
    return found


def main() -> int:
    """Print the verdict; return 1 when the wheel is wrong."""
    wheel, site = Path(sys.argv[1]), Path(sys.argv[2])
    found = problems(wheel, site)
    for line in found:
        print(f"  {line}")
    verdict = "FAILED" if found else f"holds {', '.join(sorted(PACKAGES))} and nothing else"
    print(f"{wheel.name}: {verdict}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
