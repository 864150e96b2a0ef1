"""Rendered overlays (five configurations composed once) and the schemas, where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chemr.k8s.request import Request
from chemr.k8s.schemas import Schemas, release_folders
from chemr.k8s.tree import tree_requests

ROOT = Path(__file__).resolve().parents[3]
SCHEMAS = Path(os.environ.get("CHEMR_K8S_SCHEMAS") or ROOT.parent / "shared" / "k8s-schemas")


@pytest.fixture(scope="session")
def requests() -> dict[str, Request]:
    return tree_requests()


@pytest.fixture(scope="session")
def releases() -> dict[str, Schemas]:
    """Schemas by release of KubeRay."""
    if not SCHEMAS.is_dir():
        pytest.skip(f"no schemas in {SCHEMAS}; set CHEMR_K8S_SCHEMAS")
    return {name: Schemas(*folders) for name, folders in release_folders(SCHEMAS).items()}
