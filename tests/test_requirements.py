"""Pins, their hashes, and packages that own each other's files."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from importlib.metadata import Distribution
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements_check", ROOT / "requirements" / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout with the pins only, to be broken."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def change(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text("utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_text(text, "utf-8")


def test_the_pins_agree(check: ModuleType) -> None:
    assert check.disagreements() == []


def test_two_cuda_packages_that_own_the_same_files_are_refused(check: ModuleType, copy: Path) -> None:
    change(copy / "requirements" / "gpu.txt", r"^cuda-python==.*$", "cuda-python==12.6.2.post1")
    change(copy / "requirements" / "gpu.txt", r"^cuda-bindings==.*$", "cuda-bindings==13.5.0")
    assert any("cuda-python==12.6.2.post1 and cuda-bindings==13.5.0 own the same files" in line for line in check.disagreements(copy))


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r"^requests==\S+", "requests==0.0.1", "requests is 0.0.1"),
        (r"^requests==\S+ .\n(    --hash.*\n)+", "", "requests is missing"),
        (r"^(requests==\S+) .\n(    --hash.*\n)+", r"\1\n", "has no hash"),
        (r"^requests==", "nobody==1 --hash=sha256:" + "0" * 64 + "\nrequests==", "nobody is 1"),
        (r"--hash=sha256:[0-9a-f]{64}", "--hash=md5:0", "has no hash"),
    ],
)
def test_hashes_that_are_not_those_of_the_pins_are_named(check: ModuleType, copy: Path, pattern: str, replacement: str, words: str) -> None:
    change(copy / "requirements" / "hashed" / "cpu.txt", pattern, replacement)
    found = [line for line in check.disagreements(copy) if line.startswith("hashed/cpu.txt")]
    assert found and words in found[0] and "hash.py" in found[0], found


def test_a_new_pin_without_hashes_is_named(check: ModuleType, copy: Path) -> None:
    change(copy / "requirements" / "dev.txt", r"^ruff==.*$", "ruff==99.0")
    assert any(line.startswith("hashed/dev.txt: ruff is") for line in check.disagreements(copy))
    (copy / "requirements" / "hashed" / "docs.txt").unlink()
    assert any(line.startswith("hashed/docs.txt is missing") for line in check.disagreements(copy))


def installed(folder: Path, name: str, *files: str) -> Distribution:
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", "utf-8")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, f"{name}-1.dist-info/RECORD")), "utf-8")
    return Distribution.at(info)


def test_packages_that_own_the_same_files_are_found_where_they_are_installed(check: ModuleType, tmp_path: Path) -> None:
    first = installed(tmp_path, "first", "shared/__init__.py", "shared/a.so", "first/x.py")
    second = installed(tmp_path, "second", "shared/__init__.py", "shared/a.so", "second/x.py")
    third = installed(tmp_path, "third", "third/x.py")
    assert check.shared_files([first, second, third]) == ["first==1 and second==1 own 2 files in common, e.g. shared/__init__.py"]
    assert check.shared_files([first, third]) == []


def test_only_what_pypi_does_not_have_goes_without_a_hash(check: ModuleType) -> None:
    without = {
        name
        for path in (ROOT / "requirements").glob("*.txt")
        for name, version in check.read_pins(path)[0].items()
        if "+" in version and path.name != "debian.txt"
    }
    assert without == {"torch"}


def test_whatever_installs_asks_for_hashes() -> None:
    for path in ("Makefile", "k8s/Dockerfile", "k8s/Dockerfile.cpu"):
        text = (ROOT / path).read_text("utf-8")
        files = re.findall(r"-r (\S+\.txt)", text)
        assert files and all(name.startswith(("requirements/hashed/", "$(PINNED)/")) for name in files), f"{path}: {files}"
