"""CustomResourceDefinitions from files. Reading megabytes of YAML takes seconds, so what was read is kept as JSON in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from chemr.k8s.errors import K8sError
from chemr.whole_file import write_whole

Schema = dict[str, Any]
DROPPED = {"description"}
KIND = re.compile(r"^    kind: (\w+)$", flags=re.MULTILINE)  # spec.names.kind


class Schemas:
    """Schemas by (apiVersion, kind), read when they are asked for.

    Args:
        folders: with CRD files (*.yaml), searched in this order.

    Raises:
        K8sError: a folder that is none, or holds no CRD.
    """

    def __init__(self, *folders: Path) -> None:
        self._files: dict[str, list[Path]] = {}
        self._read: dict[Path, dict[tuple[str, str], Schema]] = {}
        for folder in folders:
            if not folder.is_dir():
                raise K8sError(f"--schemas: {folder} is not a folder")
            for path in sorted(folder.glob("*.yaml")):
                if match := KIND.search(path.read_text(encoding="utf-8")[:4000]):
                    self._files.setdefault(match[1], []).append(path)
        if not self._files:
            raise K8sError(f"--schemas: no CustomResourceDefinition in {', '.join(map(str, folders))}")

    def of(self, version: str, kind: str) -> Schema | None:
        """The schema of this kind, or None when no file has it."""
        for path in self._files.get(kind, []):
            if (schema := self._load(path).get((version, kind))) is not None:
                return schema
        return None

    def versions(self, kind: str) -> list[str]:
        """The apiVersions that are known of a kind."""
        return [version for path in self._files.get(kind, []) for version, _ in self._load(path)]

    def pod_template(self) -> Schema | None:
        """Schema of a pod template: it is part of every RayCluster, and core kinds have the same."""
        for kind, path in (("RayCluster", ("headGroupSpec",)), ("RayJob", ("rayClusterSpec", "headGroupSpec"))):
            schema: Any = self.of("ray.io/v1", kind)
            if schema is not None:
                for step in ("spec", *path, "template"):
                    schema = schema["properties"][step]
                found: Schema = schema
                return found
        return None

    def _load(self, path: Path) -> dict[tuple[str, str], Schema]:
        if path not in self._read:
            content = path.read_bytes()
            kept = _cache_folder() / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
            try:
                read = json.loads(kept.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                read = _parse(path, content)
                with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
                    write_whole(kept, json.dumps(read))
            self._read[path] = {(version, kind): schema for version, kind, schema in read}
        return self._read[path]


def release_folders(schemas: Path) -> dict[str, tuple[Path, ...]]:
    """KubeRay's releases in a folder of folders: ``kuberay-v1.7.0`` beside ``kueue``; a folder of CRD files is a release by itself."""
    others = tuple(path for path in sorted(schemas.iterdir()) if path.is_dir() and not path.name.startswith(("kuberay", ".")))
    releases = {path.name: (path, *others) for path in sorted(schemas.glob("kuberay*")) if path.is_dir()}
    return releases or {schemas.name: (schemas,)}


def _parse(path: Path, content: bytes) -> list[tuple[str, str, Schema]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read = []
    try:
        for document in yaml.load_all(content, loader):
            if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                spec = document["spec"]
                for version in spec["versions"]:
                    if version["served"]:
                        schema = _slim(version["schema"]["openAPIV3Schema"])
                        schema["properties"] |= {"metadata": OBJECT_META}
                        read.append((f"{spec['group']}/{version['name']}", spec["names"]["kind"], schema))
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise K8sError(f"{path}: not a CustomResourceDefinition: {str(error).splitlines()[0]}") from error
    return read


def _slim(schema: Any) -> Any:
    """Without the prose. A property may be called description, so only text is dropped."""
    if isinstance(schema, dict):
        return {key: _slim(value) for key, value in schema.items() if not (key in DROPPED and isinstance(value, str))}
    return [_slim(value) for value in schema] if isinstance(schema, list) else schema


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chemr" / "k8s-schemas-2"


_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECT_META: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253, "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "generateName": {"type": "string"},
        "namespace": {"type": "string", "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 63, "pattern": r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"},
        },
        "annotations": _TEXTS,
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
        "uid": {"type": "string"},
        "resourceVersion": {"type": "string"},
        "generation": {"type": "integer"},
        "creationTimestamp": {"type": "string", "nullable": True},
        "deletionTimestamp": {"type": "string"},
        "deletionGracePeriodSeconds": {"type": "integer"},
        "managedFields": {"type": "array", "items": {"type": "object"}},
        "selfLink": {"type": "string"},
    },
}
