"""Whether /dev/shm of a pod holds what the run's actors put there: Ray's object store, the weights once, what engines and NCCL use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.pool_config import role_label
from actors.shared_memory import GIB, SharedMemory
from chemr.config import ChemrConfig
from chemr.k8s.errors import K8sError
from chemr.k8s.findings import get, mapping, sequence
from chemr.k8s.groups import Group
from chemr.k8s.operator_rules import Ray
from chemr.k8s.ray_pods import RayGroup, amount, ray_container, ray_groups
from chemr.planning.shared_memory import node_needs

Problem = tuple[str, str]


def require_shared_memory(config: ChemrConfig, groups: list[Group]) -> None:
    """Raises K8sError naming the first group whose ``shm_gb`` is too small. A policy whose size nobody here knows passes."""
    for group in groups:
        settings, hosts = group.settings, group.settings.hosts
        needs = node_needs(config, round(settings.object_store_gb * GIB), hosts.get("generator", 0), hosts.get("learner", 0))
        if needs is not None and needs.total > settings.shm_gb * GIB:
            raise K8sError(f"cluster.groups.{group.name}.shm_gb={settings.shm_gb:g}, and {_too_small(config, needs)}")


def shared_memory_problems(ray: Ray, config: ChemrConfig, bundles: dict[str, dict[str, float]], notes: list[str]) -> Iterator[Problem]:
    """The same of a manifest; a policy of unknown size is a note."""
    for group, (_, spec) in zip(ray_groups(ray), list(ray.pods())[1:], strict=True):
        at, size = _volume(group.path, spec)
        store = amount(mapping(spec.get("rayStartParams")).get("object-store-memory"))
        generators, ranks = (_room(role, group, config, bundles) for role in ("generator", "learner"))
        if size is None or store is None or not generators + ranks:
            continue
        needs = node_needs(config, int(store), generators, ranks)
        if needs is None:
            each = 4 if str(config.learner.dtype) == "fp32" else 2
            files = max(1, min(2, generators))
            notes.append(
                f"policy.path={config.policy.path}: how large it is cannot be seen from here, and its folder's name is none of `chemr plan "
                f"--model`'s. /dev/shm of {group.name} has room for {(size - store) / files / each / 1e9:.1f} billion parameters"
            )
        elif needs.total > size:
            yield at, f"{size / GIB:.1f} GiB, and {_too_small(config, needs)}"


def _too_small(config: ChemrConfig, needs: SharedMemory) -> str:
    what = f"policy.path={config.policy.path}" if config.policy.path is not None else "the policy"
    return f"with {what} /dev/shm of a pod needs {needs}; enlarge it, or lower object_store_gb"


def _volume(path: str, spec: dict[str, Any]) -> tuple[str, float | None]:
    """Where /dev/shm has its size, and the size."""
    mounts = sequence(ray_container(spec).get("volumeMounts"))
    name = next((mapping(one).get("name") for one in mounts if str(mapping(one).get("mountPath")).rstrip("/") == "/dev/shm"), None)
    for index, volume in enumerate(sequence(get(spec, "template.spec.volumes"))):
        if name is not None and mapping(volume).get("name") == name:
            return f"{path}.template.spec.volumes[{index}].emptyDir.sizeLimit", amount(get(volume, "emptyDir.sizeLimit"))
    return path, None


def _room(role: str, group: RayGroup, config: ChemrConfig, bundles: dict[str, dict[str, float]]) -> int:
    """How many actors of a role Ray may put into one pod, if it puts no others there."""
    if config.pool.role_labels and group.labels.get(role_label(role)) != "true":
        return 0
    sizes = [bundle for name, bundle in bundles.items() if name.startswith(f"{role}-")]
    if not sizes:
        return 0
    fitting = [int(group.node.get(kind, 0.0) / value + 1e-6) for kind, value in sizes[0].items() if value > 0]
    return min([len(sizes), *fitting])
