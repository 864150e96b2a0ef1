"""Kueue's limits for Ray objects that wait in one of its queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chemr.k8s.findings import get, mapping, sequence
from chemr.k8s.operator_rules import Ray
from chemr.k8s.ray_objects import ELASTIC_ANNOTATION
from chemr.k8s.ray_pods import amount, ray_groups, requested

Problem = tuple[str, str]
Object = dict[str, Any]
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
SUBMITTER, AUTOSCALER = {"cpu": 0.5, "memory": 200.0 * 2**20}, {"cpu": 0.5, "memory": 512.0 * 2**20}
"""What the containers that KubeRay adds ask for, unless the object says otherwise; Kueue counts them."""
MOST_GROUPS = 17  # a Workload has at most 18 pod sets, and the head is one


def kueue_problems(ray: Ray, objects: list[Object], notes: list[str]) -> Iterator[Problem]:
    """Nothing for objects without the label of a queue."""
    queue = mapping(ray.metadata.get("labels")).get(QUEUE_LABEL)
    if queue is None:
        return
    label = f"metadata.labels[{QUEUE_LABEL!r}]"
    if ray.kind == "RayJob" and not ray.spec.get("shutdownAfterJobFinishes"):
        yield "spec.shutdownAfterJobFinishes", "must be true in a Kueue queue: the quota is given back with the cluster"
    if ray.spec.get("clusterSelector"):
        yield "spec.clusterSelector", "does not go with a Kueue queue: the pods would not be the job's"
    if sequence(get(ray.spec, "deletionStrategy.deletionRules")):
        yield "spec.deletionStrategy.deletionRules", "does not go with a Kueue queue, which needs shutdownAfterJobFinishes"
    if (count := len(sequence(ray.cluster.get("workerGroupSpecs")))) > MOST_GROUPS:
        yield f"{ray.at}.workerGroupSpecs", f"has {count} groups; Kueue takes at most {MOST_GROUPS}"
    for path, group in ray.workers():
        if group.get("groupName") == "head":
            yield f"{path}.groupName", "'head' is what Kueue calls the head's pods; take another name"
    if ray.spec.get("suspend") is False:
        yield "spec.suspend", "false, and Kueue sets it by itself; leave it out"
    if ray.cluster.get("enableInTreeAutoscaling"):
        if mapping(ray.metadata.get("annotations")).get(ELASTIC_ANNOTATION) != "true":
            yield f"{ray.at}.enableInTreeAutoscaling", f"in a Kueue queue it needs the annotation {ELASTIC_ANNOTATION}: 'true'"
        else:
            notes.append("autoscaling in a Kueue queue needs Kueue's feature gate ElasticJobsViaWorkloadSlices")
    yield from _quota(ray, label, str(queue), objects, notes)


def _quota(ray: Ray, label: str, queue: str, objects: list[Object], notes: list[str]) -> Iterator[Problem]:
    local = {str(get(each, "metadata.name")): get(each, "spec.clusterQueue") for each in objects if each.get("kind") == "LocalQueue"}
    if local and queue not in local:
        yield label, f"LocalQueue {queue!r} is not among the files, which have {', '.join(local)}"
        return
    cluster_queues = {str(get(each, "metadata.name")): each for each in objects if each.get("kind") == "ClusterQueue"}
    found = cluster_queues.get(str(local.get(queue)))
    if found is None:
        notes.append(f"the ClusterQueue of LocalQueue {queue} is not among the files: its quota is not compared with what the pods ask for")
        return
    quotas: dict[str, float] = {}
    for part in sequence(get(found, "spec.resourceGroups")):
        for flavor in sequence(mapping(part).get("flavors")):
            for resource in sequence(mapping(flavor).get("resources")):
                name = str(mapping(resource).get("name"))
                quotas[name] = quotas.get(name, 0.0) + (amount(mapping(resource).get("nominalQuota")) or 0.0)
    asked = dict(requested(mapping(ray.cluster.get("headGroupSpec"))))
    for added in _injected(ray):
        for name, value in added.items():
            asked[name] = asked.get(name, 0.0) + value
    pods = {group.path: group.pods for group in ray_groups(ray)}
    for path, spec in ray.workers():
        for name, value in requested(spec).items():
            asked[name] = asked.get(name, 0.0) + value * pods[path]
    for name, value in asked.items():
        if name not in quotas:
            yield label, f"ClusterQueue {local[queue]} covers no {name}, of which the pods ask for {value:g}: the job would wait for ever"
        elif value > quotas[name]:
            yield (
                label,
                f"the pods ask for {value:g} {name}, and ClusterQueue {local[queue]} has {quotas[name]:g}: the job would wait for ever",
            )


def _injected(ray: Ray) -> Iterator[dict[str, float]]:
    """Requests of the submitter, beside the head or in a pod of its own, and of the autoscaler."""
    if ray.kind == "RayJob" and ray.spec.get("submissionMode", "K8sJobMode") in ("K8sJobMode", "SidecarMode"):
        own = sequence(get(ray.spec, "submitterPodTemplate.spec.containers"))
        yield requested({"template": {"spec": {"containers": own}}}) if own else SUBMITTER
    if ray.autoscales:
        requests = mapping(get(ray.cluster, "autoscalerOptions.resources.requests"))
        yield {str(name): amount(value) or 0.0 for name, value in requests.items()} if requests else AUTOSCALER
