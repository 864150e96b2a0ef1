"""Kueue's cluster-wide objects, which a cluster's administrator applies once: a flavour of nodes, and a queue with room for the runs."""

from __future__ import annotations

from typing import Any

from chemr.k8s.groups import worker_groups
from chemr.k8s.pods import quantity
from chemr.k8s.request import Request

Object = dict[str, Any]


def cluster_queues(requests: list[Request]) -> list[Object]:
    """ResourceFlavor and ClusterQueue, whose quota is the largest of these requests at its largest."""
    totals = [_total(request) for request in requests]
    most = {name: max(total[name] for total in totals) for name in ("cpu", "memory", "nvidia.com/gpu")}
    quotas = {"cpu": str(int(most["cpu"])), "memory": quantity(most["memory"]), "nvidia.com/gpu": str(int(most["nvidia.com/gpu"]))}
    scheduler = requests[0].cluster.scheduler
    return [
        {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": scheduler.flavor}},
        {
            "apiVersion": "kueue.x-k8s.io/v1beta1",
            "kind": "ClusterQueue",
            "metadata": {"name": scheduler.cluster_queue},
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [
                    {
                        "coveredResources": list(quotas),
                        "flavors": [
                            {
                                "name": scheduler.flavor,
                                "resources": [{"name": name, "nominalQuota": quota} for name, quota in quotas.items()],
                            }
                        ],
                    }
                ],
            },
        },
    ]


def _total(request: Request) -> dict[str, float]:
    """GiB of memory, CPUs and GPUs of all pods; one core and 1 GiB are left for the sidecars that KubeRay adds to the head."""
    head = request.cluster.head
    total = {"cpu": head.cpu + 1.0, "memory": head.memory_gb + head.shm_gb + 1.0, "nvidia.com/gpu": 0.0}
    for group in worker_groups(request.config, request.cluster):
        total["cpu"] += group.most * group.cpu
        total["memory"] += group.most * (group.settings.memory_gb + group.settings.shm_gb)
        total["nvidia.com/gpu"] += group.most * group.gpu
    return total
