"""The images hold what the manifests run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from chemr.k8s.cluster_config import ClusterConfig

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = ("k8s/Dockerfile", "k8s/Dockerfile.cpu")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_ray_version_of_the_manifests_and_the_gpu_base_is_the_pinned_one() -> None:
    for pins in ("requirements/cpu.txt", "requirements/gpu.txt"):
        pinned = re.search(r"^ray==(.+)$", read(pins), flags=re.MULTILINE)
        assert pinned is not None
        assert ClusterConfig().ray_version == pinned[1], f"KubeRay switches features by rayVersion; it must say what {pins} has"
    assert f"ARG RAY={ClusterConfig().ray_version}\n" in read("k8s/Dockerfile"), "and the base image's libraries belong to it"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_a_dockerfile_copies_only_what_exists_and_is_not_ignored(dockerfile: str) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", read(dockerfile), flags=re.MULTILINE)
    assert copied
    allowed = {line[1:].rstrip("/") for line in read(".dockerignore").splitlines() if line.startswith("!")}
    for source in (name.rstrip("/") for group in copied for name in group.split()):
        assert (ROOT / source).exists(), f"{dockerfile} copies {source}, which does not exist"
        assert source in allowed, f"{dockerfile} copies {source}, which .dockerignore hides"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_runs_as_the_user_of_the_manifests_and_installs_only_while_it_is_built(dockerfile: str) -> None:
    lines = read(dockerfile).splitlines()
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 1000"
    assert "pip" not in [line for line in lines if line.startswith("CMD")][-1]
    assert all("pip install" not in line for line in lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :])


# What python:slim and every Debian with a Python has; and what numba looks for in vain, since its threading layers are not used.
BASE_LIBRARIES = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|util|pthread|gcc_s|stdc\+\+|z))\.so\.\d+|libtbb\.so\.12|libgomp\.so\.1\.0\.0")


def debian_packages() -> dict[str, list[str]]:
    """Libraries by package."""
    lines = [line.partition("#")[0].strip() for line in read("requirements/debian.txt").splitlines()]
    return {name: libraries.split() for line in lines if line for name, _, libraries in [line.partition(":")]}


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_installs_the_one_list_of_debian_packages(dockerfile: str) -> None:
    (install,) = re.findall(r"^RUN (?:.*\\\n)*.*apt-get install.*$", read(dockerfile), flags=re.MULTILINE)
    assert "source=requirements/debian.txt" in install and "xargs apt-get install -y --no-install-recommends \\" in install
    script = re.search(r"sed '([^']+)'", install)
    assert script is not None
    printed = subprocess.run(["sed", script[1], ROOT / "requirements" / "debian.txt"], capture_output=True, text=True, check=True).stdout
    assert printed.split() == list(debian_packages()), "what apt-get is given"
    assert {"default-jre-headless", "wordnet-base", "wget"} <= debian_packages().keys()


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf (binutils)")
def test_the_list_has_every_library_that_the_wheels_are_linked_against() -> None:
    """From the wheels themselves: `import rdkit` works without libXrender, and `import rdkit.Chem.Draw` does not."""
    packages = Path(sysconfig.get_path("platlib"))
    files = [path for path in packages.rglob("*.so*") if path.is_file() and path.suffix not in (".py", ".txt", ".a")]
    shipped = {path.name for path in files}
    needed: dict[str, str] = {}
    for start in range(0, len(files), 200):
        done = subprocess.run(["readelf", "-d", *files[start : start + 200]], capture_output=True, text=True, check=False)
        owner = ""
        for line in done.stdout.splitlines():
            if line.startswith("File: "):
                owner = line.removeprefix(f"File: {packages}/")
            elif "(NEEDED)" in line:
                needed.setdefault(line.partition("[")[2].rstrip("]"), owner)
    missing = {name: by for name, by in needed.items() if name not in shipped and not BASE_LIBRARIES.fullmatch(name)}
    listed = {library: package for package, libraries in debian_packages().items() for library in libraries}
    assert len(needed) > 20 and listed.keys() & missing.keys(), "the search itself works"
    assert missing.keys() <= listed.keys(), f"requirements/debian.txt lacks {sorted(missing.items() - listed.items())}"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_base_can_be_given_by_its_digest(dockerfile: str) -> None:
    bases = [line for line in read(dockerfile).splitlines() if line.startswith("FROM ")]
    assert bases and all("${BASE_DIGEST:+@$BASE_DIGEST}" in line for line in bases)
    assert "ARG BASE_DIGEST=\n" in read(dockerfile).partition("FROM ")[0]
