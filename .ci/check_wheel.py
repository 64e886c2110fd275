"""Check that a built wheel holds the three packages, complete, and nothing else, and asks for what pyproject.toml says.

Usage: python check_wheel.py WHEEL SITE, where SITE is the directory the wheel was installed into.
"""

import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

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


def written(requirements: Iterable[str]) -> set[str]:
    """Return requirements in one way of writing, without the extra that they belong to."""
    parsed = [Requirement(requirement) for requirement in requirements]
    return {f"{r.name.lower().replace('_', '-')}[{','.join(sorted(r.extras))}]{r.specifier}" for r in parsed}


def wrong_requirements(distribution: metadata.Distribution) -> list[str]:
    """Return where the requirements of an installed wheel are not those of pyproject.toml, by extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"": project["dependencies"], **project["optional-dependencies"]}
    built: dict[str, list[str]] = {"": [], **{name: [] for name in distribution.metadata.get_all("Provides-Extra", [])}}
    for requirement in distribution.requires or []:
        marker = Requirement(requirement).marker
        owners = [""] if marker is None else [name for name in built if name and marker.evaluate({"extra": name})]
        for name in owners:
            built[name].append(requirement)
    found = []
    for name in sorted({*wanted, *built}):
        what = f"extra {name!r}" if name else "the project itself"
        if name not in wanted or name not in built:
            found.append(f"{what} is only in {'the wheel' if name in built else 'pyproject.toml'}")
        elif written(wanted[name]) != written(built[name]):
            found.append(f"{what} needs {sorted(written(built[name]))}, expected {sorted(written(wanted[name]))}")
    return found


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
    found += wrong_requirements(installed[NAME])
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
