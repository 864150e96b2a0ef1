"""The image holds what the manifests run."""

from __future__ import annotations

import re
from pathlib import Path

from chemr.k8s.cluster_config import ClusterConfig

ROOT = Path(__file__).resolve().parent.parent


def test_the_ray_version_of_the_manifests_is_the_pinned_one() -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert pinned is not None
    assert ClusterConfig().ray_version == pinned[1], "KubeRay switches features by rayVersion; it must say what the image has"


def test_the_dockerfile_copies_only_what_exists_and_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "k8s" / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    allowed = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    for source in (name.rstrip("/") for group in copied for name in group.split()):
        assert (ROOT / source).exists(), f"k8s/Dockerfile copies {source}, which does not exist"
        assert source in allowed, f"k8s/Dockerfile copies {source}, which .dockerignore hides"
