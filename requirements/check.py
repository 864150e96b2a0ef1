"""Do the pins, pyproject.toml and (with --installed) this environment say the same thing?

    python requirements/check.py [--installed]

Exits 1 and prints one line per disagreement.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
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
# A package of the first name holds nothing but a requirement of the second, of the same minor version; before that it held the same files.
COMPANIONS = ((canonicalize_name("cuda-python"), canonicalize_name("cuda-bindings")),)
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
    for name in sorted({name for files, _ in ENVIRONMENTS for name in files}):
        problems += hash_disagreements(root, name)
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
    for first, second in COMPANIONS:
        if first in pins and second in pins and Version(pins[first]).release[:2] != Version(pins[second]).release[:2]:
            problems.append(
                f"{files[-1]}: {first}=={pins[first]} and {second}=={pins[second]} own the same files; they go in the same version"
            )
    for where, requirement in declared(project, extras):
        pinned = pins.get(canonicalize_name(requirement.name))
        if pinned is None:
            problems.append(f"pyproject.toml {where}: {requirement} is pinned in none of {', '.join(files)}")
        elif not requirement.specifier.contains(Version(pinned), prereleases=True):
            problems.append(f"pyproject.toml {where}: {requirement} excludes the pinned {pinned}")
    return problems


def hash_disagreements(root: Path, name: str) -> list[str]:
    """A file of pins against its twin with hashes (requirements/hash.py). Pins with a local version are not on PyPI and have none."""
    path = root / "requirements" / "hashed" / name
    remedy = "run requirements/hash.py"
    if not path.is_file():
        return [f"hashed/{name} is missing; {remedy}"]
    text = re.sub(r"\s*\\\n\s*", " ", path.read_text(encoding="utf-8"))
    hashed: dict[NormalizedName, str] = {}
    problems = []
    for line in (line for line in text.splitlines() if line and not line.startswith("#")):
        match = re.fullmatch(rf"{_PIN.pattern}(?: --hash=sha256:[0-9a-f]{{64}})+", line)
        if match is None:
            problems.append(f"hashed/{name}: {line.split()[0]} has no hash; {remedy}")
        else:
            hashed[canonicalize_name(match["name"])] = match["version"]
    pins = {package: version for package, version in read_pins(root / "requirements" / name)[0].items() if "+" not in version}
    for package in sorted(pins.keys() | hashed.keys()):
        if Version(pins.get(package, "0")) != Version(hashed.get(package, "0")):
            problems.append(
                f"hashed/{name}: {package} is {hashed.get(package, 'missing')}, {name} has {pins.get(package, 'none')}; {remedy}"
            )
    return problems


def shared_files(installed: Iterable[Distribution]) -> list[str]:
    """Two packages that own the same files: the one installed last wins, and removing either breaks the other."""
    owners: dict[str, list[str]] = defaultdict(list)
    for distribution in installed:
        # Not distribution.files, which looks for each of a hundred thousand files.
        label = f"{distribution.name}=={distribution.version}"
        for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
            if row and not row[0].endswith(".pyc"):
                owners[row[0]].append(label)
    pairs: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, names in owners.items():
        if len(names) > 1:
            pairs[tuple(sorted(names))].append(path)
    return [f"{' and '.join(names)} own {len(paths)} files in common, e.g. {min(paths)}" for names, paths in sorted(pairs.items())]


def environment_disagreements(root: Path = ROOT) -> list[str]:
    """Pins against what is installed beside this interpreter."""
    installed = {canonicalize_name(d.name): d.version for d in distributions() if d.name}
    problems = shared_files(distributions())
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
