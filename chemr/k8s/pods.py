"""Pod templates of the Ray cluster's head and workers."""

from __future__ import annotations

import shlex
from typing import Any

from chemr.k8s.groups import Group
from chemr.k8s.request import Request

GIB = 1 << 30
METRICS_PORT = 8080
RAY_METRICS, DRIVER_METRICS = "metrics", "driver-metrics"  # names of ports
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SERVICE_ACCOUNT = "chemr"


def labels_of(component: str) -> dict[str, str]:
    """Labels by which policies and people find the objects of a part."""
    return {"app.kubernetes.io/name": "chemr", "app.kubernetes.io/component": component}


def quantity(gib: float) -> str:
    """Kubernetes' notation of an amount of memory."""
    mib = round(gib * 1024)
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


def resources(cpu: int, memory_gb: float, gpu: int = 0, gpu_name: str = "nvidia.com/gpu") -> dict[str, dict[str, str]]:
    """Requests equal limits: never the first to be evicted."""
    amounts = {"cpu": str(cpu), "memory": quantity(memory_gb)} | ({gpu_name: str(gpu)} if gpu else {})
    return {"requests": dict(amounts), "limits": dict(amounts)}


def start_parameters(object_store_gb: float) -> dict[str, str]:
    """``ray start`` parameters that head and workers share. num-cpus and num-gpus of workers follow from the container's limits."""
    return {"object-store-memory": str(int(object_store_gb * GIB)), "metrics-export-port": str(METRICS_PORT)}


def head_template(request: Request) -> dict[str, Any]:
    """The driver's pod."""
    head = request.cluster.head
    template = _template(request, "head", "ray-head", resources(head.cpu, head.memory_gb + head.shm_gb), head.shm_gb)
    container = template["spec"]["containers"][0]
    # The driver alone: generators and reward workers, which read what a model wrote, need no secret.
    container["envFrom"] = [{"secretRef": {"name": request.cluster.secret, "optional": True}}]
    # A node that is gone has to give the head up before the operator gives the job up (deadlines.head_lost_s).
    template["spec"]["tolerations"] = [
        {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute"}
        | {"tolerationSeconds": request.cluster.deadlines.head_lost_s}
        for state in ("unreachable", "not-ready")
    ]
    # Whoever takes the pod away has the run drained first; it ends with a status that makes the attempt a failed one, which is repeated.
    evict_s = request.cluster.deadlines.evict_s
    drain = f"chemr drain {shlex.quote(str(request.config.run.path))} --evicted --timeout {max(1, evict_s - 10)} || true"
    container["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", drain]}}}
    template["spec"]["terminationGracePeriodSeconds"] = evict_s
    container["ports"] = [
        {"name": "gcs", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client", "containerPort": 10001},
        *container["ports"],
    ]
    if request.config.tracking.prometheus_port:  # Ray starts the driver in this container, whoever submits it
        container["ports"].append({"name": DRIVER_METRICS, "containerPort": request.config.tracking.prometheus_port})
    if request.cluster.autoscale:  # the autoscaler beside Ray asks the API server, with the account that KubeRay makes for it
        del template["spec"]["serviceAccountName"]
        template["spec"]["automountServiceAccountToken"] = True
    return template


def worker_template(request: Request, group: Group) -> dict[str, Any]:
    """A pod of a worker group."""
    cluster, settings = request.cluster, group.settings
    size = resources(group.cpu, settings.memory_gb + settings.shm_gb, group.gpu)
    template = _template(request, group.name, "ray-worker", size, settings.shm_gb)
    spec = template["spec"]
    if group.gpu:
        spec["tolerations"] = [{"key": cluster.gpu_toleration, "operator": "Exists", "effect": "NoSchedule"}]
    selector = dict(settings.node_selector)
    if selector:
        spec["nodeSelector"] = selector
    mine = {"matchLabels": {"chemr-group": group.name, "chemr-run": request.name}}
    if settings.spread and group.most > 1:
        spec["topologySpreadConstraints"] = [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": mine}
        ]
    if "learner" in group.roles and group.pods > 1:  # ranks exchange gradients at every step
        near = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": mine}
        spec["affinity"] = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": near}]}}
    return template


def _template(request: Request, group: str, name: str, size: dict[str, dict[str, str]], shm_gb: float) -> dict[str, Any]:
    cluster = request.cluster
    container = {
        "name": name,
        "image": cluster.image,
        "imagePullPolicy": cluster.pull_policy,
        "securityContext": dict(CONTAINER_SECURITY),
        "ports": [{"name": RAY_METRICS, "containerPort": METRICS_PORT}],
        "resources": size,
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "runs", "mountPath": cluster.storage.mount}],
    }
    return {
        "metadata": {"labels": labels_of("training") | {"chemr-group": group, "chemr-run": request.name}},
        "spec": {
            "restartPolicy": "Never",
            "priorityClassName": cluster.priority_class,
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "securityContext": dict(POD_SECURITY),
            "containers": [container],
            "volumes": [
                # 64 MiB, Kubernetes' default, are too few for Ray's object store, NCCL and the weights' buckets
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": quantity(shm_gb)}},
                {"name": "runs", "persistentVolumeClaim": {"claimName": cluster.storage.claim}},
            ],
        },
    }
