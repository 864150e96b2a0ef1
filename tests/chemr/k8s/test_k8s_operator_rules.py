"""Every rule of KubeRay's operator refuses what it is for, names the field, and lets the rendered manifest pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from chemr.k8s import operator_rules as rules
from chemr.k8s.request import Request
from tests.chemr.k8s.manifests import ray_of, rendered

Object = dict[str, Any]
HEAD = "spec.rayClusterSpec.headGroupSpec"
GROUP = "spec.rayClusterSpec.workerGroupSpecs[0]"
OPTIONS = "spec.rayClusterSpec.autoscalerOptions"
STRATEGY = "spec.deletionStrategy"


def cluster(job: Object) -> Object:
    return job["spec"]["rayClusterSpec"]


def group(job: Object, index: int = 0) -> Object:
    return cluster(job)["workerGroupSpecs"][index]


def container(job: Object) -> Object:
    return group(job)["template"]["spec"]["containers"][0]


def head(job: Object) -> Object:
    return cluster(job)["headGroupSpec"]


def head_env(job: Object, name: str, value: str = "x") -> None:
    head(job)["template"]["spec"]["containers"][0].setdefault("env", []).append({"name": name, "value": value})


def scaled(job: Object) -> Object:
    """The cluster with the autoscaler of version 2."""
    cluster(job).update(enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"})
    return cluster(job)


def deletion(*found: tuple[str, str, int]) -> Object:
    return {"deletionRules": [{"policy": p, "condition": {"jobStatus": s, "ttlSeconds": t}} for p, s, t in found]}


def legacy(success: str, failure: str) -> Object:
    return {"onSuccess": {"policy": success}, "onFailure": {"policy": failure}}


CASES: list[tuple[Callable[..., Any], Callable[[Object], Any], str]] = [
    (rules.names, lambda job: job["metadata"].update(name="x" * 48), "metadata.name"),
    (rules.names, lambda job: job["metadata"].update(name="1st"), "metadata.name"),
    (rules.worker_groups, lambda job: group(job).update(minReplicas=3), f"{GROUP}.minReplicas"),
    (rules.worker_groups, lambda job: group(job).update(minReplicas=-1), f"{GROUP}.minReplicas"),
    (rules.worker_groups, lambda job: group(job).update(maxReplicas=-1, minReplicas=-2), f"{GROUP}.maxReplicas"),
    (rules.worker_groups, lambda job: group(job).pop("maxReplicas"), f"{GROUP}.maxReplicas"),
    (rules.group_labels, lambda job: group(job).update(labels={"-x": "1"}), f"{GROUP}.labels.-x"),
    (rules.group_labels, lambda job: group(job).update(labels={"A.b/x": "1"}), f"{GROUP}.labels.A.b/x"),
    (rules.group_labels, lambda job: group(job).update(labels={"x": "a b"}), f"{GROUP}.labels.x"),
    (rules.group_labels, lambda job: head(job).update(labels={"x": "a" * 64}), f"{HEAD}.labels.x"),
    (rules.group_scaling, lambda job: [scaled(job), group(job).update(suspend=True)], f"{GROUP}.suspend"),
    (rules.group_scaling, lambda job: group(job).update(priority=5), f"{GROUP}.priority"),
    (
        rules.group_scaling,
        lambda job: [scaled(job).update(rayVersion="2.55.1"), group(job).update(priority=5)],
        "spec.rayClusterSpec.rayVersion",
    ),
    (rules.group_scaling, lambda job: group(job).update(idleTimeoutSeconds=60), f"{GROUP}.idleTimeoutSeconds"),
    (rules.group_scaling, lambda job: [scaled(job), group(job).update(idleTimeoutSeconds=-1)], f"{GROUP}.idleTimeoutSeconds"),
    (rules.containers, lambda job: group(job)["template"]["spec"].update(containers=[]), f"{GROUP}.template.spec.containers"),
    (rules.runtime_environment, lambda job: job["spec"].update(runtimeEnvYAML="working_dir: [."), "spec.runtimeEnvYAML"),
    (rules.runtime_environment, lambda job: job["spec"].update(runtimeEnvYAML="- a"), "spec.runtimeEnvYAML"),
    (rules.runtime_environment, lambda job: job["spec"].update(runtimeEnvYAML="just text"), "spec.runtimeEnvYAML"),
    (rules.submission_mode, lambda job: job["spec"].update(submissionMode="SideCarMode"), "spec.submissionMode"),
    (rules.suspension, lambda job: job["spec"].update(suspend=True, shutdownAfterJobFinishes=False), "spec.suspend"),
    (rules.suspension, lambda job: job["spec"].update(suspend=True, clusterSelector={"ray.io/cluster": "x"}), "spec.suspend"),
    (rules.time_to_live, lambda job: job["spec"].pop("shutdownAfterJobFinishes"), "spec.ttlSecondsAfterFinished"),
    (rules.time_to_live, lambda job: job["spec"].update(ttlSecondsAfterFinished=-5), "spec.ttlSecondsAfterFinished"),
    (rules.limits_of_time, lambda job: job["spec"].update(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds"),
    (rules.limits_of_time, lambda job: job["spec"].update(preRunningDeadlineSeconds=0), "spec.preRunningDeadlineSeconds"),
    (rules.limits_of_time, lambda job: job["spec"].update(backoffLimit=-1), "spec.backoffLimit"),
    (
        rules.deletion_rules,
        lambda job: job["spec"].update(deletionStrategy=deletion(("DeleteSelf", "FAILED", -9))),
        "spec.deletionStrategy.deletionRules[0].condition.ttlSeconds",
    ),
    (
        rules.deletion_rules,
        lambda job: job["spec"].update(clusterSelector={"a": "b"}, deletionStrategy=deletion(("DeleteCluster", "FAILED", 9))),
        "spec.deletionStrategy.deletionRules[0].policy",
    ),
    (
        rules.legacy_deletion,
        lambda job: job["spec"].update(deletionStrategy=legacy("DeleteNone", "DeleteSelf")),
        f"{STRATEGY}.onSuccess.policy",
    ),
    (
        rules.legacy_deletion,
        lambda job: job["spec"].update(deletionStrategy=legacy("DeleteSelf", "DeleteNone")),
        f"{STRATEGY}.onFailure.policy",
    ),
    (
        rules.legacy_deletion,
        lambda job: job["spec"].update(deletionStrategy={"onSuccess": {"policy": "DeleteSelf"}}),
        f"{STRATEGY}.onFailure",
    ),
    (
        rules.legacy_deletion,
        lambda job: [scaled(job), job["spec"].update(deletionStrategy=legacy("DeleteWorkers", "DeleteSelf"))],
        f"{STRATEGY}.onSuccess.policy",
    ),
    (
        rules.deletion_rules,
        lambda job: job["spec"].update(deletionStrategy=deletion(("DeleteCluster", "FAILED", 9))),
        "spec.shutdownAfterJobFinishes",
    ),
    (
        rules.deletion_rules,
        lambda job: job["spec"].update(deletionStrategy=deletion(("DeleteSelf", "FAILED", 9), ("DeleteSelf", "FAILED", 9))),
        "spec.deletionStrategy.deletionRules[1]",
    ),
    (
        rules.deletion_rules,
        lambda job: job["spec"].update(deletionStrategy=deletion(("DeleteWorkers", "FAILED", 90), ("DeleteCluster", "FAILED", 9))),
        "spec.deletionStrategy.deletionRules[1].condition.ttlSeconds",
    ),
    (
        rules.deletion_rules,
        lambda job: [
            cluster(job).update(enableInTreeAutoscaling=True),
            job["spec"].update(deletionStrategy=deletion(("DeleteWorkers", "FAILED", 9))),
        ],
        "spec.deletionStrategy.deletionRules[0].policy",
    ),
    (rules.sidecar, lambda job: job["spec"].update(submitterPodTemplate={}), "spec.submitterPodTemplate"),
    (rules.sidecar, lambda job: job["spec"].update(submitterConfig={"backoffLimit": 1}), "spec.submitterConfig"),
    (rules.sidecar, lambda job: job["spec"].update(clusterSelector={"a": "b"}), "spec.clusterSelector"),
    (
        rules.sidecar,
        lambda job: cluster(job)["headGroupSpec"]["template"]["spec"].update(restartPolicy="Always"),
        f"{HEAD}.template.spec.restartPolicy",
    ),
    (rules.repeats, lambda job: job["spec"].update(submissionMode="InteractiveMode"), "spec.backoffLimit"),
    (rules.repeats, lambda job: job["spec"].update(clusterSelector={"a": "b"}), "spec.backoffLimit"),
    (rules.cluster_given, lambda job: job["spec"].pop("rayClusterSpec"), "spec.rayClusterSpec"),
    (rules.cluster_given, lambda job: job["spec"].update(clusterSelector={"a": "b"}), "spec.clusterSelector"),
    (rules.upgrades, lambda job: cluster(job).update(upgradeStrategy={"type": "Recreate"}), "spec.rayClusterSpec.upgradeStrategy"),
    (
        rules.start_parameters,
        lambda job: [group(job).update(resources={"CPU": "2"}), group(job)["rayStartParams"].update({"num-cpus": "2"})],
        f"{GROUP}.rayStartParams.num-cpus",
    ),
    (rules.start_parameters, lambda job: group(job)["rayStartParams"].update(labels="a=b"), f"{GROUP}.rayStartParams.labels"),
    (
        rules.autoscaler_options,
        lambda job: [scaled(job), group(job)["template"]["spec"].update(restartPolicy="Always")],
        f"{GROUP}.template.spec.restartPolicy",
    ),
    (
        rules.autoscaler_options,
        lambda job: [scaled(job), head_env(job, "RAY_enable_autoscaler_v2", "0")],
        f"{HEAD}.template.spec.containers[0].env[0].name",
    ),
    (
        rules.autoscaler_options,
        lambda job: head_env(job, "RAY_enable_autoscaler_v2", "1"),
        f"{HEAD}.template.spec.containers[0].env[0].name",
    ),
    (rules.autoscaler_options, lambda job: scaled(job)["autoscalerOptions"].update(idleTimeoutSeconds=-1), f"{OPTIONS}.idleTimeoutSeconds"),
    (
        rules.autoscaler_options,
        lambda job: scaled(job)["autoscalerOptions"].update(env=[{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": "x"}]),
        f"{OPTIONS}.env[0].name",
    ),
    (rules.authentication, lambda job: cluster(job).update(rayVersion="2.51.1"), "spec.rayClusterSpec.rayVersion"),
    (rules.authentication, lambda job: cluster(job).pop("rayVersion"), "spec.rayClusterSpec.rayVersion"),
    (
        rules.authentication,
        lambda job: cluster(job)["authOptions"].update(enableK8sTokenAuth=True),
        "spec.rayClusterSpec.authOptions.enableK8sTokenAuth",
    ),
    (
        rules.fault_tolerance,
        lambda job: [
            cluster(job).update(gcsFaultToleranceOptions={"redisAddress": "redis:6379"}),
            head_env(job, "RAY_REDIS_ADDRESS"),
        ],
        f"{HEAD}.template.spec.containers[0].env[0].name",
    ),
    (
        rules.fault_tolerance,
        lambda job: [cluster(job).update(gcsFaultToleranceOptions={"redisAddress": "r:1"}), head_env(job, "REDIS_PASSWORD")],
        f"{HEAD}.template.spec.containers[0].env[0].name",
    ),
    (rules.fault_tolerance, lambda job: head_env(job, "RAY_REDIS_ADDRESS"), f"{HEAD}.template.spec.containers[0].env[0].name"),
    (rules.fault_tolerance, lambda job: head_env(job, "REDIS_USERNAME"), f"{HEAD}.template.spec.containers[0].env[0].name"),
    (
        rules.fault_tolerance,
        lambda job: head(job)["rayStartParams"].update({"redis-username": "me"}),
        f"{HEAD}.rayStartParams.redis-username",
    ),
    *(
        (
            rules.fault_tolerance,
            lambda job, name=name: [
                cluster(job).update(gcsFaultToleranceOptions={"redisAddress": "r:1"}),
                job["metadata"]["annotations"].update({name: "true"}),
            ],
            f"metadata.annotations['{name}']",
        )
        for name in ("ray.io/ft-enabled", "ray.io/external-storage-namespace")
    ),
    (
        rules.fault_tolerance,
        lambda job: cluster(job).update(
            gcsFaultToleranceOptions={"backend": "rocksdb", "storage": {"claimName": "mine", "storageClassName": "fast"}}
        ),
        "spec.rayClusterSpec.gcsFaultToleranceOptions.storage.storageClassName",
    ),
    (
        rules.fault_tolerance,
        lambda job: [cluster(job).update(gcsFaultToleranceOptions={"backend": "rocksdb"}), head_env(job, "RAY_GCS_STORAGE_PATH")],
        f"{HEAD}.template.spec.containers[0].env[0].name",
    ),
    (
        rules.fault_tolerance,
        lambda job: [
            cluster(job).update(gcsFaultToleranceOptions={"redisAddress": "redis:6379"}),
            cluster(job)["headGroupSpec"]["rayStartParams"].update({"redis-password": "x"}),
        ],
        f"{HEAD}.rayStartParams.redis-password",
    ),
    (
        rules.fault_tolerance,
        lambda job: cluster(job).update(gcsFaultToleranceOptions={"backend": "redis", "storage": {}}),
        "spec.rayClusterSpec.gcsFaultToleranceOptions.storage",
    ),
    (
        rules.fault_tolerance,
        lambda job: cluster(job).update(gcsFaultToleranceOptions={"backend": "rocksdb", "redisAddress": "r:1"}),
        "spec.rayClusterSpec.gcsFaultToleranceOptions.redisAddress",
    ),
    (
        rules.network_policy,
        lambda job: [
            cluster(job).update(networkPolicy={"mode": "DenyAll", "workerGroups": [{"groupName": "leaner"}]}),
        ],
        "spec.rayClusterSpec.networkPolicy.workerGroups[0].groupName",
    ),
    (
        rules.network_policy,
        lambda job: cluster(job).update(networkPolicy={"mode": "DenyAllIngress", "head": {"egressRules": [{}]}}),
        "spec.rayClusterSpec.networkPolicy.head.egressRules",
    ),
    (
        rules.network_policy,
        lambda job: [cluster(job).update(networkPolicy={"mode": "DenyAll"}), group(job).update(groupName="Learner_1")],
        f"{GROUP}.groupName",
    ),
    (
        rules.transport_security,
        lambda job: [cluster(job).update(tlsOptions={"enabled": True}), container(job).update(env=[{"name": "RAY_USE_TLS", "value": "1"}])],
        f"{GROUP}.template.spec.containers[0].env[0].name",
    ),
    (
        rules.transport_security,
        lambda job: [
            cluster(job).update(tlsOptions={"enabled": True}),
            container(job)["volumeMounts"].append({"name": "shm", "mountPath": "/etc/ray/tls"}),
        ],
        f"{GROUP}.template.spec.containers[0].volumeMounts[2].mountPath",
    ),
    (
        rules.transport_security,
        lambda job: [
            cluster(job).update(tlsOptions={"enabled": True}),
            scaled(job)["autoscalerOptions"].update(env=[{"name": "RAY_TLS_CA_CERT", "value": "x"}]),
        ],
        f"{OPTIONS}.env[0].name",
    ),
    (
        rules.transport_security,
        lambda job: [
            cluster(job).update(tlsOptions={"enabled": True}),
            scaled(job)["autoscalerOptions"].update(volumeMounts=[{"name": "ray-tls", "mountPath": "/elsewhere"}]),
        ],
        f"{OPTIONS}.volumeMounts[0].name",
    ),
    (rules.feature_gates, lambda job: cluster(job).update(tlsOptions={"enabled": True}), "spec.rayClusterSpec.tlsOptions"),
    (rules.feature_gates, lambda job: cluster(job).update(networkPolicy={"mode": "DenyAll"}), "spec.rayClusterSpec.networkPolicy"),
]


@pytest.mark.parametrize(("rule", "change", "field"), CASES, ids=[f"{case[0].__name__}-{i}" for i, case in enumerate(CASES)])
def test_a_rule_refuses_what_it_is_for_and_names_the_field(
    requests: dict[str, Request], rule: Callable[..., Any], change: Callable[[Object], Any], field: str
) -> None:
    job = ray_of(rendered(requests["cpu-smoke"]))
    view = rules.read_ray(job)
    assert view is not None
    assert list(rule(view)) == [], "the rendered manifest should pass"
    broken = copy.deepcopy(job)
    change(broken)
    view = rules.read_ray(broken)
    assert view is not None
    found = [path for path, _ in rule(view)]
    assert any(path.startswith(field) for path in found), f"{rule.__name__} names {found}, expected {field}"


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(rules.RULES)


def test_a_ray_cluster_may_use_the_cluster_s_own_tokens_from_2_55(requests: dict[str, Request]) -> None:
    found = ray_of(rendered(requests["interactive"]))
    assert found["kind"] == "RayCluster"
    found["spec"]["authOptions"]["enableK8sTokenAuth"] = True
    assert list(rules.operator_problems(found)) == []
    found["spec"]["rayVersion"] = "2.54.0"
    assert [path for path, _ in rules.operator_problems(found)] == ["spec.rayVersion"]


def selected(job: Object) -> None:
    """The job runs in a cluster that is there."""
    job["spec"] = {"entrypoint": job["spec"]["entrypoint"], "clusterSelector": {"ray.io/cluster": "mine"}, "submissionMode": "HTTPMode"}


ACCEPTED: dict[str, Callable[[Object], Any]] = {
    "a first container of any name": lambda job: container(job).update(name="main"),
    "replicas above the largest number": lambda job: group(job).update(replicas=9),
    "two groups of a name": lambda job: group(job, 1).update(groupName="learner"),
    "a password of Redis for workers": lambda job: [
        cluster(job).update(gcsFaultToleranceOptions={"redisAddress": "r:1"}),
        container(job).update(env=[{"name": "REDIS_PASSWORD", "value": "x"}]),
    ],
    "a version of the autoscaler that is switched off": lambda job: head_env(job, "RAY_enable_autoscaler_v2", "0"),
    "a version of the autoscaler in a worker": lambda job: container(job).update(env=[{"name": "RAY_enable_autoscaler_v2", "value": "1"}]),
    "authentication without a mode": lambda job: cluster(job).update(authOptions={}, rayVersion="2.40.0"),
    "a cluster that is selected": selected,
    "labels with a prefix": lambda job: group(job).update(labels={"example.com/pool_1": "a.B-1", "x": ""}),
    "priority and idle time with version 2": lambda job: [scaled(job), group(job).update(priority=5, idleTimeoutSeconds=0)],
    "no bounds with the autoscaler": lambda job: [scaled(job), group(job).pop("minReplicas"), group(job).pop("maxReplicas")],
    "priority with the older variable": lambda job: [
        cluster(job).update(enableInTreeAutoscaling=True),
        head_env(job, "RAY_enable_autoscaler_v2", "true"),
        group(job).update(priority=5),
    ],
    "a suspended group that nobody scales": lambda job: group(job).update(suspend=True),
    "an idle time of nothing": lambda job: scaled(job)["autoscalerOptions"].update(idleTimeoutSeconds=0),
    "another variable of the autoscaler": lambda job: scaled(job)["autoscalerOptions"].update(env=[{"name": "X", "value": "1"}]),
    "fault tolerance by annotation": lambda job: [
        job["metadata"]["annotations"].update({"ray.io/ft-enabled": "true"}),
        head_env(job, "RAY_REDIS_ADDRESS"),
    ],
    "an older deletion that deletes": lambda job: job["spec"].update(deletionStrategy=legacy("DeleteSelf", "DeleteCluster")),
    "a deletion of nothing without a shutdown": lambda job: [
        job["spec"].update(shutdownAfterJobFinishes=False, ttlSecondsAfterFinished=0, deletionStrategy=legacy("DeleteNone", "DeleteNone"))
    ],
    "a runtime environment": lambda job: job["spec"].update(runtimeEnvYAML="env_vars: {A: '1'}\nworking_dir: ."),
    "an empty runtime environment": lambda job: job["spec"].update(runtimeEnvYAML=""),
    "a secret of one's own for the token": lambda job: cluster(job)["authOptions"].update(secretName="mine"),
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=[name.replace(" ", "-") for name in ACCEPTED])
def test_what_the_operator_accepts_is_not_refused_in_its_name(requests: dict[str, Request], change: Callable[[Object], Any]) -> None:
    job = ray_of(rendered(requests["cpu-smoke"]))
    change(job)
    assert list(rules.operator_problems(job)) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda found: found["spec"]["authOptions"].update(enableK8sTokenAuth=True, secretName="x"), "spec.authOptions.secretName"),
        (lambda found: found["spec"].update(authOptions={"enableK8sTokenAuth": True}), "spec.authOptions.enableK8sTokenAuth"),
        (lambda found: found["spec"].update(upgradeStrategy={"type": "NewCluster"}), "spec.upgradeStrategy.type"),
    ],
)
def test_rules_of_a_ray_cluster_of_its_own(requests: dict[str, Request], change: Callable[[Object], Any], field: str) -> None:
    found = ray_of(rendered(requests["interactive"]))
    found["spec"]["upgradeStrategy"] = {"type": "Recreate"}
    assert list(rules.operator_problems(found)) == []
    change(found)
    assert [path for path, _ in rules.operator_problems(found)] == [field]
