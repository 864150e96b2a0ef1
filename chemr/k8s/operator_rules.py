"""Rules that only KubeRay's operator checks, after the API server has accepted an object (status ValidationFailed).

They are those of KubeRay 1.7's ray-operator/controllers/ray/utils/validation.go and no others, one function a rule; each yields the field
and what is wrong. What chemr wants besides is in the other ``*_rules`` modules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from chemr.k8s.findings import get, mapping, sequence

Problem = tuple[str, str]
Object = dict[str, Any]
NAME_LIMITS = {"RayCluster": 53, "RayJob": 47, "RayService": 47}
SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
CLUSTER_NAME = "ray.io/cluster"
FAULT_TOLERANT = "ray.io/ft-enabled"
START_COMMAND = "KUBERAY_GEN_AUTOSCALER_START_CMD"
TLS_VOLUME = "ray-tls"
TLS_VARIABLES = ("RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
DNS_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
GATED = {  # alpha in 1.7, off by default: the operator refuses the field
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray object and the cluster's spec in it; ``at`` is the path of that spec."""

    kind: str
    metadata: Object
    spec: Object
    cluster: Object
    at: str

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Path and group of the head and every worker group; nothing for a job in a cluster that it selects."""
        if not self.cluster:
            return
        yield f"{self.at}.headGroupSpec", mapping(self.cluster.get("headGroupSpec"))
        for i, group in enumerate(sequence(self.cluster.get("workerGroupSpecs"))):
            yield f"{self.at}.workerGroupSpecs[{i}]", mapping(group)

    def workers(self) -> list[tuple[str, Object]]:
        """Path and group of every worker group."""
        return list(self.pods())[1:]

    def environment(self, head_only: bool = False) -> Iterator[tuple[str, str, Any]]:
        """Path, name and value of every environment variable of the Ray containers: the first of each pod."""
        for path, group in list(self.pods())[: 1 if head_only else None]:
            for container in sequence(get(group, "template.spec.containers"))[:1]:
                for j, entry in enumerate(sequence(mapping(container).get("env"))):
                    at = f"{path}.template.spec.containers[0].env[{j}].name"
                    yield at, str(mapping(entry).get("name")), mapping(entry).get("value")

    @property
    def autoscales(self) -> bool:
        """enableInTreeAutoscaling."""
        return bool(self.cluster.get("enableInTreeAutoscaling"))

    @property
    def autoscaler_is_v2(self) -> bool:
        """By the field, or by the variable that older operators read."""
        if get(self.cluster, "autoscalerOptions.version") == "v2":
            return True
        return any(name == "RAY_enable_autoscaler_v2" and value in ("1", "true") for _, name, value in self.environment(head_only=True))


def read_ray(document: Object) -> Ray | None:
    """The view that the rules need, or None for another kind."""
    kind, spec = str(document.get("kind")), mapping(document.get("spec"))
    if not str(document.get("apiVersion")).startswith("ray.io/") or kind not in NAME_LIMITS:
        return None
    field = {"RayCluster": "", "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}[kind]
    cluster = mapping(spec.get(field)) if field else spec
    return Ray(kind, mapping(document.get("metadata")), spec, cluster, f"spec.{field}" if field else "spec")


def names(ray: Ray) -> Iterator[Problem]:
    """DNS-1035, and short enough for the names that the operator derives."""
    name, limit = str(ray.metadata.get("name")), NAME_LIMITS[ray.kind]
    if len(name) > limit:
        yield "metadata.name", f"{name!r} has {len(name)} characters, a {ray.kind}'s name at most {limit}"
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield "metadata.name", f"{name!r} must be small letters, digits and '-', and begin with a letter (DNS-1035)"


def worker_groups(ray: Ray) -> Iterator[Problem]:
    """Bounds are given, unless an autoscaler has the say, and are in order."""
    for path, group in ray.workers():
        least, most = group.get("minReplicas"), group.get("maxReplicas")
        for key, value in (("minReplicas", least), ("maxReplicas", most)):
            if value is None and not ray.autoscales:
                yield f"{path}.{key}", "missing, and there is no enableInTreeAutoscaling"
            if isinstance(value, int) and value < 0:
                yield f"{path}.{key}", f"{value} is negative"
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield f"{path}.minReplicas", f"{least} is more than maxReplicas={most}"


def group_labels(ray: Ray) -> Iterator[Problem]:
    """Labels of Ray's nodes have the syntax of Kubernetes' labels."""
    for path, group in ray.pods():
        for key, value in mapping(group.get("labels")).items():
            prefix, slash, name = str(key).rpartition("/")
            good = re.fullmatch(LABEL_NAME, name) and len(name) <= 63
            if slash:
                good = good and re.fullmatch(DNS_SUBDOMAIN, prefix) and len(prefix) <= 253
            if not good:
                yield (
                    f"{path}.labels.{key}",
                    f"{key!r} is no label's key: letters, digits, '-', '_', '.', and before them a DNS name and '/'",
                )
            if not isinstance(value, str) or len(value) > 63 or (value and not re.fullmatch(LABEL_NAME, value)):
                yield f"{path}.labels.{key}", f"{value!r} is no label's value: at most 63 letters, digits, '-', '_', '.'"


def group_scaling(ray: Ray) -> Iterator[Problem]:
    """What of a group only the autoscaler reads, and what it cannot work with."""
    version = _version(ray.cluster.get("rayVersion"))
    for path, group in ray.workers():
        if ray.autoscales and group.get("suspend"):
            yield f"{path}.suspend", "does not go with enableInTreeAutoscaling"
        idle, priority = group.get("idleTimeoutSeconds"), group.get("priority")
        if isinstance(idle, int) and idle < 0:
            yield f"{path}.idleTimeoutSeconds", f"{idle} is negative"
        elif idle is not None and not ray.autoscaler_is_v2:
            yield f"{path}.idleTimeoutSeconds", "needs autoscalerOptions.version: v2"
        if priority and (version is None or version < (2, 56)):
            yield f"{ray.at}.rayVersion", f"found {ray.cluster.get('rayVersion')!r}; a group's priority needs 2.56.0 or later"
        elif priority and not ray.autoscaler_is_v2:
            yield f"{path}.priority", "needs autoscalerOptions.version: v2"


def containers(ray: Ray) -> Iterator[Problem]:
    """Every group has containers."""
    for path, group in ray.pods():
        if not sequence(get(group, "template.spec.containers")):
            yield f"{path}.template.spec.containers", "empty: the first container is Ray's"


def submission_mode(ray: Ray) -> Iterator[Problem]:
    """The API server takes any text."""
    mode = ray.spec.get("submissionMode")
    if ray.kind == "RayJob" and mode is not None and mode not in SUBMISSION_MODES:
        yield "spec.submissionMode", f"{mode!r} is none of {', '.join(SUBMISSION_MODES)}"


def suspension(ray: Ray) -> Iterator[Problem]:
    """A suspended job loses its cluster."""
    if ray.kind == "RayJob" and ray.spec.get("suspend"):
        if not ray.spec.get("shutdownAfterJobFinishes"):
            yield "spec.suspend", "needs shutdownAfterJobFinishes: true"
        if ray.spec.get("clusterSelector"):
            yield "spec.suspend", "does not go with clusterSelector"


def runtime_environment(ray: Ray) -> Iterator[Problem]:
    """runtimeEnvYAML is a mapping in YAML."""
    text = ray.spec.get("runtimeEnvYAML")
    if ray.kind != "RayJob" or not isinstance(text, str):
        return
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        yield "spec.runtimeEnvYAML", f"is not YAML: {' '.join(str(error).split())}"
        return
    if content is not None and not isinstance(content, dict):
        yield "spec.runtimeEnvYAML", f"is a {type(content).__name__}, expected a mapping such as `working_dir: .`"


def time_to_live(ray: Ray) -> Iterator[Problem]:
    """ttlSecondsAfterFinished is of the shutdown."""
    ttl = ray.spec.get("ttlSecondsAfterFinished")
    if ray.kind != "RayJob" or not isinstance(ttl, int):
        return
    if ttl < 0:
        yield "spec.ttlSecondsAfterFinished", f"{ttl} is negative"
    elif ttl > 0 and not ray.spec.get("shutdownAfterJobFinishes"):
        yield "spec.ttlSecondsAfterFinished", "needs shutdownAfterJobFinishes: true"


def limits_of_time(ray: Ray) -> Iterator[Problem]:
    """Deadlines and repeats are numbers that can be."""
    if ray.kind != "RayJob":
        return
    if isinstance(backoff := ray.spec.get("backoffLimit"), int) and backoff < 0:
        yield "spec.backoffLimit", f"{backoff} is negative"
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if isinstance(value := ray.spec.get(key), int) and value <= 0:
            yield f"spec.{key}", f"{value} must be positive"


def deletion_rules(ray: Ray) -> Iterator[Problem]:
    """deletionStrategy.deletionRules: instead of the shutdown, each once, in an order of time, workers only of fixed groups."""
    rules = sequence(get(ray.spec, "deletionStrategy.deletionRules"))
    at = "spec.deletionStrategy.deletionRules"
    if not rules:
        return
    if ray.spec.get("shutdownAfterJobFinishes"):
        yield "spec.shutdownAfterJobFinishes", "excludes deletionStrategy.deletionRules (and ttlSecondsAfterFinished with it)"
    seen, delays = set(), {}
    order = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
    for i, rule in enumerate(rules):
        policy, condition = str(mapping(rule).get("policy")), mapping(mapping(rule).get("condition"))
        state = str(condition.get("jobStatus") or condition.get("jobDeploymentStatus"))
        if (policy, state) in seen:
            yield f"{at}[{i}]", f"a second rule {policy} for {state}"
        seen.add((policy, state))
        if ray.spec.get("clusterSelector") and policy in ("DeleteCluster", "DeleteWorkers"):
            yield f"{at}[{i}].policy", f"{policy} does not go with clusterSelector: the cluster is not the job's"
        if isinstance(ttl := condition.get("ttlSeconds"), int) and ttl < 0:
            yield f"{at}[{i}].condition.ttlSeconds", f"{ttl} is negative"
        if policy in order:
            delay = condition.get("ttlSeconds")
            delays[state, policy] = (i, delay if isinstance(delay, int) else 0)
        if policy == "DeleteWorkers" and ray.autoscales:
            yield f"{at}[{i}].policy", "DeleteWorkers does not go with enableInTreeAutoscaling: the autoscaler would make them again"
    for state in {key[0] for key in delays}:
        known = [delays[state, policy] for policy in order if (state, policy) in delays]
        for (_, earlier), (i, later) in pairwise(known):
            if later < earlier:
                yield f"{at}[{i}].condition.ttlSeconds", f"{later} comes before what it contains is deleted, after {earlier}"


def legacy_deletion(ray: Ray) -> Iterator[Problem]:
    """deletionStrategy.onSuccess and onFailure: both or neither, and nothing that contradicts the rest."""
    strategy, at = mapping(ray.spec.get("deletionStrategy")), "spec.deletionStrategy"
    given = [key for key in ("onSuccess", "onFailure") if strategy.get(key) is not None]
    if ray.kind != "RayJob" or not given:
        return
    if len(given) == 1:
        yield f"{at}.{'onFailure' if given == ['onSuccess'] else 'onSuccess'}", f"missing beside {given[0]}"
    for key in given:
        policy = get(strategy, f"{key}.policy")
        if policy is None:
            yield f"{at}.{key}.policy", "missing"
        elif policy == "DeleteNone" and ray.spec.get("shutdownAfterJobFinishes"):
            yield f"{at}.{key}.policy", "DeleteNone does not go with shutdownAfterJobFinishes: true"
        elif policy == "DeleteWorkers" and ray.autoscales:
            yield f"{at}.{key}.policy", "DeleteWorkers does not go with enableInTreeAutoscaling: the autoscaler would make them again"
        elif policy in ("DeleteWorkers", "DeleteCluster") and ray.spec.get("clusterSelector"):
            yield f"{at}.{key}.policy", f"{policy} does not go with clusterSelector: the cluster is not the job's"


def sidecar(ray: Ray) -> Iterator[Problem]:
    """SidecarMode: the submitter is a container of the head, which is not restarted."""
    if ray.spec.get("submissionMode") != "SidecarMode":
        return
    for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
        if ray.spec.get(key) not in (None, {}) or (key != "clusterSelector" and ray.spec.get(key) == {}):
            yield f"spec.{key}", "does not go with submissionMode: SidecarMode"
    if (policy := get(ray.cluster, "headGroupSpec.template.spec.restartPolicy")) not in (None, "Never"):
        yield f"{ray.at}.headGroupSpec.template.spec.restartPolicy", f"{policy}: SidecarMode needs Never"


def repeats(ray: Ray) -> Iterator[Problem]:
    """What has no cluster of its own cannot be tried again on a new one."""
    if ray.kind == "RayJob" and ray.spec.get("backoffLimit"):
        if ray.spec.get("submissionMode") == "InteractiveMode":
            yield "spec.backoffLimit", "must be 0 with submissionMode: InteractiveMode"
        if ray.spec.get("clusterSelector"):
            yield "spec.backoffLimit", "must be 0 with clusterSelector"


def cluster_given(ray: Ray) -> Iterator[Problem]:
    """A job has a cluster: its own, or one that it selects by name."""
    if ray.kind != "RayJob":
        return
    selector = mapping(ray.spec.get("clusterSelector"))
    if not ray.spec.get("rayClusterSpec") and not selector:
        yield "spec.rayClusterSpec", "missing, and there is no clusterSelector"
    if selector and not selector.get(CLUSTER_NAME):
        yield "spec.clusterSelector", f"needs {CLUSTER_NAME} with the name of the cluster"


def upgrades(ray: Ray) -> Iterator[Problem]:
    """Only a cluster of one's own is upgraded, and that in one of two ways."""
    kind = get(ray.cluster, "upgradeStrategy.type")
    if kind is None or ray.kind == "RayService":
        return
    if ray.kind == "RayJob":
        yield f"{ray.at}.upgradeStrategy", "does not go with a RayJob: its cluster lives as long as the job"
    elif kind not in ("Recreate", "None"):
        yield f"{ray.at}.upgradeStrategy.type", f"found {kind!r}, expected Recreate or None"


def start_parameters(ray: Ray) -> Iterator[Problem]:
    """Sizes and labels stand in one place."""
    for path, group in ray.pods():
        parameters = mapping(group.get("rayStartParams"))
        if group.get("resources"):
            for key in ("num-cpus", "num-gpus", "memory", "resources"):
                if key in parameters:
                    yield f"{path}.rayStartParams.{key}", "does not go with the group's resources"
        if "labels" in parameters:
            yield f"{path}.rayStartParams.labels", "is refused: use the group's labels"


def autoscaler_options(ray: Ray) -> Iterator[Problem]:
    """Version 2 replaces pods itself, and is chosen in one place; what KubeRay sets for the autoscaler is its own."""
    options, at = mapping(ray.cluster.get("autoscalerOptions")), f"{ray.at}.autoscalerOptions"
    for path, name, value in ray.environment(head_only=True):
        if name != "RAY_enable_autoscaler_v2":
            continue
        if ray.autoscales and options.get("version") is not None:
            yield path, "RAY_enable_autoscaler_v2 does not go with autoscalerOptions.version"
        elif not ray.autoscales and value in ("1", "true"):
            yield path, f"RAY_enable_autoscaler_v2={value} needs enableInTreeAutoscaling"
    if ray.autoscales and options.get("version") == "v2":
        for path, group in ray.pods():
            if (policy := get(group, "template.spec.restartPolicy")) not in (None, "Never"):
                yield f"{path}.template.spec.restartPolicy", f"{policy}: autoscaler v2 needs Never"
    if isinstance(idle := options.get("idleTimeoutSeconds"), int) and idle < 0:
        yield f"{at}.idleTimeoutSeconds", f"{idle} is negative"
    for i, entry in enumerate(sequence(options.get("env"))):
        if mapping(entry).get("name") == START_COMMAND:
            yield f"{at}.env[{i}].name", f"{START_COMMAND} is set by KubeRay"


def authentication(ray: Ray) -> Iterator[Problem]:
    """Tokens came with Ray 2.52, Kubernetes' own with 2.55. Without a mode there are none."""
    options, at = mapping(ray.cluster.get("authOptions")), f"{ray.at}.authOptions"
    found = ray.cluster.get("rayVersion")
    version = _version(found)
    token = options.get("mode") == "token"
    if token and (version is None or version < (2, 52)):
        yield f"{ray.at}.rayVersion", f"found {found!r}; authOptions.mode: token needs 2.52.0 or later, and rayVersion to say so"
    if not options.get("enableK8sTokenAuth"):
        return
    if ray.kind != "RayCluster":
        yield f"{at}.enableK8sTokenAuth", f"is refused for a {ray.kind}"
    elif not token:
        yield f"{at}.enableK8sTokenAuth", "needs mode: token"
    elif version is None or version < (2, 55):
        yield f"{ray.at}.rayVersion", "authOptions.enableK8sTokenAuth needs 2.55.0 or later"
    elif options.get("secretName"):
        yield f"{at}.secretName", "does not go with enableK8sTokenAuth"


def fault_tolerance(ray: Ray) -> Iterator[Problem]:
    """GCS fault tolerance is set in one place, with fields of its backend. Only the head's settings count."""
    options, at = ray.cluster.get("gcsFaultToleranceOptions"), f"{ray.at}.gcsFaultToleranceOptions"
    annotations = mapping(ray.metadata.get("annotations"))
    parameters = mapping(get(ray.cluster, "headGroupSpec.rayStartParams"))
    if parameters.get("redis-username"):
        yield f"{ray.at}.headGroupSpec.rayStartParams.redis-username", "is refused: use gcsFaultToleranceOptions.redisUsername"
    for path, name, _ in ray.environment(head_only=True):
        if name == "REDIS_USERNAME":
            yield path, "REDIS_USERNAME is refused: use gcsFaultToleranceOptions.redisUsername"
        elif name == "RAY_REDIS_ADDRESS" and options is None and str(annotations.get(FAULT_TOLERANT)).lower() != "true":
            yield path, "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions"
        elif name in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD") and options is not None:
            yield path, f"{name} does not go with gcsFaultToleranceOptions"
    if options is None:
        return
    for name in (FAULT_TOLERANT, "ray.io/external-storage-namespace"):
        if annotations.get(name):
            yield f"metadata.annotations[{name!r}]", "does not go with gcsFaultToleranceOptions"
    if parameters.get("redis-password"):
        yield f"{ray.at}.headGroupSpec.rayStartParams.redis-password", "does not go with gcsFaultToleranceOptions"
    backend = mapping(options).get("backend") or "redis"
    redis = ("redisAddress", "redisPassword", "redisUsername", "externalStorageNamespace")
    for key in ("storage",) if backend == "redis" else redis:
        if mapping(options).get(key) not in (None, ""):
            yield f"{at}.{key}", f"does not go with backend: {backend}"
    if backend == "rocksdb":
        yield from _embedded_storage(ray, mapping(options), at)


def _embedded_storage(ray: Ray, options: Object, at: str) -> Iterator[Problem]:
    yield f"{at}.backend", "rocksdb needs the operator's feature gate GCSFaultToleranceEmbeddedStorage, which is off by default"
    storage = mapping(options.get("storage"))
    if storage.get("claimName"):
        for key in ("size", "storageClassName", "accessModes"):
            if storage.get(key):
                yield f"{at}.storage.{key}", "does not go with claimName: that claim exists"
    for path, name, _ in ray.environment(head_only=True):
        if name in ("RAY_GCS_STORAGE", "RAY_GCS_STORAGE_PATH"):
            yield path, f"{name} is set by KubeRay with backend: rocksdb"


def network_policy(ray: Ray) -> Iterator[Problem]:
    """spec.networkPolicy: group names that exist, rules that the mode knows."""
    policy, at = mapping(ray.cluster.get("networkPolicy")), f"{ray.at}.networkPolicy"
    if not policy:
        return
    known = [str(group.get("groupName")) for _, group in ray.workers()]
    for i, name in enumerate(known):
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            yield f"{ray.at}.workerGroupSpecs[{i}].groupName", f"{name!r} must be a DNS-1123 label when networkPolicy is set"
    parts = [(f"{at}.head", mapping(policy.get("head"))), (f"{at}.worker", mapping(policy.get("worker")))]
    for i, entry in enumerate(sequence(policy.get("workerGroups"))):
        parts.append((f"{at}.workerGroups[{i}]", mapping(entry)))
        if (name := str(mapping(entry).get("groupName"))) not in known:
            yield f"{at}.workerGroups[{i}].groupName", f"{name!r} is none of the groups {', '.join(known)}"
    excluded = {"DenyAllIngress": "egressRules", "DenyAllEgress": "ingressRules"}.get(str(policy.get("mode")))
    for path, part in parts:
        if excluded and part.get(excluded):
            yield f"{path}.{excluded}", f"does not go with mode: {policy.get('mode')}"


def transport_security(ray: Ray) -> Iterator[Problem]:
    """tlsOptions sets Ray's TLS by itself, in every Ray container and in the autoscaler's."""
    if not get(ray.cluster, "tlsOptions.enabled"):
        return
    options, at = mapping(ray.cluster.get("autoscalerOptions")), f"{ray.at}.autoscalerOptions"
    variables = [(path, name) for path, name, _ in ray.environment()]
    variables += [(f"{at}.env[{i}].name", str(mapping(entry).get("name"))) for i, entry in enumerate(sequence(options.get("env")))]
    for path, name in variables:
        if name in TLS_VARIABLES:
            yield path, f"{name} does not go with tlsOptions"
    mounts = [(f"{at}.volumeMounts[{i}]", mapping(each)) for i, each in enumerate(sequence(options.get("volumeMounts")))]
    for path, group in ray.pods():
        first = mapping(next(iter(sequence(get(group, "template.spec.containers"))), {}))
        for j, each in enumerate(sequence(first.get("volumeMounts"))):
            mounts.append((f"{path}.template.spec.containers[0].volumeMounts[{j}]", mapping(each)))
    for path, mount in mounts:
        if mount.get("mountPath") == "/etc/ray/tls":
            yield f"{path}.mountPath", "/etc/ray/tls is tlsOptions' own place"
        if mount.get("name") == TLS_VOLUME:
            yield f"{path}.name", f"{TLS_VOLUME} is tlsOptions' own volume"


def feature_gates(ray: Ray) -> Iterator[Problem]:
    """Fields that an operator with default settings refuses."""
    for key, gate in GATED.items():
        if ray.cluster.get(key):
            yield f"{ray.at}.{key}", f"needs the operator's feature gate {gate}, which is off by default; use plain objects instead"


RULES: tuple[Callable[[Ray], Iterator[Problem]], ...] = (
    names,
    worker_groups,
    group_labels,
    group_scaling,
    containers,
    submission_mode,
    suspension,
    runtime_environment,
    time_to_live,
    limits_of_time,
    deletion_rules,
    legacy_deletion,
    sidecar,
    repeats,
    cluster_given,
    upgrades,
    start_parameters,
    autoscaler_options,
    authentication,
    fault_tolerance,
    network_policy,
    transport_security,
    feature_gates,
)


def operator_problems(document: Object) -> Iterator[Problem]:
    """Everything that the operator would refuse in this object."""
    ray = read_ray(document)
    if ray is not None:
        for rule in RULES:
            yield from rule(ray)


def _version(text: Any) -> tuple[int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)", str(text)) if text else None
    return (int(match[1]), int(match[2])) if match else None
