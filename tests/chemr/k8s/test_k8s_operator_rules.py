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


def cluster(job: Object) -> Object:
    return job["spec"]["rayClusterSpec"]


def group(job: Object, index: int = 0) -> Object:
    return cluster(job)["workerGroupSpecs"][index]


def container(job: Object) -> Object:
    return group(job)["template"]["spec"]["containers"][0]


def deletion(*found: tuple[str, str, int]) -> Object:
    return {"deletionRules": [{"policy": p, "condition": {"jobStatus": s, "ttlSeconds": t}} for p, s, t in found]}


CASES: list[tuple[Callable[..., Any], Callable[[Object], Any], str]] = [
    (rules.names, lambda job: job["metadata"].update(name="x" * 48), "metadata.name"),
    (rules.names, lambda job: job["metadata"].update(name="1st"), "metadata.name"),
    (rules.worker_groups, lambda job: group(job, 1).update(groupName="learner"), "spec.rayClusterSpec.workerGroupSpecs[1].groupName"),
    (rules.worker_groups, lambda job: group(job).update(minReplicas=3), f"{GROUP}.minReplicas"),
    (rules.worker_groups, lambda job: group(job).update(replicas=9), f"{GROUP}.replicas"),
    (rules.worker_groups, lambda job: group(job).update(numOfHosts=0), f"{GROUP}.numOfHosts"),
    (rules.worker_groups, lambda job: group(job).update(replicas=-1, minReplicas=-1), f"{GROUP}.replicas"),
    (
        rules.containers,
        lambda job: group(job)["template"]["spec"]["containers"].insert(0, {"name": "log"}),
        f"{GROUP}.template.spec.containers[0]",
    ),
    (rules.containers, lambda job: group(job)["template"]["spec"].update(containers=[]), f"{GROUP}.template.spec.containers"),
    (rules.submission_mode, lambda job: job["spec"].update(submissionMode="SideCarMode"), "spec.submissionMode"),
    (rules.suspension, lambda job: job["spec"].update(suspend=True, shutdownAfterJobFinishes=False), "spec.suspend"),
    (rules.time_to_live, lambda job: job["spec"].pop("shutdownAfterJobFinishes"), "spec.ttlSecondsAfterFinished"),
    (rules.time_to_live, lambda job: job["spec"].update(ttlSecondsAfterFinished=-5), "spec.ttlSecondsAfterFinished"),
    (rules.limits_of_time, lambda job: job["spec"].update(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds"),
    (rules.limits_of_time, lambda job: job["spec"].update(backoffLimit=-1), "spec.backoffLimit"),
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
    (rules.cluster_given, lambda job: job["spec"].update(clusterSelector={"a": "b"}), "spec.shutdownAfterJobFinishes"),
    (
        rules.start_parameters,
        lambda job: [group(job).update(resources={"CPU": "2"}), group(job)["rayStartParams"].update({"num-cpus": "2"})],
        f"{GROUP}.rayStartParams.num-cpus",
    ),
    (rules.start_parameters, lambda job: group(job)["rayStartParams"].update(labels="a=b"), f"{GROUP}.rayStartParams.labels"),
    (
        rules.autoscaler_v2,
        lambda job: [
            cluster(job).update(enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"}),
            group(job)["template"]["spec"].update(restartPolicy="Always"),
        ],
        f"{GROUP}.template.spec.restartPolicy",
    ),
    (
        rules.autoscaler_v2,
        lambda job: [
            cluster(job).update(enableInTreeAutoscaling=True, autoscalerOptions={"version": "v2"}),
            container(job).update(env=[{"name": "RAY_enable_autoscaler_v2", "value": "1"}]),
        ],
        f"{GROUP}.template.spec.containers[0].env[0].name",
    ),
    (
        rules.autoscaler_v2,
        lambda job: container(job).update(env=[{"name": "RAY_enable_autoscaler_v2", "value": "1"}]),
        f"{GROUP}.template.spec.containers[0].env[0].name",
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
            container(job).update(env=[{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]),
        ],
        f"{GROUP}.template.spec.containers[0].env[0].name",
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
