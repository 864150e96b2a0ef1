"""The RayJob or RayCluster of a run."""

from __future__ import annotations

from typing import Any

from actors.pool_config import role_label
from chemr.k8s.cluster_config import Workload
from chemr.k8s.groups import Group, worker_groups
from chemr.k8s.pods import head_template, labels_of, start_parameters, worker_template
from chemr.k8s.request import Request

ENTRYPOINT_ANNOTATION = "chemr/entrypoint"
OVERLAY_ANNOTATION = "chemr/overlay"
ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"


def ray_object(request: Request) -> dict[str, Any]:
    """The object that runs the pods."""
    spec = _cluster_spec(request)
    annotations = {OVERLAY_ANNOTATION: request.overlay}
    if request.cluster.autoscale:  # without it Kueue refuses a job whose size changes; nobody else reads it
        annotations[ELASTIC_ANNOTATION] = "true"
    metadata: dict[str, Any] = {"name": request.name, "labels": labels_of("training"), "annotations": annotations}
    if request.cluster.workload is Workload.cluster:  # the command to run by hand: what `check` measures the groups against
        annotations[ENTRYPOINT_ANNOTATION] = request.entrypoint
        return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": spec}
    deadlines = request.cluster.deadlines
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata,
        "spec": {
            # A head that is gone fails the attempt, backoffLimit starts a new cluster, and run.resume=auto continues from the checkpoint.
            "submissionMode": "SidecarMode",
            "entrypoint": request.entrypoint,
            "backoffLimit": deadlines.backoff_limit,
            "activeDeadlineSeconds": deadlines.active_s,  # of each attempt
            "preRunningDeadlineSeconds": deadlines.pods_s,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": deadlines.keep_s,
            "rayClusterSpec": spec,
        },
    }


def _cluster_spec(request: Request) -> dict[str, Any]:
    cluster = request.cluster
    groups = worker_groups(request.config, cluster)
    spec: dict[str, Any] = {
        "rayVersion": cluster.ray_version,
        "authOptions": {"mode": "token"},  # without it, whoever reaches the dashboard port can run code
        "headGroupSpec": {
            "rayStartParams": {
                "num-cpus": "0",  # no actor is put beside the driver
                "num-gpus": "0",
                **start_parameters(cluster.head.object_store_gb),
            },
            "template": head_template(request),
        },
        "workerGroupSpecs": [_worker_group(request, group) for group in groups],
    }
    if cluster.autoscale:
        spec["enableInTreeAutoscaling"] = True
        # v2: version 1 knows nothing of the labels that the run's actors ask for
        spec["autoscalerOptions"] = {"version": "v2", "upscalingMode": "Default", "idleTimeoutSeconds": cluster.idle_s}
    return spec


def _worker_group(request: Request, group: Group) -> dict[str, Any]:
    return {
        "groupName": group.name,
        "replicas": group.pods,
        "minReplicas": group.least,
        "maxReplicas": group.most,
        "labels": {role_label(role): "true" for role in group.roles},  # of Ray's nodes: pool.role_labels
        "rayStartParams": start_parameters(group.settings.object_store_gb),
        "template": worker_template(request, group),
    }
