"""What a run has beside its Ray object, every name of which begins with the run's: two runs never share or overwrite one of these."""

from __future__ import annotations

from typing import Any

from chemr.k8s.groups import worker_groups
from chemr.k8s.pods import labels_of
from chemr.k8s.request import Request
from chemr.k8s.surroundings import policy

Object = dict[str, Any]


def run_objects(request: Request) -> list[Object]:
    """Policies and disruption budgets of one run. Raises K8sError for a cluster that does not fit the run."""
    pods = labels_of("training") | {"chemr-run": request.name}
    mine = {"matchLabels": pods}
    peers = [{"podSelector": mine}]
    objects = [policy(f"{request.name}-inside", mine, ingress=[{"from": peers}], egress=[{"to": peers}])]
    if request.cluster.autoscale:
        head = {"matchLabels": pods | {"chemr-group": "head"}}
        ports = [{"protocol": "TCP", "port": port} for port in (443, 6443)]
        objects.append(
            policy(f"{request.name}-autoscaler", head, egress=[{"ports": ports}])
        )  # the API server's address is the cluster's affair
    return objects + _disruption_budgets(request)


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
