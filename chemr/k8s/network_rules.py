"""Whether the NetworkPolicies of a set let a run live: its pods find names and each other, and the operator finds the head.

Policies only add: as soon as one selects a pod for a direction, what none of them allows is refused there. Pods that no policy selects are
free. Selectors are read by ``matchLabels``; a policy with ``matchExpressions`` is taken to allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chemr.k8s.findings import get, mapping, sequence
from chemr.k8s.operator_rules import Ray

Problem = tuple[str, str]
Object = dict[str, Any]
OPERATORS: tuple[dict[str, str], ...] = (  # labels of the operator's pod as its two installations make it
    {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/component": "kuberay-operator"},
    {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"},
)
DASHBOARD_PORT = 8265


def network_problems(ray: Ray, objects: list[Object]) -> Iterator[Problem]:
    """Nothing where no policy selects the run's pods."""
    namespace = ray.metadata.get("namespace")
    policies = [each for each in objects if each.get("kind") == "NetworkPolicy" and get(each, "metadata.namespace") == namespace]
    pods = [(path, mapping(get(group, "template.metadata.labels"))) for path, group in ray.pods()]
    for place, (path, labels) in enumerate(pods):
        at = f"{path}.template.metadata.labels"
        for protocol in ("UDP", "TCP"):
            if not _allowed(policies, labels, "egress", None, 53, protocol):
                yield at, f"the NetworkPolicies let this pod ask no name server (port 53, {protocol})"
        for _, other in pods:
            for direction, what in (("egress", "reach"), ("ingress", "be reached by")):
                if not _allowed(policies, labels, direction, other, None, "TCP"):
                    group = other.get("chemr-group", "another group")
                    yield at, f"the NetworkPolicies do not let this pod {what} the run's pods of {group} on Ray's ports ({direction})"
        if place == 0:
            for operator in OPERATORS:
                if not _allowed(policies, labels, "ingress", operator, DASHBOARD_PORT, "TCP", elsewhere=True):
                    names = ", ".join(f"{key}={value}" for key, value in operator.items())
                    yield (
                        at,
                        f"the NetworkPolicies do not let the operator ({names}) reach port {DASHBOARD_PORT}, where the job's state is",
                    )
                    break


def _allowed(
    policies: list[Object], labels: Object, direction: str, peer: Object | None, port: int | None, protocol: str, elsewhere: bool = False
) -> bool:
    """Whether a pod may talk to (``egress``) or be called by (``ingress``) a peer.

    ``peer`` None: the name service, in some other namespace. ``port`` None: all ports. ``elsewhere``: the peer is in another one.
    """
    selecting = [
        mapping(each.get("spec"))
        for each in policies
        if direction.capitalize() in _types(mapping(each.get("spec"))) and _selects(get(each, "spec.podSelector"), labels)
    ]
    if not selecting:
        return True
    side = "to" if direction == "egress" else "from"
    rules = [mapping(rule) for spec in selecting for rule in sequence(spec.get(direction))]
    return any(_peer(rule.get(side), peer, elsewhere) and _port(rule.get("ports"), port, protocol) for rule in rules)


def _types(spec: Object) -> list[Any]:
    return sequence(spec.get("policyTypes")) or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _selects(selector: Any, labels: Object) -> bool:
    if mapping(selector).get("matchExpressions"):
        return True
    return all(labels.get(key) == value for key, value in mapping(mapping(selector).get("matchLabels")).items())


def _peer(peers: Any, labels: Object | None, elsewhere: bool) -> bool:
    if not sequence(peers):
        return True  # no list: everybody
    if labels is None:
        return any({"ipBlock", "namespaceSelector"} & mapping(each).keys() for each in sequence(peers))
    for each in map(mapping, sequence(peers)):
        if "ipBlock" in each:
            continue
        if elsewhere and "namespaceSelector" not in each:
            continue
        if "podSelector" not in each or _selects(each["podSelector"], labels):
            return True
    return False


def _port(ports: Any, wanted: int | None, protocol: str) -> bool:
    if not sequence(ports):
        return True
    for each in map(mapping, sequence(ports)):
        number = each.get("port")
        if each.get("protocol", "TCP") != protocol:
            continue
        if number is None or (wanted is not None and number == wanted):
            return True
        if wanted is not None and isinstance(number, int) and isinstance(end := each.get("endPort"), int) and number <= wanted <= end:
            return True
    return False
