"""``chemr k8s check``: schemas, what the operator refuses, Kueue's limits, and the run's own arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chemr.k8s import cel_rules
from chemr.k8s.core_kinds import core_schema, known_versions
from chemr.k8s.findings import Finding, get, mapping, owner_of
from chemr.k8s.kueue_rules import kueue_problems
from chemr.k8s.kustomize import Built, build, kustomization_file, read_documents
from chemr.k8s.network_rules import network_problems
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


SHARED_KINDS = ("PersistentVolumeClaim", "PriorityClass", "LocalQueue", "ClusterQueue", "ResourceFlavor", "Namespace")


@dataclass
class Report:
    """``findings`` are errors; ``notes`` say what could not be checked."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(built: Built, schemas: Schemas | None = None, beside: Sequence[Object] = ()) -> Report:
    """Everything that is wrong with a set of objects that are applied together.

    Args:
        built: the objects.
        schemas: without them no custom resource's structure is checked.
        beside: objects of other sets, which these may name and select.
    """
    report = Report()
    if schemas is None:
        report.notes.append("without --schemas the structure of custom resources and pod templates is not checked")
    elif not cel_rules.available():
        report.notes.append("CEL rules are not checked: pip install common-expression-language")
    report.findings += [Finding(source, owner_of(each), path, message) for source, each, path, message in built.warnings]
    objects = [*(document for _, document in built.objects), *beside]
    report.findings += shared_with_a_run(built.objects)
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
        if ray_labels or document.get("kind") in ("Service", "PodDisruptionBudget"):  # other selectors may be for runs to come
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


def folders_in(path: Path) -> list[Path]:
    """The folder itself, or those in it where it holds none but folders of kustomize, as ``render --out`` writes them."""
    if kustomization_file(path) or any(path.glob("*.yaml")) or any(path.glob("*.yml")):
        return [path]
    return sorted(child for child in path.iterdir() if child.is_dir() and kustomization_file(child)) or [path]


def combinations(folder: Path) -> Iterator[tuple[str, Built, list[Object]]]:
    """Every overlay of a folder with every set of components that go together, beside the surroundings that such a run has, and those
    surroundings beside the run. Raises K8sError."""
    extras = [name for name in COMPONENTS if (folder / "surroundings" / "components" / name).is_dir() and name not in SCHEDULERS]
    around = folder / "surroundings"
    for overlay in sorted(path.parent for path in (folder / "overlays").glob("*/kustomization.yaml")):
        for scheduler in (None, *SCHEDULERS):
            labels = [folder / "components" / scheduler] if scheduler else []
            queue = [path for path in [around / "components" / str(scheduler)] if path.is_dir()]
            base = around / "overlays" / overlay.name
            base = base if base.is_dir() else around / "base"
            for some in itertools.chain.from_iterable(itertools.combinations(extras, n) for n in range(len(extras) + 1)):
                run, space = build(overlay, labels), build(base, [*queue, *(around / "components" / name for name in some)])
                title = " + ".join([overlay.name, *([scheduler] if scheduler else []), *some])
                if not some:
                    yield title, run, [document for _, document in space.objects]
                yield f"surroundings of {title}", space, [document for _, document in run.objects]


def shared_with_a_run(objects: Sequence[tuple[str, Object]]) -> Iterator[Finding]:
    """What all runs share must not be applied, changed and deleted with one of them."""
    if not any(document.get("kind") in ("RayJob", "RayCluster") for _, document in objects):
        return
    for source, document in objects:
        kind = document.get("kind")
        if kind in SHARED_KINDS:
            loss = "the checkpoints of every run" if kind == "PersistentVolumeClaim" else "what other runs use"
            yield Finding(
                source, owner_of(document), "kind", f"beside a Ray object, so deleting this run deletes {loss}; keep it in a set of its own"
            )


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
        found += network_problems(ray, objects)
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
