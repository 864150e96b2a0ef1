"""The part of kustomize that these manifests use: JSON6902 patches, resources, components; and patches computed from two objects.

A strategic-merge patch on a Ray object replaces ``workerGroupSpecs`` as a whole, so groups that it does not name are deleted; that is why
the manifests have JSON6902 patches, each guarded by a ``test`` of the group's name.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chemr.k8s.errors import K8sError

Object = dict[str, Any]
Operation = dict[str, Any]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seconds faster
FIELDS = {"apiVersion", "kind", "metadata", "resources", "components", "patches", "namespace"}
NAME_KEYS = ("groupName", "name")  # what elements of a list are known by
CLUSTER_SCOPED = {"PriorityClass", "ResourceFlavor", "ClusterQueue", "Namespace"}


@dataclass
class Built:
    """Objects with the file each comes from, and what kustomize would do without a word."""

    objects: list[tuple[str, Object]] = field(default_factory=list)
    warnings: list[tuple[str, Object, str, str]] = field(default_factory=list)  # file, object, field, message


def apply_operations(document: Object, operations: list[Operation]) -> Object:
    """A patched copy (RFC 6902: test, add, replace, remove).

    Raises:
        K8sError: naming the path that does not exist, or the test that fails.
    """
    root: dict[str, Any] = {"": copy.deepcopy(document)}
    for operation in operations:
        kind, path = operation.get("op"), str(operation.get("path", ""))
        parent: Any = root
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]
        for step in steps[:-1]:
            parent = _child(parent, step, path)
        last = steps[-1]
        match kind:
            case "test":
                if (found := _child(parent, last, path)) != operation["value"]:
                    raise K8sError(f"patch: the test of {path} fails: found {found!r}, expected {operation['value']!r}")
            case "add":
                value = copy.deepcopy(operation["value"])
                if isinstance(parent, list):
                    parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1, path), value)
                else:
                    parent[last] = value
            case "replace":
                _child(parent, last, path)
                parent[_index(last, len(parent), path) if isinstance(parent, list) else last] = copy.deepcopy(operation["value"])
            case "remove":
                _child(parent, last, path)
                del parent[_index(last, len(parent), path) if isinstance(parent, list) else last]
            case _:
                raise K8sError(f"patch: unknown op {kind!r} at {path}; use test, add, replace or remove")
    patched: Object = root[""]
    return patched


def operations_between(old: Any, new: Any, path: str = "") -> list[Operation]:
    """Operations that make ``new`` of ``old``; elements of lists with names keep their places and are guarded by a test."""
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        operations: list[Operation] = []
        for key in old:
            where = f"{path}/{_escaped(key)}"
            operations += operations_between(old[key], new[key], where) if key in new else [{"op": "remove", "path": where}]
        return operations + [{"op": "add", "path": f"{path}/{_escaped(key)}", "value": new[key]} for key in new if key not in old]
    if isinstance(old, list) and isinstance(new, list) and (key := _name_key(old, new)):
        return _named_list(old, new, path, key)
    return [{"op": "replace", "path": path, "value": new}]


def merge(document: Any, patch: Any) -> Any:
    """A merge patch as kustomize applies it to a custom resource: mappings are merged, null removes, lists are replaced."""
    if not isinstance(document, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = {key: copy.deepcopy(value) for key, value in document.items() if patch.get(key, ...) is not None}
    return merged | {key: merge(merged.get(key), value) for key, value in patch.items() if value is not None}


def build(folder: Path, components: Sequence[Path] = ()) -> Built:
    """What ``kubectl kustomize FOLDER`` gives, for the fields in ``FIELDS``, with these components besides its own.

    Raises:
        K8sError: a field that this reader does not know, a file that is not there, a patch that does not fit.
    """
    built = Built()
    for each in (folder, *components):
        _add(each, built)
    return built


def read_documents(path: Path) -> list[Object]:
    """The documents of a YAML file. Raises K8sError when it is none."""
    try:
        documents = [document for document in yaml.load_all(path.read_text(encoding="utf-8"), LOADER) if document is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise K8sError(f"{path}: cannot be read as YAML: {str(error).replace(chr(10), ' ')}") from error
    for document in documents:
        if not isinstance(document, dict):
            raise K8sError(f"{path}: a document is a {type(document).__name__}, expected a mapping with apiVersion and kind")
    return documents


def kustomization_file(folder: Path) -> Path | None:
    """The file that makes a folder one of kustomize's."""
    return next((path for name in ("kustomization.yaml", "kustomization.yml") if (path := folder / name).is_file()), None)


def _add(folder: Path, built: Built) -> None:
    path = kustomization_file(folder)
    if path is None:
        raise K8sError(f"{folder}: no kustomization.yaml in it")
    (content,) = read_documents(path) or [{}]
    if unknown := sorted(content.keys() - FIELDS):
        raise K8sError(f"{path}: {unknown[0]}: not read by chemr (known: {', '.join(sorted(FIELDS))}); build with kustomize and check that")
    for name in content.get("resources") or []:
        _add_resource(folder / name, built)
    for name in content.get("components") or []:
        _add(folder / name, built)
    for patch in content.get("patches") or []:
        _patch(folder, path, patch, built)
    if namespace := content.get("namespace"):
        for _, document in built.objects:
            if document.get("kind") not in CLUSTER_SCOPED:
                document.setdefault("metadata", {})["namespace"] = namespace


def _add_resource(path: Path, built: Built) -> None:
    if path.is_dir():
        _add(path, built)
    elif path.is_file():
        built.objects += [(str(path), document) for document in read_documents(path)]
    else:
        raise K8sError(f"{path}: named under resources, and not there")


def _patch(folder: Path, source: Path, patch: Object, built: Built) -> None:
    text = patch["patch"] if "patch" in patch else (folder / str(patch.get("path"))).read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    target = patch.get("target") or {}
    if isinstance(content, dict):
        target = {"kind": content.get("kind"), "name": (content.get("metadata") or {}).get("name")} | target
    for i, (file, document) in enumerate(built.objects):
        if any(target.get(key) not in (None, found) for key, found in _identity(document).items()):
            continue
        if isinstance(content, dict):
            changed = merge(document, content)
            built.warnings += [(str(source), changed, where, message) for where, message in _lost_groups(document, changed)]
        else:
            try:
                changed = apply_operations(document, content)
            except K8sError as error:
                raise K8sError(f"{source}: {document.get('kind')}/{_identity(document)['name']}: {error}") from error
        built.objects[i] = (file, changed)


def _identity(document: Object) -> dict[str, Any]:
    return {"kind": document.get("kind"), "name": (document.get("metadata") or {}).get("name")}


def _lost_groups(old: Object, new: Object) -> list[tuple[str, str]]:
    for path in (("spec", "rayClusterSpec"), ("spec",)):
        before, after = old, new
        for step in path:
            before, after = (before or {}).get(step) or {}, (after or {}).get(step) or {}
        kept = {group.get("groupName") for group in after.get("workerGroupSpecs") or []}
        lost = [group["groupName"] for group in before.get("workerGroupSpecs") or [] if group.get("groupName") not in kept]
        if lost:
            where = ".".join((*path, "workerGroupSpecs"))
            return [(where, f"a merge patch replaces the whole list and deletes {', '.join(lost)}; write a JSON6902 patch instead")]
    return []


def _named_list(old: list[Any], new: list[Any], path: str, key: str) -> list[Operation]:
    operations: list[Operation] = []
    kept = [element[key] for element in new]
    rest = list(old)
    for i in reversed(range(len(old))):
        if old[i][key] not in kept:
            operations += [{"op": "test", "path": f"{path}/{i}/{key}", "value": old[i][key]}, {"op": "remove", "path": f"{path}/{i}"}]
            del rest[i]
    if [element[key] for element in rest] != kept[: len(rest)]:
        return [{"op": "replace", "path": path, "value": new}]
    for i, (before, after) in enumerate(zip(rest, new, strict=False)):
        if changes := operations_between(before, after, f"{path}/{i}"):
            operations += [{"op": "test", "path": f"{path}/{i}/{key}", "value": before[key]}, *changes]
    return operations + [{"op": "add", "path": f"{path}/-", "value": element} for element in new[len(rest) :]]


def _name_key(old: list[Any], new: list[Any]) -> str | None:
    elements = old + new
    return next((key for key in NAME_KEYS if elements and all(isinstance(e, dict) and key in e for e in elements)), None)


def _child(parent: Any, step: str, path: str) -> Any:
    if isinstance(parent, list):
        return parent[_index(step, len(parent), path)]
    if not isinstance(parent, dict) or step not in parent:
        raise K8sError(f"patch: there is nothing at {path}")
    return parent[step]


def _index(step: str, length: int, path: str) -> int:
    if not step.isdigit() or int(step) >= length:
        raise K8sError(f"patch: there is nothing at {path}: the list has {length} elements")
    return int(step)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
