"""The images hold what the manifests run."""

from __future__ import annotations

import re
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
