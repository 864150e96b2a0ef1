"""The gRPC reward service as a Deployment (docs/reward-service.md): mTLS, probes on a port of their own, an autoscaler, who may call."""

from __future__ import annotations

from typing import Any

from chemr.k8s.pods import CONTAINER_SECURITY, POD_SECURITY, SERVICE_ACCOUNT, labels_of, resources
from chemr.k8s.request import Request
from chemr.k8s.surroundings import namespace_peer, policy

Object = dict[str, Any]
NAME = "chemr-rewards"
PORT, HEALTH_PORT, METRICS_PORT = 50051, 50052, 9464
DRAIN_S, LEAVE_S = 30, 5  # for open calls; until the endpoints are updated everywhere


def reward_service(request: Request) -> list[Object]:
    """Deployment, headless Service, autoscaler, disruption budget and NetworkPolicy."""
    service = request.cluster.rewards_service
    selector = {"matchLabels": labels_of("rewards")}
    return [
        _deployment(request),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "labels": labels_of("rewards")},
            # headless: gRPC keeps one connection, so clients balance over all addresses (dns:///, round_robin)
            "spec": {
                "clusterIP": "None",
                "selector": labels_of("rewards"),
                "ports": [{"name": "grpc", "port": PORT, "targetPort": "grpc", "appProtocol": "grpc"}],
            },
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": NAME, "labels": labels_of("rewards")},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
                "minReplicas": service.min_replicas,
                "maxReplicas": service.max_replicas,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": service.cpu_target}},
                    }
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": NAME, "labels": labels_of("rewards")},
            "spec": {"maxUnavailable": 1, "selector": selector},
        },
        policy(
            NAME,
            selector,
            ingress=[
                {
                    "from": [
                        {"podSelector": {"matchLabels": dict(service.clients)}},
                        {"podSelector": {"matchLabels": labels_of("training")}},
                    ],
                    "ports": [{"protocol": "TCP", "port": "grpc"}],
                },
                {
                    "from": [{"namespaceSelector": namespace_peer(request.cluster.network.monitoring_namespace)}],
                    "ports": [{"protocol": "TCP", "port": "metrics"}],
                },
            ],
        ),
    ]


def _deployment(request: Request) -> Object:
    service, rewards = request.cluster.rewards_service, request.config.rewards
    command = ["chemr", "serve-rewards", "--host", "0.0.0.0", "--port", str(PORT), "--workers", str(service.workers)]
    command += ["--answer-timeout", f"{rewards.deadline_s:g}", "--drain", str(DRAIN_S)]
    command += ["--health-port", str(HEALTH_PORT), "--metrics-port", str(METRICS_PORT)]
    command += ["--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key", "--tls-client-ca", "/tls/ca.crt"]
    health = {"grpc": {"port": HEALTH_PORT}}
    container = {
        "name": "rewards",
        "image": service.image,
        "imagePullPolicy": request.cluster.pull_policy,
        "command": command,
        "securityContext": dict(CONTAINER_SECURITY),
        "ports": [
            {"name": "grpc", "containerPort": PORT},
            {"name": "health", "containerPort": HEALTH_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "resources": resources(service.workers, service.memory_gb),
        "startupProbe": health | {"periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": health | {"periodSeconds": 5},
        # not health: NOT_SERVING means draining, or no worker could be started, and the service keeps trying
        "livenessProbe": {"tcpSocket": {"port": "grpc"}, "periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_S)]}}},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}],
    }
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels_of("rewards")},
        "spec": {
            # no replicas: their number is the autoscaler's
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": labels_of("rewards")},
            "template": {
                "metadata": {"labels": labels_of("rewards")},
                "spec": {
                    "serviceAccountName": SERVICE_ACCOUNT,
                    "automountServiceAccountToken": False,
                    "securityContext": dict(POD_SECURITY),
                    "terminationGracePeriodSeconds": DRAIN_S + LEAVE_S + 10,
                    "topologySpreadConstraints": [spread | {"labelSelector": {"matchLabels": labels_of("rewards")}}],
                    "containers": [container],
                    "volumes": [{"name": "tls", "secret": {"secretName": service.tls_secret, "defaultMode": 0o440}}],
                },
            },
        },
    }
