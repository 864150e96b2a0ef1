"""What goes with a Ray cluster: account, priority, volume, who may talk to whom, and what may be evicted."""

from __future__ import annotations

from typing import Any

from chemr.k8s.cluster_config import NetworkConfig
from chemr.k8s.groups import worker_groups
from chemr.k8s.pods import SERVICE_ACCOUNT, labels_of
from chemr.k8s.request import Request

Object = dict[str, Any]
TRAINING = {"matchLabels": labels_of("training")}
OPERATOR = {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}


def surroundings(request: Request) -> list[Object]:
    """Everything but the Ray object and the components."""
    objects = [_service_account(), _priority_class(request)]
    if request.cluster.storage.create:
        objects.append(_claim(request))
    return objects + _policies(request) + _disruption_budgets(request)


def namespace_peer(namespace: str | None) -> Object:
    """A NetworkPolicy's selector of one namespace, or of all."""
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}} if namespace else {}


def policy(name: str, selector: Object, **rules: Any) -> Object:
    """A NetworkPolicy; ``rules`` are ``ingress`` and ``egress``, and the types follow from them."""
    types = [kind.capitalize() for kind in ("ingress", "egress") if kind in rules]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "chemr"}},
        "spec": {"podSelector": selector, "policyTypes": types, **rules},
    }


def _service_account() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": SERVICE_ACCOUNT, "labels": {"app.kubernetes.io/name": "chemr"}},
        "automountServiceAccountToken": False,
    }


def _priority_class(request: Request) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": request.cluster.priority_class, "labels": {"app.kubernetes.io/name": "chemr"}},
        "value": 1000,
        "globalDefault": False,
        "preemptionPolicy": "Never",
        "description": "Training runs of chemr: before batch work of priority 0, and never at the cost of pods that run.",
    }


def _claim(request: Request) -> Object:
    storage = request.cluster.storage
    spec: Object = {
        "accessModes": ["ReadWriteMany"],  # the driver writes records on the head, learner ranks write checkpoints on theirs
        "resources": {"requests": {"storage": f"{storage.size_gb}Gi"}},
    }
    if storage.storage_class is not None:
        spec["storageClassName"] = storage.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": storage.claim, "labels": {"app.kubernetes.io/name": "chemr"}},
        "spec": spec,
    }


def _policies(request: Request) -> list[Object]:
    network = request.cluster.network
    everybody = {"matchLabels": {"app.kubernetes.io/name": "chemr"}}
    objects = [
        policy("chemr-default-deny", everybody, ingress=[], egress=[]),
        policy("chemr-dns", everybody, egress=[{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]),
        policy("chemr-inside", TRAINING, ingress=[{"from": [{"podSelector": TRAINING}]}], egress=[{"to": [{"podSelector": TRAINING}]}]),
        policy(  # the operator reads the job's state from the dashboard
            "chemr-operator",
            {"matchLabels": labels_of("training") | {"chemr-group": "head"}},
            ingress=[
                {
                    "from": [{"namespaceSelector": namespace_peer(network.operator_namespace), "podSelector": OPERATOR}],
                    "ports": [{"protocol": "TCP", "port": 8265}],
                }
            ],
        ),
        policy("chemr-outside", TRAINING, egress=_outside(network)),
    ]
    if request.cluster.autoscale:
        ports = [{"protocol": "TCP", "port": port} for port in (443, 6443)]
        head = {"matchLabels": labels_of("training") | {"chemr-group": "head"}}
        objects.append(policy("chemr-autoscaler", head, egress=[{"ports": ports}]))  # the API server's address is the cluster's affair
    return objects


def _outside(network: NetworkConfig) -> list[Object]:
    """W&B and object stores: HTTPS to public addresses, and named ranges inside."""
    public = {"ipBlock": {"cidr": "0.0.0.0/0", **({"except": list(network.https_except)} if network.https_except else {})}}
    rules: list[Object] = [{"to": [public], "ports": [{"protocol": "TCP", "port": 443}]}]
    if network.object_store_cidrs:
        rules.append(
            {
                "to": [{"ipBlock": {"cidr": cidr}} for cidr in network.object_store_cidrs],
                "ports": [{"protocol": "TCP", "port": network.object_store_port}],
            }
        )
    return rules


def _disruption_budgets(request: Request) -> list[Object]:
    """Head and learners are not evicted. Ray's pods have no scale subresource, for which minAvailable must be a whole number."""
    learner = next(group for group in worker_groups(request.config, request.cluster) if "learner" in group.roles)
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": f"{request.name}-{group}", "labels": {"app.kubernetes.io/name": "chemr"}},
            "spec": {"minAvailable": pods, "selector": {"matchLabels": {"chemr-run": request.name, "chemr-group": group}}},
        }
        for group, pods in (("head", 1), (learner.name, learner.pods))
    ]
