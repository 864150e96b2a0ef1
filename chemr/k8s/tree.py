"""The checked-in folder k8s/: base, overlays and components for kustomize, made from the same objects as ``render`` makes.

``k8s/surroundings`` is for a namespace, once; the rest is a run. Each has a base, overlays and components. An overlay is the difference
between its own objects and the base's, as JSON6902 patches, and the objects the base does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chemr.k8s.components import RAY_KINDS, component
from chemr.k8s.kustomize import operations_between
from chemr.k8s.queues import cluster_queues
from chemr.k8s.render import PARTS, file_name, kustomization, render, to_yaml
from chemr.k8s.request import COMPONENTS, Request, read_request
from chemr.whole_file import write_whole

Object = dict[str, Any]
OVERLAYS = ("cpu-smoke", "single-gpu", "node-8gpu", "cluster-64gpu")
BASE = "cpu-smoke"
INTERACTIVE = "interactive"
FOLDERS = {"surroundings": "surroundings/", "run": ""}
MADE = "# Made by `chemr k8s render --tree k8s` from conf/k8s; change that, not this.\n"


def tree_requests() -> dict[str, Request]:
    """What every overlay is made from."""
    requests = {name: read_request([f"overlay={name}", "cluster.name=chemr"]) for name in OVERLAYS}
    return requests | {INTERACTIVE: read_request([f"overlay={BASE}", "cluster.name=chemr", "cluster.workload=cluster"])}


def tree(requests: dict[str, Request]) -> dict[str, str]:
    """Text of every made file, by path below k8s/."""
    files: dict[str, str] = {}
    for part in PARTS:
        base = render(requests[BASE], part)
        files |= _folder(f"{FOLDERS[part]}base", base, kustomization())
        for name in OVERLAYS:
            files |= _overlay(f"{FOLDERS[part]}overlays/{name}", base, render(requests[name], part))
    run = render(requests[INTERACTIVE], "run")
    files |= _folder(f"overlays/{INTERACTIVE}", run, kustomization())
    for name in COMPONENTS:
        files |= _component(name, requests[BASE])
    largest = cluster_queues([requests[name] for name in OVERLAYS])
    return files | {"kueue/queues.yaml": to_yaml(*largest, comment=MADE)}


def write_tree(folder: Path) -> list[Path]:
    """Write all files. Raises OSError."""
    files = tree(tree_requests())
    for name, text in files.items():
        write_whole(folder / name, text)
    return [folder / name for name in files]


def _overlay(folder: str, base: list[Object], wanted: list[Object]) -> dict[str, str]:
    known = {_key(document): document for document in base}
    patches, files = [], {}
    for document in wanted:
        old = known.get(_key(document))
        if old is not None and (operations := operations_between(old, document)):
            file = file_name(document).replace(".yaml", ".patch.yaml")
            files[f"{folder}/{file}"] = to_yaml(operations, comment=MADE)
            patches.append({"path": file, "target": {"kind": document["kind"], "name": document["metadata"]["name"]}})
    added = [document for document in wanted if _key(document) not in known]
    missing = known.keys() - {_key(document) for document in wanted}
    assert not missing, f"{folder} lacks {missing} of the base"
    return files | _folder(folder, added, kustomization(["../../base"]) | ({"patches": patches} if patches else {}))


def _component(name: str, request: Request) -> dict[str, str]:
    made = component(name, request)
    head = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "resources": []}
    files: dict[str, str] = {}
    if made.labels:
        files[f"components/{name}/ray.patch.yaml"] = to_yaml(made.operations(), comment=MADE)
        patches = [{"path": "ray.patch.yaml", "target": {"kind": kind}} for kind in RAY_KINDS]
        files |= _folder(f"components/{name}", [], head | {"patches": patches})
    if made.objects:
        files |= _folder(f"surroundings/components/{name}", made.objects, head)
    return files


def _folder(path: str, objects: list[Object], head: Object) -> dict[str, str]:
    content = dict(head)
    content["resources"] = [*head["resources"], *(file_name(each) for each in objects)]
    if not content["resources"]:
        del content["resources"]
    files = {f"{path}/{file_name(each)}": to_yaml(each, comment=MADE) for each in objects}
    return files | {f"{path}/kustomization.yaml": to_yaml(content, comment=MADE)}


def _key(document: Object) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]
