"""The Kubernetes manifests are what an API server and KubeRay's operator accept, and they run the command that people run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = Path(os.environ.get("CHEMR_K8S_SCHEMAS") or ROOT.parent / "shared" / "k8s-schemas")
MANIFEST = ROOT / "k8s" / "rayjob.yaml"
needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"no KubeRay schemas in {SCHEMAS}; set CHEMR_K8S_SCHEMAS")


def documents() -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")) if document]


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    (found,) = [document for document in documents() if document["kind"] == "RayJob"]
    return found


@pytest.fixture(scope="module")
def validator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crd_validate", SCHEMAS / "crd_validate.py")
    assert spec is not None
    assert spec.loader is not None, f"{SCHEMAS} holds no crd_validate.py"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pod_specs(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@needs_schemas
@pytest.mark.parametrize("release", ["kuberay-v1.6.2", "kuberay-v1.7.0"])
def test_the_api_server_accepts_the_rayjob_and_would_notice_a_misspelt_field(
    job: dict[str, Any], validator: ModuleType, release: str, tmp_path: Path
) -> None:
    (tmp_path / "rayjobs.yaml").symlink_to(SCHEMAS.resolve() / release / "ray.io_rayjobs.yaml")  # the other kinds take seconds to read
    schemas = validator.load(tmp_path)
    errors = validator.validate(schemas, job)
    assert errors == [], f"{release} refuses {MANIFEST.name}: {errors}"
    broken = job | {"spec": job["spec"] | {"backofLimit": 1}}
    assert validator.validate(schemas, broken), "a misspelt field passed the schema check"


def test_the_operator_accepts_the_rayjob(job: dict[str, Any]) -> None:
    """Rules that KubeRay checks only after the API server has accepted the object."""
    spec = job["spec"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"]), "the name is not a DNS-1035 label"
    assert len(job["metadata"]["name"]) <= 47, "a RayJob's name has at most 47 characters"
    assert spec["submissionMode"] == "SidecarMode", "only SidecarMode fails the attempt at once when the head is lost"
    assert not {"submitterPodTemplate", "submitterConfig", "clusterSelector"} & spec.keys(), "SidecarMode excludes these fields"
    assert spec["shutdownAfterJobFinishes"], "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    assert pod_specs(job)[0]["restartPolicy"] == "Never", "SidecarMode wants a head that is not restarted"
    assert spec["rayClusterSpec"]["authOptions"]["mode"] == "token", "an open dashboard port runs anybody's code"


def test_every_pod_has_room_in_shared_memory_and_never_more_than_it_asked_for(job: dict[str, Any]) -> None:
    for pod in pod_specs(job):
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"], f"{container['name']}: requests differ from limits"
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory", f"{container['name']}: /dev/shm is not memory"
        claims = {document["metadata"]["name"] for document in documents() if document["kind"] == "PersistentVolumeClaim"}
        assert volumes[mounts["/runs"]]["persistentVolumeClaim"]["claimName"] in claims, (
            f"{container['name']}: its claim is not in the file"
        )


def test_the_job_runs_the_command_of_the_demo(job: dict[str, Any]) -> None:
    from chemr.config import load

    program, command, *overrides = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("chemr", "train")
    config, _ = load(overrides)
    assert config.run.path == Path("/runs/starter"), "the run must live on the shared volume to survive the loss of its cluster"
    assert str(config.run.resume) == "auto", "a new attempt must continue the run"
    assert config.pool.address == "auto", "the job must use KubeRay's cluster and not start its own"


def test_the_ray_version_is_the_pinned_one(job: dict[str, Any]) -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert pinned is not None
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1], (
        "KubeRay switches features by rayVersion; it must say what the image has"
    )


def test_the_dockerfile_copies_only_what_exists_and_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "k8s" / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    allowed = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    for source in (name.rstrip("/") for group in copied for name in group.split()):
        assert (ROOT / source).exists(), f"k8s/Dockerfile copies {source}, which does not exist"
        assert source in allowed, f"k8s/Dockerfile copies {source}, which .dockerignore hides"
