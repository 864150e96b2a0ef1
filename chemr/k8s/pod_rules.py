"""What every Ray pod of these manifests keeps to, and how the objects of one set refer to each other."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any

from chemr.k8s.findings import get, mapping, sequence
from chemr.k8s.operator_rules import Ray
from chemr.k8s.ray_pods import amount, ray_container

Problem = tuple[str, str]
Object = dict[str, Any]
CHOICES = {
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    "effect": ("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
    "operator": ("Exists", "Equal", "In", "NotIn", "DoesNotExist", "Gt", "Lt"),
    "whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway"),
    "medium": ("", "Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi"),
    "protocol": ("TCP", "UDP", "SCTP"),
    "type": ("RuntimeDefault", "Unconfined", "Localhost", "", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
    "preemptionPolicy": ("Never", "PreemptLowerPriority"),
    "scheme": ("HTTP", "HTTPS"),
}


def pod_problems(ray: Ray, objects: list[Object], notes: list[str]) -> Iterator[Problem]:
    """Rules of the pods of a Ray object that comes with ``objects``."""
    if not ray.cluster:
        notes.append(f"{ray.kind}: its pods are those of the cluster that clusterSelector names, and are not checked")
        return
    pods = 0
    yield from _group_names(ray)
    yield from _version_of_the_image(ray, notes)
    for path, group in ray.pods():
        yield from _privileges(path, group)
        yield from _resources(path, group)
        yield from _shared_memory(path, group)
        yield from _volumes(path, group)
        yield from _references(path, group, objects, notes)
        yield from _choices(f"{path}.template.spec", get(group, "template.spec"))
        count = group.get("replicas", 1)
        pods += count if isinstance(count, int) else 1
    if pods > 1:
        yield from _shared_claims(ray, objects)
    if ray.cluster.get("enableInTreeAutoscaling") and get(ray.cluster, "headGroupSpec.template.spec.automountServiceAccountToken") is False:
        yield (
            f"{ray.at}.headGroupSpec.template.spec.automountServiceAccountToken",
            "false, and the autoscaler beside the head has to ask the API server; set true",
        )
    if get(ray.cluster, "authOptions.mode") != "token":
        yield f"{ray.at}.authOptions.mode", "must be token: without it, whoever reaches the dashboard port can run code"


def budget_problems(budget: Object, ray_labels: list[Object]) -> Iterator[Problem]:
    """A PodDisruptionBudget of Ray's pods: their controller has no scale, so only a whole minAvailable works."""
    selector, spec = mapping(get(budget, "spec.selector.matchLabels")), mapping(budget.get("spec"))
    if {"minAvailable", "maxUnavailable"} <= spec.keys():
        yield "spec.maxUnavailable", "does not go with minAvailable"
    if "minAvailable" not in spec and "maxUnavailable" not in spec:
        yield "spec.minAvailable", "missing, and there is no maxUnavailable: the budget says nothing"
    if not any(selector and all(labels.get(key) == value for key, value in selector.items()) for labels in ray_labels):
        return
    if "maxUnavailable" in spec:
        yield "spec.maxUnavailable", "does not work for Ray's pods, whose controller has no scale subresource; use minAvailable"
    if isinstance(spec.get("minAvailable"), str):
        yield "spec.minAvailable", f"{spec['minAvailable']!r}: for Ray's pods it must be a whole number"


def selector_problems(document: Object, pod_labels: list[Object]) -> Iterator[Problem]:
    """Selectors of services, budgets, monitors and policies find a pod of the set, if it has any."""
    field = {
        "Service": "spec.selector",
        "PodDisruptionBudget": "spec.selector.matchLabels",
        "PodMonitor": "spec.selector.matchLabels",
        "NetworkPolicy": "spec.podSelector.matchLabels",
    }.get(str(document.get("kind")))
    selector = mapping(get(document, field)) if field is not None else {}
    if not pod_labels or any(all(labels.get(key) == value for key, value in selector.items()) for labels in pod_labels):
        return
    key = next((key for key, value in selector.items() if not any(labels.get(key) == value for labels in pod_labels)), None)
    wanted = ", ".join(f"{key}={value}" for key, value in selector.items())
    yield (f"{field}[{str(key)!r}]" if key is not None else str(field)), f"selects no pod of these objects: none has {wanted}"


def deployment_problems(deployment: Object) -> Iterator[Problem]:
    """The selector finds the pods; requests equal limits."""
    selector = mapping(get(deployment, "spec.selector.matchLabels"))
    labels = mapping(get(deployment, "spec.template.metadata.labels"))
    for key, value in selector.items():
        if labels.get(key) != value:
            yield f"spec.selector.matchLabels.{key}", f"{value!r}, and the pods' label is {labels.get(key)!r}: the API server refuses it"
    yield from _resources("spec", mapping(deployment.get("spec")))
    yield from _volumes("spec", mapping(deployment.get("spec")))
    yield from _choices("spec.template.spec", get(deployment, "spec.template.spec"))


def autoscaler_problems(autoscaler: Object, objects: list[Object]) -> Iterator[Problem]:
    """The bounds are in order, and the target is among the objects."""
    least, most = get(autoscaler, "spec.minReplicas"), get(autoscaler, "spec.maxReplicas")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield "spec.minReplicas", f"{least} is more than maxReplicas={most}"
    target = mapping(get(autoscaler, "spec.scaleTargetRef"))
    if [target.get("kind"), target.get("name")] not in [[each.get("kind"), get(each, "metadata.name")] for each in objects]:
        yield "spec.scaleTargetRef.name", f"{target.get('kind')}/{target.get('name')} is not among the objects"


def _choices(path: str, value: Any) -> Iterator[Problem]:
    """Values that the API server wants of a pod: CRDs have no enums of them, so a Ray object is accepted and its pods are refused."""
    for i, element in enumerate(sequence(value)):
        yield from _choices(f"{path}[{i}]", element)
    for key, entry in mapping(value).items():
        allowed = CHOICES.get(str(key))
        if allowed is not None and isinstance(entry, str) and entry not in allowed:
            yield f"{path}.{key}", f"found {entry!r}, expected one of {', '.join(filter(None, allowed))}"
        elif key not in ("labels", "annotations", "matchLabels", "nodeSelector"):
            yield from _choices(f"{path}.{key}", entry)


def _group_names(ray: Ray) -> Iterator[Problem]:
    """chemr's own rule; the operator takes two groups of one name, and then counts the pods of both for each."""
    seen: dict[str, str] = {}
    for path, group in ray.workers():
        name = str(group.get("groupName"))
        if name in seen:
            yield f"{path}.groupName", f"{name!r} is the name of {seen[name]}, too: the operator would count the pods of both for each"
        seen.setdefault(name, path)


def _privileges(path: str, group: Object) -> Iterator[Problem]:
    """Nothing of a run needs the node's own rights."""
    spec = mapping(get(group, "template.spec"))
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{path}.template.spec.{key}", "true: the pod would share it with the node, and policies do not hold there"
    for kind in ("containers", "initContainers"):
        for i, container in enumerate(sequence(spec.get(kind))):
            rights, at = mapping(mapping(container).get("securityContext")), f"{path}.template.spec.{kind}[{i}].securityContext"
            if rights.get("privileged"):
                yield f"{at}.privileged", "true: whoever breaks out of a parser in this pod has the node"
            if rights.get("allowPrivilegeEscalation") is not False:
                yield f"{at}.allowPrivilegeEscalation", "must be false: no program of this pod needs more rights than its own"


def _version_of_the_image(ray: Ray, notes: list[str]) -> Iterator[Problem]:
    """KubeRay switches features by rayVersion; Ray's own images say theirs in the tag, chemr's have the pinned one."""
    found = ray.cluster.get("rayVersion")
    images = {str(ray_container(group).get("image")) for _, group in ray.pods()}
    for image in sorted(images):
        repository, _, tag = image.partition("@")[0].rpartition(":")
        name = (repository or tag).rsplit("/", 1)[-1]
        match = re.match(r"(\d+\.\d+\.\d+)", tag) if name.startswith("ray") else None
        expected = match[1] if match else importlib.metadata.version("ray") if name.startswith("chemr") else None
        if expected is None:
            note = f"the version of Ray in {image} is not known here; rayVersion has to name it"
            if note not in notes:
                notes.append(note)
        elif isinstance(found, str) and found.removeprefix("v") != expected:
            yield f"{ray.at}.rayVersion", f"found {found!r}, and {image} has Ray {expected}: KubeRay switches features by it"


def _resources(path: str, group: Object) -> Iterator[Problem]:
    for i, container in enumerate(sequence(get(group, "template.spec.containers"))):
        at = f"{path}.template.spec.containers[{i}].resources"
        requests, limits = mapping(get(container, "resources.requests")), mapping(get(container, "resources.limits"))
        for name in ("cpu", "memory", *sorted((requests.keys() | limits.keys()) - {"cpu", "memory"}, key=str)):
            if name not in limits:
                yield f"{at}.limits.{name}", "missing: a pod without limit takes what its neighbours need"
            elif name not in requests:
                yield f"{at}.requests.{name}", "missing: it must equal the limit"
            elif amount(limits[name]) is None or amount(requests[name]) is None:
                yield f"{at}.{'limits' if amount(limits[name]) is None else 'requests'}.{name}", "not an amount such as 2, 500m or 4Gi"
            elif amount(limits[name]) != amount(requests[name]):
                yield f"{at}.requests.{name}", f"{requests[name]} differs from the limit {limits[name]}: such a pod is evicted first"


def _shared_memory(path: str, group: Object) -> Iterator[Problem]:
    container, at = ray_container(group), f"{path}.template.spec"
    mounts = {
        str(mapping(each).get("mountPath")).rstrip("/"): mapping(each).get("name") for each in sequence(container.get("volumeMounts"))
    }
    if "/dev/shm" not in mounts:
        yield f"{at}.containers[0].volumeMounts", "no /dev/shm: 64 MiB, the default, are too few for Ray's object store and NCCL"
        return
    for i, volume in enumerate(sequence(get(group, "template.spec.volumes"))):
        if mapping(volume).get("name") != mounts["/dev/shm"]:
            continue
        if get(volume, "emptyDir.medium") != "Memory":
            yield f"{at}.volumes[{i}].emptyDir.medium", "must be Memory for /dev/shm"
        size = amount(get(volume, "emptyDir.sizeLimit"))
        memory = amount(get(container, "resources.limits.memory"))
        if size is None:
            yield f"{at}.volumes[{i}].emptyDir.sizeLimit", "missing or not an amount: /dev/shm would grow until the pod is killed"
        elif memory is not None and size >= memory:
            yield f"{at}.volumes[{i}].emptyDir.sizeLimit", "as large as the pod's memory, of which it is a part"
        store = mapping(group.get("rayStartParams")).get("object-store-memory")
        if store is not None and amount(store) is None:
            yield f"{path}.rayStartParams.object-store-memory", f"found {store!r}, expected bytes"
        elif size is not None and store is not None and (amount(store) or 0.0) > size:
            yield (
                f"{path}.rayStartParams.object-store-memory",
                f"{store} bytes are more than /dev/shm has ({get(volume, 'emptyDir.sizeLimit')})",
            )


def _volumes(path: str, group: Object) -> Iterator[Problem]:
    volumes = [str(mapping(volume).get("name")) for volume in sequence(get(group, "template.spec.volumes"))]
    for i, container in enumerate(sequence(get(group, "template.spec.containers"))):
        for j, mount in enumerate(sequence(mapping(container).get("volumeMounts"))):
            if (name := str(mapping(mount).get("name"))) not in volumes:
                yield (
                    f"{path}.template.spec.containers[{i}].volumeMounts[{j}].name",
                    f"{name!r} is none of the volumes {', '.join(volumes)}",
                )


def _references(path: str, group: Object, objects: list[Object], notes: list[str]) -> Iterator[Problem]:
    wanted = [(f"{path}.template.spec.priorityClassName", "PriorityClass", get(group, "template.spec.priorityClassName"))]
    wanted.append((f"{path}.template.spec.serviceAccountName", "ServiceAccount", get(group, "template.spec.serviceAccountName")))
    for i, volume in enumerate(sequence(get(group, "template.spec.volumes"))):
        at = f"{path}.template.spec.volumes[{i}].persistentVolumeClaim.claimName"
        wanted.append((at, "PersistentVolumeClaim", get(volume, "persistentVolumeClaim.claimName")))
    for at, kind, name in wanted:
        if name is None:
            continue
        known = [str(get(each, "metadata.name")) for each in objects if each.get("kind") == kind]
        if not known:
            note = f"{kind} {name} is not among the files: it has to exist in the cluster"
            if note not in notes:
                notes.append(note)
        elif name not in known:
            yield at, f"{kind} {name!r} is not among the files, which have {', '.join(known)}"


def _shared_claims(ray: Ray, objects: list[Object]) -> Iterator[Problem]:
    modes = {
        str(get(each, "metadata.name")): sequence(get(each, "spec.accessModes"))
        for each in objects
        if each.get("kind") == "PersistentVolumeClaim"
    }
    for path, group in ray.pods():
        for i, volume in enumerate(sequence(get(group, "template.spec.volumes"))):
            claim = str(get(volume, "persistentVolumeClaim.claimName"))
            if claim in modes and "ReadWriteMany" not in modes[claim]:
                yield (
                    f"{path}.template.spec.volumes[{i}].persistentVolumeClaim.claimName",
                    f"{claim} has accessModes {', '.join(map(str, modes[claim]))}, and several pods write to it: it needs ReadWriteMany",
                )
                return
