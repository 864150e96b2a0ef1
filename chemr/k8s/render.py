"""From a request to objects, and from objects to files: what a namespace has once, and a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from chemr.k8s.components import added_objects, with_labels
from chemr.k8s.kustomize import CLUSTER_SCOPED
from chemr.k8s.ray_objects import ray_object
from chemr.k8s.request import Request
from chemr.k8s.run_objects import run_objects
from chemr.k8s.surroundings import surroundings
from chemr.whole_file import write_whole

Object = dict[str, Any]
PARTS = ("surroundings", "run")


def render(request: Request, part: str) -> list[Object]:
    """The objects of the request's ``surroundings`` or of its ``run``, the Ray object last. Raises K8sError for a cluster that does not fit
    the run."""
    if part == "surroundings":
        objects = surroundings(request) + added_objects(request)
    else:
        objects = [*run_objects(request), with_labels(ray_object(request), request)]
    if request.cluster.namespace is not None:
        for document in objects:
            if document["kind"] not in CLUSTER_SCOPED:
                document["metadata"]["namespace"] = request.cluster.namespace
    return objects


def to_yaml(*documents: object, comment: str = "") -> str:
    """YAML without anchors, keys in the order given."""
    text = "---\n".join(yaml.dump(each, Dumper=_Plain, sort_keys=False, width=140, allow_unicode=True) for each in documents)
    return comment + text


def file_name(document: Object) -> str:
    """One file per object: ``networkpolicy-chemr-dns.yaml``."""
    return f"{document['kind'].lower()}-{document['metadata']['name']}.yaml"


def kustomization(resources: Sequence[str] = ()) -> Object:
    """The content of a kustomization.yaml that names these files and folders."""
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(resources)}


def write_folder(objects: list[Object], folder: Path) -> list[Path]:
    """One file per object and a kustomization.yaml that names them all. Raises OSError."""
    index = kustomization([file_name(document) for document in objects])
    texts = {file_name(document): to_yaml(document) for document in objects} | {"kustomization.yaml": to_yaml(index)}
    for name, text in texts.items():
        write_whole(folder / name, text)
    return [folder / name for name in texts]


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True
