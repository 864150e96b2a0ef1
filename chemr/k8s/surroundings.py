"""What a namespace has once, for all of its runs: account, priority, volume, and who may talk to whom.

No name in here is a run's, so a run neither changes nor deletes any of it (:mod:`chemr.k8s.run_objects`): the volume holds the
checkpoints of every run.
"""

from __future__ import annotations

from typing import Any

from chemr.k8s.cluster_config import PRIORITY_CLASS, NetworkConfig
from chemr.k8s.pods import SERVICE_ACCOUNT, labels_of
from chemr.k8s.request import Request

Object = dict[str, Any]
TRAINING = {"matchLabels": labels_of("training")}
HEADS = {"matchLabels": labels_of("training") | {"chemr-group": "head"}}
OPERATORS = (  # Helm's chart has both labels, each with an override of its own; kustomize's manifests have the first alone
    {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}},
    {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
)


def surroundings(request: Request) -> list[Object]:
    """Everything that the namespace's runs share, without components."""
    objects = [_service_account()]
    if request.cluster.priority_class == PRIORITY_CLASS:  # a class of another name is the cluster's, and not for us to make
        objects.append(_priority_class())
    if request.cluster.storage.create:
        objects.append(_claim(request))
    return objects + _policies(request.cluster.network)


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


def _priority_class() -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": PRIORITY_CLASS, "labels": {"app.kubernetes.io/name": "chemr"}},
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


def _policies(network: NetworkConfig) -> list[Object]:
    everybody = {"matchLabels": {"app.kubernetes.io/name": "chemr"}}
    operators = [{"namespaceSelector": namespace_peer(network.operator_namespace), "podSelector": each} for each in OPERATORS]
    return [
        policy("chemr-default-deny", everybody, ingress=[], egress=[]),
        policy("chemr-dns", everybody, egress=[{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]),
        # the operator reads the job's state from the dashboard
        policy("chemr-operator", HEADS, ingress=[{"from": operators, "ports": [{"protocol": "TCP", "port": 8265}]}]),
        # The driver alone talks to trackers and stores. Generators and reward workers, which read what a model wrote, reach nobody outside.
        policy("chemr-outside", HEADS, egress=_outside(network)),
    ]


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
