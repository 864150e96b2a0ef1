"""Schemas of the core kinds among the manifests, written from the Kubernetes API reference (v1.34): all fields of these kinds.

A test compares them with the models of the Kubernetes project's own client.

Pod templates are not here: CRDs of KubeRay contain their full schema (:meth:`chemr.k8s.schemas.Schemas.pod_template`).
"""

from __future__ import annotations

from typing import Any

from chemr.k8s.schemas import OBJECT_META

Schema = dict[str, Any]


def _object(required: str = "", /, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties} | ({"required": required.split()} if required else {})


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _number(least: int | None = None, most: int | None = None) -> Schema:
    limits = {"minimum": least, "maximum": most}
    return {"type": "integer", "format": "int32"} | {key: value for key, value in limits.items() if value is not None}


TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
PORT: Schema = {"x-kubernetes-int-or-string": True}
QUANTITY: Schema = {
    "x-kubernetes-int-or-string": True,
    "pattern": r"^[+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
}
QUANTITIES: Schema = {"type": "object", "additionalProperties": QUANTITY}
CIDR: Schema = {"type": "string", "pattern": r"^[0-9a-fA-F:.]+/[0-9]{1,3}$"}
SELECTOR = _object(
    matchLabels=TEXTS,
    matchExpressions=_list(
        _object("key operator", key=TEXT, operator=_one_of("In", "NotIn", "Exists", "DoesNotExist"), values=_list(TEXT))
    ),
)
LOCAL_REFERENCE = _object("kind name", apiGroup=TEXT, kind=TEXT, name=TEXT)
REFERENCE = _object("kind name", apiGroup=TEXT, kind=TEXT, name=TEXT, namespace=TEXT)
PEER = _object(ipBlock=_object("cidr", cidr=CIDR, **{"except": _list(CIDR)}), namespaceSelector=SELECTOR, podSelector=SELECTOR)
POLICY_PORT = _object(port=PORT, endPort=_number(1, 65535), protocol=_one_of("TCP", "UDP", "SCTP"))
PVC_RESOURCES = _object(requests=QUANTITIES, limits=QUANTITIES)
METRIC_TARGET = _object(
    "type", type=_one_of("Utilization", "Value", "AverageValue"), averageUtilization=_number(1), averageValue=QUANTITY, value=QUANTITY
)
METRIC_NAME = _object("name", name=TEXT, selector=SELECTOR)
SCALING_RULES = _object(
    policies=_list(_object("type value periodSeconds", type=_one_of("Pods", "Percent"), value=_number(1), periodSeconds=_number(1, 1800))),
    selectPolicy=_one_of("Max", "Min", "Disabled"),
    stabilizationWindowSeconds=_number(0, 3600),
    tolerance=QUANTITY,
)
SCALED = _object("kind name", apiVersion=TEXT, kind=TEXT, name=TEXT)
METRIC = _object(
    "type",
    type=_one_of("Resource", "Pods", "Object", "External", "ContainerResource"),
    resource=_object("name target", name=TEXT, target=METRIC_TARGET),
    containerResource=_object("name container target", name=TEXT, container=TEXT, target=METRIC_TARGET),
    pods=_object("metric target", metric=METRIC_NAME, target=METRIC_TARGET),
    external=_object("metric target", metric=METRIC_NAME, target=METRIC_TARGET),
    object=_object("metric target describedObject", metric=METRIC_NAME, target=METRIC_TARGET, describedObject=SCALED),
)
SERVICE_PORT = _object(
    "port",
    name={"type": "string", "maxLength": 15},
    port=_number(1, 65535),
    targetPort=PORT,
    nodePort=_number(1, 65535),
    protocol=_one_of("TCP", "UDP", "SCTP"),
    appProtocol=TEXT,
)
ENDPOINT = _object(
    port=TEXT,
    portNumber=_number(1, 65535),
    targetPort=PORT,
    path=TEXT,
    scheme=TEXT,
    interval=TEXT,
    scrapeTimeout=TEXT,
    honorLabels=FLAG,
    honorTimestamps=FLAG,
    params={"type": "object", "additionalProperties": _list(TEXT)},
    relabelings=_list({"type": "object"}),
    metricRelabelings=_list({"type": "object"}),
    filterRunning=FLAG,
    followRedirects=FLAG,
    enableHttp2=FLAG,
    tlsConfig={"type": "object"},
    authorization={"type": "object"},
    basicAuth={"type": "object"},
    bearerTokenSecret={"type": "object"},
    oauth2={"type": "object"},
    proxyUrl=TEXT,
    trackTimestampsStaleness=FLAG,
)


# What an object of a kind has besides apiVersion, kind and metadata.
KINDS: dict[tuple[str, str], dict[str, Schema]] = {
    ("v1", "ServiceAccount"): {
        "automountServiceAccountToken": FLAG,
        "imagePullSecrets": _list(_object(name=TEXT)),
        "secrets": _list({"type": "object"}),
    },
    ("v1", "Secret"): {"type": TEXT, "data": TEXTS, "stringData": TEXTS, "immutable": FLAG},
    ("v1", "ConfigMap"): {"data": TEXTS, "binaryData": TEXTS, "immutable": FLAG},
    ("v1", "Namespace"): {"spec": _object(finalizers=_list(TEXT))},
    ("v1", "PersistentVolumeClaim"): {
        "spec": _object(
            "accessModes resources",
            accessModes=_list(_one_of("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"), minItems=1),
            resources=PVC_RESOURCES | {"required": ["requests"]},
            storageClassName=TEXT,
            volumeName=TEXT,
            volumeMode=_one_of("Filesystem", "Block"),
            selector=SELECTOR,
            dataSource=LOCAL_REFERENCE,
            dataSourceRef=REFERENCE,
            volumeAttributesClassName=TEXT,
        )
    },
    ("v1", "Service"): {
        "spec": _object(
            selector=TEXTS,
            ports=_list(SERVICE_PORT),
            type=_one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
            clusterIP=TEXT,
            clusterIPs=_list(TEXT),
            publishNotReadyAddresses=FLAG,
            sessionAffinity=_one_of("None", "ClientIP"),
            sessionAffinityConfig={"type": "object"},
            ipFamilies=_list(TEXT),
            ipFamilyPolicy=TEXT,
            internalTrafficPolicy=TEXT,
            externalTrafficPolicy=TEXT,
            externalName=TEXT,
            externalIPs=_list(TEXT),
            loadBalancerIP=TEXT,
            loadBalancerClass=TEXT,
            loadBalancerSourceRanges=_list(TEXT),
            allocateLoadBalancerNodePorts=FLAG,
            healthCheckNodePort=_number(0, 65535),
            trafficDistribution=TEXT,
        )
    },
    ("scheduling.k8s.io/v1", "PriorityClass"): {
        "value": _number(None, 1_000_000_000),
        "globalDefault": FLAG,
        "description": TEXT,
        "preemptionPolicy": _one_of("Never", "PreemptLowerPriority"),
    },
    ("policy/v1", "PodDisruptionBudget"): {
        "spec": _object(
            minAvailable=PORT,
            maxUnavailable=PORT,
            selector=SELECTOR,
            unhealthyPodEvictionPolicy=_one_of("IfHealthyBudget", "AlwaysAllow"),
        )
    },
    ("networking.k8s.io/v1", "NetworkPolicy"): {
        "spec": _object(
            "podSelector",
            podSelector=SELECTOR,
            policyTypes=_list(_one_of("Ingress", "Egress")),
            ingress=_list(_object("", **{"from": _list(PEER), "ports": _list(POLICY_PORT)})),
            egress=_list(_object(to=_list(PEER), ports=_list(POLICY_PORT))),
        )
    },
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {
        "spec": _object(
            "scaleTargetRef maxReplicas",
            scaleTargetRef=SCALED,
            minReplicas=_number(0),
            maxReplicas=_number(1),
            metrics=_list(METRIC),
            behavior=_object(scaleUp=SCALING_RULES, scaleDown=SCALING_RULES),
        )
    },
    ("apps/v1", "Deployment"): {
        "spec": _object(
            "selector template",
            replicas=_number(0),
            selector=SELECTOR,
            template={"type": "object"},  # a pod template: core_schema puts its schema there
            minReadySeconds=_number(0),
            paused=FLAG,
            progressDeadlineSeconds=_number(0),
            revisionHistoryLimit=_number(0),
            strategy=_object(type=_one_of("RollingUpdate", "Recreate"), rollingUpdate=_object(maxSurge=PORT, maxUnavailable=PORT)),
        )
    },
    ("monitoring.coreos.com/v1", "PodMonitor"): {
        "spec": _object(
            "selector",
            selector=SELECTOR,
            jobLabel=TEXT,
            podTargetLabels=_list(TEXT),
            podMetricsEndpoints=_list(ENDPOINT),
            namespaceSelector=_object(any=FLAG, matchNames=_list(TEXT)),
            sampleLimit=_number(0),
            targetLimit=_number(0),
            labelLimit=_number(0),
            labelNameLengthLimit=_number(0),
            labelValueLengthLimit=_number(0),
            keepDroppedTargets=_number(0),
            attachMetadata={"type": "object"},
            selectorMechanism=TEXT,
            scrapeClass=TEXT,
            bodySizeLimit=TEXT,
            scrapeProtocols=_list(TEXT),
            fallbackScrapeProtocol=TEXT,
        )
    },
}


def core_schema(version: str, kind: str, pod_template: Schema | None) -> Schema | None:
    """The schema of a core kind, or None when it is not among them. Without ``pod_template`` any pod template passes."""
    body = KINDS.get((version, kind))
    if body is None:
        return None
    if kind == "Deployment" and pod_template is not None:
        spec = body["spec"]
        body = {"spec": spec | {"properties": spec["properties"] | {"template": pod_template}}}
    return _object("apiVersion kind metadata", apiVersion=TEXT, kind=TEXT, metadata=OBJECT_META | {"required": ["name"]}, **body)


def known_versions(kind: str) -> list[str]:
    """The apiVersions under which a core kind is known here."""
    return [version for version, name in KINDS if name == kind]
