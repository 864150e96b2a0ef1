"""Do the pins, pyproject.toml and (with --installed) this environment say the same thing?

    python requirements/check.py [--installed]

Exits 1 and prints one line per disagreement.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
# Environments: the files that make them, and the extras of pyproject.toml that they must satisfy.
ENVIRONMENTS = (
    (
        ("build.txt", "cpu.txt", "cluster.txt", "dev.txt", "docs.txt"),
        ("cpu", "mining", "service", "tensorboard", "workspace", "dev", "docs"),
    ),
    (("build.txt", "gpu.txt"), ("gpu", "mining", "service")),
)
INSTALLED_FILES = ("build.txt", "cpu.txt", "dev.txt")  # what `make setup` installs
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+]+)")


def read_pins(path: Path) -> tuple[dict[NormalizedName, str], list[str]]:
    """The pins of one file by canonical name, and a line for everything in it that is not an exact, unique pin."""
    pins: dict[NormalizedName, str] = {}
    problems: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        match = _PIN.fullmatch(text)
        if match is None:
            problems.append(f"{path.name}:{number}: {text!r} is not an exact pin; write name==version")
            continue
        name = canonicalize_name(match["name"])
        if name in pins:
            problems.append(f"{path.name}:{number}: {name} is pinned twice in this file")
        pins[name] = match["version"]
    return pins, problems


def declared(project: Mapping[str, object], extras: tuple[str, ...]) -> Iterator[tuple[str, Requirement]]:
    """Every requirement of pyproject.toml's ``[project]`` table that an environment must satisfy, with where it was declared."""
    tables: dict[str, list[str]] = {"dependencies": project["dependencies"]}  # type: ignore[dict-item]
    optional: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    tables |= {f"extra {extra!r}": optional[extra] for extra in extras}
    for where, lines in tables.items():
        for line in lines:
            yield where, Requirement(line)


def disagreements(root: Path = ROOT) -> list[str]:
    """Pins against pins, and pyproject.toml against pins."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    problems = [line for files, extras in ENVIRONMENTS for line in _of_environment(root, files, extras, pyproject["project"])]
    for line in pyproject["build-system"]["requires"]:
        if canonicalize_name(Requirement(line).name) not in read_pins(root / "requirements" / "build.txt")[0]:
            problems.append(f"pyproject.toml build-system: {line} is not pinned in build.txt")
    return problems


def _of_environment(root: Path, files: tuple[str, ...], extras: tuple[str, ...], project: Mapping[str, object]) -> list[str]:
    problems: list[str] = []
    pins: dict[NormalizedName, str] = {}
    for name in files:
        found, complaints = read_pins(root / "requirements" / name)
        problems += complaints
        for package, version in found.items():
            if pins.setdefault(package, version) != version:
                problems.append(f"{name}: {package}=={version}, but another requirements file pins {pins[package]}")
    for where, requirement in declared(project, extras):
        pinned = pins.get(canonicalize_name(requirement.name))
        if pinned is None:
            problems.append(f"pyproject.toml {where}: {requirement} is pinned in none of {', '.join(files)}")
        elif not requirement.specifier.contains(Version(pinned), prereleases=True):
            problems.append(f"pyproject.toml {where}: {requirement} excludes the pinned {pinned}")
    return problems


def environment_disagreements(root: Path = ROOT) -> list[str]:
    """Pins against what is installed beside this interpreter."""
    installed = {canonicalize_name(d.name): d.version for d in distributions() if d.name}
    problems: list[str] = []
    for name in INSTALLED_FILES:
        for package, version in read_pins(root / "requirements" / name)[0].items():
            found = installed.get(package)
            if found != version:
                problems.append(f"{name}: {package}=={version} expected, {found or 'nothing'} installed; run `make setup`")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--installed", action="store_true", help="also compare with the packages beside this interpreter")
    arguments = parser.parse_args()
    problems = disagreements() + (environment_disagreements() if arguments.installed else [])
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
