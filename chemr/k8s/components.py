"""The optional parts: a batch scheduler's labels and queues, monitoring, the reward service.

Labels are of the run's Ray object; objects are of the surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chemr.k8s.kustomize import apply_operations
from chemr.k8s.pods import DRIVER_METRICS, RAY_METRICS, labels_of
from chemr.k8s.request import Request
from chemr.k8s.reward_service import reward_service
from chemr.k8s.surroundings import TRAINING, namespace_peer, policy

Object = dict[str, Any]
RAY_KINDS = ("RayJob", "RayCluster")


@dataclass
class Component:
    """``labels`` are added to the Ray object of a run, ``objects`` to the surroundings of all."""

    labels: dict[str, str] = field(default_factory=dict)
    objects: list[Object] = field(default_factory=list)

    def operations(self) -> list[dict[str, str]]:
        """The patch of the Ray object."""
        escaped = {key.replace("~", "~0").replace("/", "~1"): value for key, value in self.labels.items()}
        return [{"op": "add", "path": f"/metadata/labels/{key}", "value": value} for key, value in escaped.items()]


def component(name: str, request: Request) -> Component:
    """The component of this name (``chemr.k8s.request.COMPONENTS``)."""
    scheduler = request.cluster.scheduler
    match name:
        case "kueue":
            return Component({"kueue.x-k8s.io/queue-name": scheduler.queue}, [_local_queue(request)])
        case "volcano":
            return Component(
                {"volcano.sh/queue-name": scheduler.queue, "ray.io/priority-class-name": request.cluster.priority_class},
            )
        case "yunikorn":
            return Component(
                {
                    "ray.io/gang-scheduling-enabled": "true",
                    "yunikorn.apache.org/app-id": request.name,
                    "yunikorn.apache.org/queue": f"root.{scheduler.queue}",
                }
            )
        case "kai":
            return Component({"kai.scheduler/queue": scheduler.queue})
        case "monitoring":
            return Component(objects=_monitoring(request))
        case "reward-service":
            return Component(objects=reward_service(request))
    raise AssertionError(f"no component {name}")


def with_labels(ray: Object, request: Request) -> Object:
    """The Ray object with the labels of all components of the request."""
    for name in request.components:
        ray = apply_operations(ray, component(name, request).operations())
    return ray


def added_objects(request: Request) -> list[Object]:
    """What the components of the request add to the surroundings."""
    return [each for name in request.components for each in component(name, request).objects]


def _local_queue(request: Request) -> Object:
    scheduler = request.cluster.scheduler
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "LocalQueue",
        "metadata": {"name": scheduler.queue, "labels": {"app.kubernetes.io/name": "chemr"}},
        "spec": {"clusterQueue": scheduler.cluster_queue},
    }


def _monitoring(request: Request) -> list[Object]:
    prometheus = namespace_peer(request.cluster.network.monitoring_namespace)
    names = [RAY_METRICS, DRIVER_METRICS]  # a run that serves no metrics has no port of that name
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": {"name": "chemr-ray", "labels": labels_of("training")},
            "spec": {
                "selector": TRAINING,
                "jobLabel": "chemr-run",
                "podTargetLabels": ["chemr-run", "chemr-group"],
                "podMetricsEndpoints": [{"port": name, "interval": "15s"} for name in names],
            },
        },
        policy(
            "chemr-ray-metrics",
            TRAINING,
            ingress=[{"from": [{"namespaceSelector": prometheus}], "ports": [{"protocol": "TCP", "port": name} for name in names]}],
        ),
    ]
