"""Rules that only KubeRay's operator checks, after the API server has accepted an object (status ValidationFailed).

After a description of KubeRay 1.7's controllers/ray/utils/validation.go, one function a rule; each yields the field and what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chemr.k8s.findings import get, mapping, sequence

Problem = tuple[str, str]
Object = dict[str, Any]
NAME_LIMITS = {"RayCluster": 53, "RayJob": 47, "RayService": 47}
SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
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
        """Path and group of the head and every worker group."""
        yield f"{self.at}.headGroupSpec", mapping(self.cluster.get("headGroupSpec"))
        for i, group in enumerate(sequence(self.cluster.get("workerGroupSpecs"))):
            yield f"{self.at}.workerGroupSpecs[{i}]", mapping(group)

    def environment(self) -> Iterator[tuple[str, str]]:
        """Path and name of every environment variable of every Ray container."""
        for path, group in self.pods():
            for i, container in enumerate(sequence(get(group, "template.spec.containers"))):
                for j, entry in enumerate(sequence(mapping(container).get("env"))):
                    yield f"{path}.template.spec.containers[{i}].env[{j}].name", str(mapping(entry).get("name"))


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
    """Group names are given once; sizes go together; no group is without pods."""
    seen: dict[str, str] = {}
    for path, group in list(ray.pods())[1:]:
        name = str(group.get("groupName"))
        if name in seen:
            yield f"{path}.groupName", f"{name!r} is the name of {seen[name]}, too"
        seen[name] = path
        least, most, now = (group.get(key) for key in ("minReplicas", "maxReplicas", "replicas"))
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield f"{path}.minReplicas", f"{least} is more than maxReplicas={most}"
        if all(isinstance(value, int) for value in (least, most, now)) and not least <= now <= most:  # type: ignore[operator]
            yield f"{path}.replicas", f"{now} is not between minReplicas={least} and maxReplicas={most}"
        for key in ("replicas", "minReplicas", "maxReplicas"):
            if isinstance(value := group.get(key), int) and value < 0:
                yield f"{path}.{key}", f"{value} is negative"
        if isinstance(hosts := group.get("numOfHosts"), int) and hosts < 1:
            yield f"{path}.numOfHosts", f"{hosts}: a replica has at least one host"


def containers(ray: Ray) -> Iterator[Problem]:
    """Every group has containers; the first is Ray's."""
    for path, group in ray.pods():
        found = sequence(get(group, "template.spec.containers"))
        if not found:
            yield f"{path}.template.spec.containers", "empty: the first container is Ray's"
        elif not str(mapping(found[0]).get("name")).startswith("ray"):
            yield (
                f"{path}.template.spec.containers[0].name",
                f"{mapping(found[0]).get('name')!r} is first, where Ray's container must be: KubeRay starts Ray there; call it ray-…",
            )


def submission_mode(ray: Ray) -> Iterator[Problem]:
    """The API server takes any text."""
    mode = ray.spec.get("submissionMode")
    if ray.kind == "RayJob" and mode is not None and mode not in SUBMISSION_MODES:
        yield "spec.submissionMode", f"{mode!r} is none of {', '.join(SUBMISSION_MODES)}"


def suspension(ray: Ray) -> Iterator[Problem]:
    """A suspended job loses its cluster."""
    if ray.kind == "RayJob" and ray.spec.get("suspend") and not ray.spec.get("shutdownAfterJobFinishes"):
        yield "spec.suspend", "needs shutdownAfterJobFinishes: true"


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
    if isinstance(active := ray.spec.get("activeDeadlineSeconds"), int) and active <= 0:
        yield "spec.activeDeadlineSeconds", f"{active} must be positive"


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
        if policy in order:
            delay = condition.get("ttlSeconds")
            delays[state, policy] = (i, delay if isinstance(delay, int) else 0)
        if policy == "DeleteWorkers" and ray.cluster.get("enableInTreeAutoscaling"):
            yield f"{at}[{i}].policy", "DeleteWorkers does not go with enableInTreeAutoscaling: the autoscaler would make them again"
    for state in {key[0] for key in delays}:
        known = [delays[state, policy] for policy in order if (state, policy) in delays]
        for (_, earlier), (i, later) in pairwise(known):
            if later < earlier:
                yield f"{at}[{i}].condition.ttlSeconds", f"{later} comes before what it contains is deleted, after {earlier}"


def sidecar(ray: Ray) -> Iterator[Problem]:
    """SidecarMode: the submitter is a container of the head, which is not restarted."""
    if ray.spec.get("submissionMode") != "SidecarMode":
        return
    for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
        if key in ray.spec:
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
    """A job has a cluster: its own, or one that it selects."""
    if ray.kind == "RayJob":
        if not ray.spec.get("rayClusterSpec") and not ray.spec.get("clusterSelector"):
            yield "spec.rayClusterSpec", "missing, and there is no clusterSelector"
        if ray.spec.get("clusterSelector") and ray.spec.get("shutdownAfterJobFinishes"):
            yield "spec.shutdownAfterJobFinishes", "does not go with clusterSelector: the cluster is not the job's"


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


def autoscaler_v2(ray: Ray) -> Iterator[Problem]:
    """Version 2 replaces pods itself, and is chosen in one place."""
    version = get(ray.cluster, "autoscalerOptions.version")
    for path, name in ray.environment():
        if name == "RAY_enable_autoscaler_v2":
            if version is not None:
                yield path, "RAY_enable_autoscaler_v2 does not go with autoscalerOptions.version"
            elif not ray.cluster.get("enableInTreeAutoscaling"):
                yield path, "RAY_enable_autoscaler_v2 needs enableInTreeAutoscaling"
    if ray.cluster.get("enableInTreeAutoscaling") and version == "v2":
        for path, group in ray.pods():
            if (policy := get(group, "template.spec.restartPolicy")) not in (None, "Never"):
                yield f"{path}.template.spec.restartPolicy", f"{policy}: autoscaler v2 needs Never"


def authentication(ray: Ray) -> Iterator[Problem]:
    """Tokens came with Ray 2.52, Kubernetes' own with 2.55."""
    options = mapping(ray.cluster.get("authOptions"))
    version = _version(ray.cluster.get("rayVersion"))
    if ray.cluster.get("authOptions") is not None and options.get("mode", "token") == "token" and (version is None or version < (2, 52)):
        found = ray.cluster.get("rayVersion")
        yield f"{ray.at}.rayVersion", f"found {found!r}; authOptions.mode: token needs 2.52.0 or later, and rayVersion to say so"
    if options.get("enableK8sTokenAuth"):
        if ray.kind != "RayCluster":
            yield f"{ray.at}.authOptions.enableK8sTokenAuth", f"is refused for a {ray.kind}"
        elif version is None or version < (2, 55):
            yield f"{ray.at}.rayVersion", "authOptions.enableK8sTokenAuth needs 2.55.0 or later"


def fault_tolerance(ray: Ray) -> Iterator[Problem]:
    """GCS fault tolerance is set in one place, with fields of its backend."""
    options, at = ray.cluster.get("gcsFaultToleranceOptions"), f"{ray.at}.gcsFaultToleranceOptions"
    if options is None:
        return
    for path, name in ray.environment():
        if name in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD"):
            yield path, f"{name} does not go with gcsFaultToleranceOptions"
    if "redis-password" in mapping(get(ray.cluster, "headGroupSpec.rayStartParams")):
        yield f"{ray.at}.headGroupSpec.rayStartParams.redis-password", "does not go with gcsFaultToleranceOptions"
    backend = mapping(options).get("backend", "redis")
    for key in ("storage",) if backend == "redis" else ("redisAddress", "redisPassword", "redisUsername"):
        if key in mapping(options):
            yield f"{at}.{key}", f"does not go with backend: {backend}"
    if backend == "rocksdb":
        yield f"{at}.backend", "rocksdb needs the operator's feature gate GCSFaultToleranceEmbeddedStorage, which is off by default"


def network_policy(ray: Ray) -> Iterator[Problem]:
    """spec.networkPolicy: group names that exist, rules that the mode knows."""
    policy, at = mapping(ray.cluster.get("networkPolicy")), f"{ray.at}.networkPolicy"
    if not policy:
        return
    known = [str(group.get("groupName")) for _, group in list(ray.pods())[1:]]
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
    """tlsOptions sets Ray's TLS by itself."""
    if not get(ray.cluster, "tlsOptions.enabled"):
        return
    for path, name in ray.environment():
        if name == "RAY_USE_TLS" or name.startswith("RAY_TLS_"):
            yield path, f"{name} does not go with tlsOptions"
    for path, group in ray.pods():
        for i, container in enumerate(sequence(get(group, "template.spec.containers"))):
            for j, mount in enumerate(sequence(mapping(container).get("volumeMounts"))):
                if str(mapping(mount).get("mountPath")).rstrip("/") == "/etc/ray/tls":
                    yield f"{path}.template.spec.containers[{i}].volumeMounts[{j}].mountPath", "/etc/ray/tls is tlsOptions' own place"


def feature_gates(ray: Ray) -> Iterator[Problem]:
    """Fields that an operator with default settings refuses."""
    for key, gate in GATED.items():
        if ray.cluster.get(key):
            yield f"{ray.at}.{key}", f"needs the operator's feature gate {gate}, which is off by default; use plain objects instead"


RULES: tuple[Callable[[Ray], Iterator[Problem]], ...] = (
    names,
    worker_groups,
    containers,
    submission_mode,
    suspension,
    time_to_live,
    limits_of_time,
    deletion_rules,
    sidecar,
    repeats,
    cluster_given,
    start_parameters,
    autoscaler_v2,
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
