"""``chemr k8s check``: schemas, what the operator refuses, Kueue's limits, and the run's own arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemr.k8s import cel_rules
from chemr.k8s.core_kinds import core_schema, known_versions
from chemr.k8s.findings import Finding, get, mapping, owner_of
from chemr.k8s.kueue_rules import kueue_problems
from chemr.k8s.kustomize import Built, build, kustomization_file, read_documents
from chemr.k8s.operator_rules import operator_problems, read_ray
from chemr.k8s.pod_rules import autoscaler_problems, budget_problems, deployment_problems, pod_problems, selector_problems
from chemr.k8s.request import COMPONENTS, SCHEDULERS
from chemr.k8s.run_rules import run_problems
from chemr.k8s.schemas import Schemas
from chemr.k8s.structure import problems
from chemr.nearest_name import nearest_name

Object = dict[str, Any]
Problem = tuple[str, str]
KINDS = (
    *("RayJob", "RayCluster", "RayService", "RayCronJob", "LocalQueue", "ClusterQueue", "ResourceFlavor", "Deployment", "Service"),
    *("PersistentVolumeClaim", "ServiceAccount", "PriorityClass", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"),
    "PodMonitor",
)


@dataclass
class Report:
    """``findings`` are errors; ``notes`` say what could not be checked."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(built: Built, schemas: Schemas | None = None) -> Report:
    """Everything that is wrong with a set of objects that are applied together; without ``schemas`` no custom resource's structure."""
    report = Report()
    if schemas is None:
        report.notes.append("without --schemas the structure of custom resources and pod templates is not checked")
    elif not cel_rules.available():
        report.notes.append("CEL rules are not checked: pip install common-expression-language")
    report.findings += [Finding(source, owner_of(each), path, message) for source, each, path, message in built.warnings]
    objects = [document for _, document in built.objects]
    ray_labels = [mapping(get(group, "template.metadata.labels")) for each in objects if (ray := read_ray(each)) for _, group in ray.pods()]
    pod_labels = [
        *ray_labels,
        *(mapping(get(each, "spec.template.metadata.labels")) for each in objects if each.get("kind") == "Deployment"),
    ]
    seen: set[tuple[str, ...]] = set()
    for source, document in built.objects:
        identity = tuple(str(get(document, path)) for path in ("apiVersion", "kind", "metadata.namespace", "metadata.name"))
        found = [] if identity not in seen else [("metadata.name", "a second object of this kind and name")]
        seen.add(identity)
        found += _structure(document, schemas, report.notes)
        found += _rules(document, objects, ray_labels, report.notes)
        found += selector_problems(document, pod_labels)
        report.findings += [Finding(source, owner_of(document), path, message) for path, message in dict.fromkeys(found)]
    report.notes = list(dict.fromkeys(report.notes))
    return report


def read(path: Path) -> Built:
    """A file, a folder with a kustomization.yaml, or a folder of YAML files. Raises K8sError."""
    if path.is_dir() and kustomization_file(path):
        return build(path)
    files = sorted(path.glob("*.yaml")) + sorted(path.glob("*.yml")) if path.is_dir() else [path]
    return Built([(str(file), document) for file in files for document in read_documents(file)])


def combinations(folder: Path) -> Iterator[tuple[str, Built]]:
    """Every overlay of a folder with every set of components that go together. Raises K8sError."""
    extras = [name for name in COMPONENTS if name not in SCHEDULERS]
    for overlay in sorted(path.parent for path in (folder / "overlays").glob("*/kustomization.yaml")):
        for scheduler in (None, *SCHEDULERS):
            for some in itertools.chain.from_iterable(itertools.combinations(extras, n) for n in range(len(extras) + 1)):
                names = [name for name in (scheduler, *some) if name is not None]
                title = " + ".join([overlay.name, *names])
                yield title, build(overlay, [folder / "components" / name for name in names])


def _structure(document: Object, schemas: Schemas | None, notes: list[str]) -> list[Problem]:
    version, kind = document.get("apiVersion"), document.get("kind")
    for name, value in (("apiVersion", version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            return [(name, "required, and missing" if value is None else f"found {value!r}, expected text")]
    assert isinstance(version, str) and isinstance(kind, str)
    schema = schemas.of(version, kind) if schemas is not None else None
    if schema is None:
        schema = core_schema(version, kind, schemas.pod_template() if schemas is not None else None)
    if schema is not None:
        return list(problems(schema, document))
    versions = known_versions(kind) + (schemas.versions(kind) if schemas is not None else [])
    if versions:
        return [("apiVersion", f"found {version!r}; {kind} is known as {', '.join(versions)}")]
    if near := nearest_name(kind, KINDS, cutoff=0.75):
        if near != kind:
            return [("kind", f"unknown kind {kind!r}; did you mean {near!r}?")]
        if kind.startswith("Ray") and not version.startswith("ray.io/"):
            return [("apiVersion", f"found {version!r}; {kind} is of ray.io/v1")]
    notes.append(f"no schema of {version} {kind}: its structure is not checked")
    return []


def _rules(document: Object, objects: list[Object], ray_labels: list[Object], notes: list[str]) -> list[Problem]:
    found = list(operator_problems(document))
    if ray := read_ray(document):
        found += pod_problems(ray, objects, notes)
        found += kueue_problems(ray, objects, notes)
        found += run_problems(ray, notes)
    match document.get("kind"):
        case "PodDisruptionBudget":
            found += budget_problems(document, ray_labels)
        case "Deployment":
            found += deployment_problems(document)
        case "HorizontalPodAutoscaler":
            found += autoscaler_problems(document, objects)
    return found
