"""What Ray makes of a manifest's pods: nodes with CPUs, GPUs and labels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from chemr.k8s.findings import get, mapping, sequence
from chemr.k8s.operator_rules import Ray

Object = dict[str, Any]
_UNITS = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_UNITS |= {f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", start=1)}


@dataclass(frozen=True, slots=True)
class RayGroup:
    """A worker group as Ray sees it; ``path`` is its place in the object. Amounts that cannot be read are 0."""

    path: str
    name: str
    pods: int
    least: int
    most: int
    node: dict[str, float]
    labels: dict[str, str]


def amount(text: Any) -> float | None:
    """Kubernetes' notation of an amount as a number, or None when it is none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkKMGTPE]?)", str(text))
    return float(match[1]) * _UNITS[match[2]] if match and not isinstance(text, bool) else None


def ray_groups(ray: Ray) -> list[RayGroup]:
    """The worker groups."""
    groups = []
    for path, group in list(ray.pods())[1:]:
        least, most = _count(group.get("minReplicas"), 0), _count(group.get("maxReplicas"), 1 << 31)
        replicas = max(least, min(most, _count(group.get("replicas"), 0)))  # as the operator takes it
        pods = replicas * _count(group.get("numOfHosts"), 1)
        groups.append(
            RayGroup(
                path=path,
                name=str(group.get("groupName")),
                pods=pods,
                least=least,
                most=most,
                node=ray_node(group),
                labels={str(key): str(value) for key, value in mapping(group.get("labels")).items()},
            )
        )
    return groups


def ray_node(group: Object) -> dict[str, float]:
    """CPUs and GPUs of one pod's Ray node: start parameters, else the container's limits, CPUs rounded up."""
    container = ray_container(group)
    limits = mapping(get(container, "resources.limits"))
    requests = mapping(get(container, "resources.requests"))
    parameters = mapping(group.get("rayStartParams"))
    cpu = amount(parameters.get("num-cpus", limits.get("cpu", requests.get("cpu")))) or 0.0
    gpus = [amount(value) or 0.0 for name, value in limits.items() if str(name).endswith("/gpu")]
    gpu = amount(parameters["num-gpus"]) or 0.0 if "num-gpus" in parameters else sum(gpus)
    return {"CPU": float(math.ceil(cpu - 1e-9)), "GPU": gpu}


def ray_container(group: Object) -> Object:
    """The first container: Ray's."""
    containers = sequence(get(group, "template.spec.containers"))
    return mapping(containers[0]) if containers else {}


def requested(group: Object) -> dict[str, float]:
    """Requests of all containers of one pod."""
    total: dict[str, float] = {}
    for container in sequence(get(group, "template.spec.containers")):
        for name, value in mapping(get(container, "resources.requests")).items():
            total[str(name)] = total.get(str(name), 0.0) + (amount(value) or 0.0)
    return total


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise
