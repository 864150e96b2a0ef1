"""What the check refuses: 300 seeded mutations of good manifests, each by a message that names the field."""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chemr.cli import main
from chemr.k8s.request import Request
from chemr.k8s.schemas import Schemas
from chemr.k8s.structure import join, problems
from tests.chemr.k8s.conftest import SCHEMAS
from tests.chemr.k8s.manifests import at, fields, ray_of, rendered, report_of, walk

Object = dict[str, Any]
Steps = tuple[str | int, ...]
KINDS_OF_MUTATION = ("typo", "enum", "missing", "size", "operator", "type")
PER_KIND = 50
FREE = {"labels", "annotations", "matchLabels", "nodeSelector", "rayStartParams", "limits", "requests", "metadata", "podTargetLabels"}
REFUSED_ENUMS: dict[str, Any] = {
    "restartPolicy": "Sometimes", "operator": "Exist", "effect": "NoSchedul", "whenUnsatisfiable": "ScheduleAnyWay", "mode": "tokens",
    "version": "v3", "upscalingMode": "Fast", "protocol": "tcp", "policyTypes": ["Egres"], "accessModes": ["ReadWriteEverywhere"],
    "preemptionPolicy": "Maybe", "submissionMode": "SidecarMod", "type": "Percent", "medium": "Disk",
}  # fmt: skip
# Without these an object is not accepted. Names in lists of objects are keys of them.
REQUIRED = {
    "kind", "apiVersion", "template", "containers", "groupName", "name", "mountPath", "accessModes", "key", "maxReplicas", "scaleTargetRef",
    "selector", "podSelector", "topologyKey", "claimName", "weight", "podAffinityTerm", "maxSkew", "whenUnsatisfiable", "cidr",
    "headGroupSpec", "resources", "port", "containerPort",
}  # fmt: skip


def path_of(steps: Steps) -> str:
    path = ""
    for step in steps:
        path = f"{path}[{step}]" if isinstance(step, int) else join(path, step)
    return path


def typo(word: str, draw: random.Random) -> str:
    i = draw.randrange(len(word))
    return draw.choice([word[:i] + word[i + 1 :], word[: i + 1] + word[i:], word[:i] + "q" + word[i + 1 :]])


def free(steps: Steps) -> bool:
    return any(step in FREE for step in steps[:-1] if isinstance(step, str))


def mutate_typo(objects: list[Object], draw: random.Random) -> tuple[str, list[str]]:
    document = draw.choice(objects)
    places = [steps for steps, _ in walk(document) if steps and isinstance(steps[-1], str) and not free(steps) and steps != ("metadata",)]
    steps = draw.choice(places)
    word = str(steps[-1])
    wrong = typo(word, draw)
    parent = at(document, steps[:-1])
    while wrong in parent or not wrong:
        wrong = typo(word, draw)
    content = dict(parent)
    parent.clear()
    parent.update({wrong if key == word else key: value for key, value in content.items()})
    return f"{word} -> {wrong}", [path_of((*steps[:-1], wrong)), path_of(steps)]


def mutate_enum(objects: list[Object], draw: random.Random) -> tuple[str, list[str]]:
    places = [
        (document, steps)
        for document in objects
        for steps, value in walk(document)
        if steps and steps[-1] in REFUSED_ENUMS and not free(steps) and type(value) is type(REFUSED_ENUMS[steps[-1]])
        and (steps[-1] != "type" or "metrics" in steps)
    ]  # fmt: skip
    names = sorted({str(steps[-1]) for _, steps in places})
    name = draw.choice(names)
    document, steps = draw.choice([place for place in places if place[1][-1] == name])
    at(document, steps[:-1])[steps[-1]] = REFUSED_ENUMS[name]
    return f"{path_of(steps)} = {REFUSED_ENUMS[name]}", [path_of(steps)]


def mutate_missing(objects: list[Object], draw: random.Random) -> tuple[str, list[str]]:
    places = [
        (document, steps)
        for document in objects
        for steps, _ in walk(document)
        if steps and steps[-1] in REQUIRED and not free(steps) and really_required(document, steps)
    ]
    names = sorted({str(steps[-1]) for _, steps in places})
    name = draw.choice(names)
    document, steps = draw.choice([place for place in places if place[1][-1] == name])
    del at(document, steps[:-1])[steps[-1]]
    return f"without {path_of(steps)}", [path_of(steps)]


def really_required(document: Object, steps: Steps) -> bool:
    """Some names are required in one place and optional in another."""
    parent = next((str(step) for step in reversed(steps[:-1]) if isinstance(step, str)), "")
    match steps[-1]:
        case "name":
            return parent in ("containers", "volumes", "volumeMounts", "scaleTargetRef", "resource")
        case "resources":
            return document["kind"] == "PersistentVolumeClaim"
        case "selector":
            return document["kind"] in ("Deployment", "PodMonitor")
        case "port":
            return parent in ("tcpSocket", "grpc") or document["kind"] == "Service"
        case "maxReplicas":
            return document["kind"] == "HorizontalPodAutoscaler"
        case "podSelector":
            return steps[:-1] == ("spec",)
        case "key":
            return False
    return True


def mutate_size(objects: list[Object], draw: random.Random) -> tuple[str, list[str]]:
    job = ray_of(objects)
    cluster = job["spec"]["rayClusterSpec"]
    i = draw.randrange(len(cluster["workerGroupSpecs"]))
    group, base = cluster["workerGroupSpecs"][i], f"spec.rayClusterSpec.workerGroupSpecs[{i}]"
    container = group["template"]["spec"]["containers"][0]
    size, cpu = container["resources"], int(container["resources"]["limits"]["cpu"])
    spare = draw.randint(1, 6)
    match draw.choice(["large", "few", "cpu", "gpu", "actors", "claim", "shm", "store", "differ", "head", "root", "bounds", "label"]):
        case "large":
            for key in ("replicas", "maxReplicas", "minReplicas"):
                group[key] += spare
            return f"{group['groupName']} + {spare} pods", [f"{base}.replicas"]
        case "few":
            for key in ("replicas", "minReplicas"):
                group[key] -= 1
            group["maxReplicas"] = max(group["replicas"], group["maxReplicas"] - 1)
            return f"{group['groupName']} - 1 pod", [f"{base}.replicas"]
        case "cpu" if cpu > 1:
            for part in size.values():
                part["cpu"] = str(cpu - 1)
            return "a CPU less", [f"{base}.replicas", f"{base}.template.spec.containers[0].resources.limits.cpu"]
        case "gpu" if "nvidia.com/gpu" in size["limits"]:
            for part in size.values():
                part["nvidia.com/gpu"] = str(int(part["nvidia.com/gpu"]) - 1)
            gone = f"{base}.template.spec.containers[0].resources.limits.nvidia.com/gpu"
            return "a GPU less", [f"{base}.replicas", gone]
        case "actors":
            command = job["spec"]["entrypoint"]
            role = draw.choice(["learners", "generators", "reward_workers"])
            more = f" pool.{role}={1000 + spare} pool.max_generators=null grpo.groups_per_step=2000"
            job["spec"]["entrypoint"] = command + more + " foundation.documents_per_step=2000 distill.documents_per_step=2000"
            j = next(j for j, each in enumerate(cluster["workerGroupSpecs"]) if f"chemr-{role.split('_')[0].rstrip('s')}" in each["labels"])
            return f"1000 {role}", [f"spec.rayClusterSpec.workerGroupSpecs[{j}].replicas"]
        case "claim":
            group["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"] = "elsewhere"
            return "another claim", [f"{base}.template.spec.volumes[1].persistentVolumeClaim.claimName"]
        case "shm":
            group["template"]["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] = size["limits"]["memory"]
            return "all memory shared", [f"{base}.template.spec.volumes[0].emptyDir.sizeLimit"]
        case "store":
            group["rayStartParams"]["object-store-memory"] = str(spare << 40)
            return "a large object store", [f"{base}.rayStartParams.object-store-memory"]
        case "differ":
            size["requests"]["memory"] = "1Gi"
            return "requests below limits", [f"{base}.template.spec.containers[0].resources.requests.memory"]
        case "head":
            cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] = str(spare)
            return "work on the head", ["spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus"]
        case "root":
            job["spec"]["entrypoint"] += " run.root=/home/ray"
            return "a run that is lost", [f"{base}.template.spec.containers[0].volumeMounts", "spec.entrypoint"]
        case "bounds":
            group["minReplicas"], group["maxReplicas"] = group["replicas"] + spare, group["replicas"] + spare
            return "bounds", [f"{base}.replicas"]
        case _:
            role = next(iter(group["labels"]))
            del group["labels"][role]
            return f"without label {role}", [f"spec.rayClusterSpec.workerGroupSpecs[*].labels.{role}"]


def mutate_operator(objects: list[Object], draw: random.Random) -> tuple[str, list[str]]:
    job = ray_of(objects)
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    i = draw.randrange(len(cluster["workerGroupSpecs"]))
    group, base = cluster["workerGroupSpecs"][i], f"spec.rayClusterSpec.workerGroupSpecs[{i}]"

    def setting(place: Object, key: str, value: Any) -> None:
        place[key] = value

    name = draw.choice("abc") * draw.randint(48, 60)
    age = f"2.{draw.randint(9, 51)}.0"
    number = -draw.randint(1, 99)
    choices: list[tuple[Callable[[], Any], str]] = [
        (lambda: setting(job["metadata"], "name", name), "metadata.name"),
        (lambda: setting(spec, "submissionMode", typo("HTTPMode", draw)), "spec.submissionMode"),
        (lambda: spec.pop("shutdownAfterJobFinishes"), "spec.ttlSecondsAfterFinished"),
        (lambda: setting(spec, "ttlSecondsAfterFinished", number), "spec.ttlSecondsAfterFinished"),
        (lambda: setting(spec, "backoffLimit", number), "spec.backoffLimit"),
        (lambda: setting(spec, "activeDeadlineSeconds", number), "spec.activeDeadlineSeconds"),
        (lambda: setting(spec, "clusterSelector", {"a": "b"}), "spec.clusterSelector"),
        (lambda: setting(spec, "submitterConfig", {"backoffLimit": 2}), "spec.submitterConfig"),
        (
            lambda: setting(cluster["headGroupSpec"]["template"]["spec"], "restartPolicy", "Always"),
            "headGroupSpec.template.spec.restartPolicy",
        ),
        (lambda: setting(cluster, "rayVersion", age), "spec.rayClusterSpec.rayVersion"),
        (lambda: cluster.pop("rayVersion"), "spec.rayClusterSpec.rayVersion"),
        (lambda: setting(cluster["authOptions"], "enableK8sTokenAuth", True), "authOptions.enableK8sTokenAuth"),
        (lambda: setting(cluster["authOptions"], "mode", "disabled"), "authOptions.mode"),
        (lambda: setting(group["rayStartParams"], "labels", "a=b"), f"{base}.rayStartParams.labels"),
        (lambda: setting(group, "minReplicas", group["maxReplicas"] + 1), f"{base}.minReplicas"),
        (lambda: setting(group, "groupName", cluster["workerGroupSpecs"][i - 1]["groupName"]), ".groupName"),
        (lambda: setting(spec, "runtimeEnvYAML", "a: ["), "spec.runtimeEnvYAML"),
    ]
    change, field = draw.choice(choices)
    change()
    return field, [field]


def mutate_type(objects: list[Object], draw: random.Random) -> tuple[str, list[str]]:
    document = draw.choice(objects)
    places = [steps for steps, _ in walk(document) if steps and not (len(steps) > 1 and steps[-2] == "metadata")]
    steps = draw.choice(places)
    value = at(document, steps)
    wrong = {dict: "text", list: "text", bool: "yes"}.get(type(value), ["text"])
    at(document, steps[:-1])[steps[-1]] = wrong
    return f"{path_of(steps)} = {wrong}", [path_of(steps)]


MUTATIONS = {
    "typo": mutate_typo,
    "enum": mutate_enum,
    "missing": mutate_missing,
    "size": mutate_size,
    "operator": mutate_operator,
    "type": mutate_type,
}


def mutated(requests: dict[str, Request], kind: str, seed: int) -> tuple[list[Object], str, list[str]]:
    draw = random.Random(f"{kind}-{seed}")
    overlay = draw.choice(["cpu-smoke", "single-gpu", "node-8gpu", "cluster-64gpu"])
    objects = rendered(requests[overlay], draw.choice(["kueue", "volcano", "yunikorn", "kai"]), "monitoring", "reward-service")
    what, expected = MUTATIONS[kind](objects, draw)
    return objects, f"{kind} {seed} of {overlay}: {what}", expected


@pytest.mark.parametrize("kind", KINDS_OF_MUTATION)
def test_fifty_mutations_of_a_kind_are_refused_and_the_field_is_named(requests: dict[str, Request], releases: dict, kind: str) -> None:
    names = sorted(releases)
    for seed in range(PER_KIND):
        objects, what, expected = mutated(requests, kind, seed)
        report = report_of(objects, releases[names[seed % len(names)]])
        assert report.findings, f"{what}: nothing was found"
        found = fields(report)
        assert any(path.endswith((field, f"{field}[0]")) for path in found for field in expected), (
            f"{what}: named {found[:3]}, not {expected[0]}"
        )


def test_wrong_types_never_end_in_a_traceback_without_schemas_either(requests: dict[str, Request]) -> None:
    for seed in range(200):
        objects, what, _ = mutated(requests, "type", 1000 + seed)
        try:
            report_of(objects)
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def test_a_misspelt_field_is_answered_with_the_right_one(requests: dict[str, Request], releases: dict) -> None:
    objects = rendered(requests["cpu-smoke"])
    spec = ray_of(objects)["spec"]
    spec["backofLimit"] = spec.pop("backoffLimit")
    report = report_of(objects, releases["kuberay-v1.7.0"])
    (finding,) = report.findings
    assert finding.path == "spec.backofLimit" and "did you mean 'backoffLimit'" in finding.message, str(finding)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"deletionStrategy": {}}, "requires either BOTH onSuccess and onFailure"),
        (
            {
                "deletionStrategy": {
                    "onSuccess": {"policy": "DeleteSelf"},
                    "onFailure": {"policy": "DeleteSelf"},
                    "deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}],
                }
            },
            "cannot be used together within the same deletionStrategy",
        ),
        ({"deletionStrategy": {"deletionRules": [{"policy": "DeleteSelf", "condition": {}}]}}, "requires either the JobStatus"),
        (
            {
                "deletionStrategy": {
                    "deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"}}]
                }
            },
            "cannot be used together within the same deletion condition",
        ),
        ({"managedBy": "me"}, "must be either"),
    ],
)
def test_the_cel_rules_of_the_rayjob_hold(requests: dict[str, Request], releases: dict, change: Object, words: str) -> None:
    objects = rendered(requests["cpu-smoke"])
    ray_of(objects)["spec"].update(change)
    for schemas in releases.values():
        found = [str(finding) for finding in report_of(objects, schemas).findings]
        assert any(words in text for text in found), f"{change}: {found}"


def test_the_cel_rules_that_are_not_evaluated_are_only_those_about_changes(releases: dict) -> None:
    def rules(schema: Any) -> list[str]:
        found = [rule["rule"] for rule in schema.get("x-kubernetes-validations") or []] if isinstance(schema, dict) else []
        entries = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
        return found + [rule for entry in entries for rule in rules(entry)]

    for schemas in releases.values():
        every = rules(schemas.of("ray.io/v1", "RayJob"))
        assert every and {rule for rule in every if "oldSelf" in rule} == {"self == oldSelf"}, (
            "a new transition rule: say how it is treated"
        )


def test_structure_agrees_with_the_reference_validator(requests: dict[str, Request], releases: dict) -> None:
    """The reference has been compared with a real API server; both see the same mutated RayJobs and agree which are accepted."""
    spec = importlib.util.spec_from_file_location("crd_validate", SCHEMAS / "crd_validate.py")
    assert spec is not None and spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    schemas: Schemas = releases["kuberay-v1.7.0"]
    schema = schemas.of("ray.io/v1", "RayJob")
    assert schema is not None
    refused = 0
    for kind in ("typo", "enum", "missing", "type"):
        for seed in range(12):
            draw = random.Random(f"{kind}-{seed}")
            job = ray_of(rendered(requests[draw.choice(["cpu-smoke", "cluster-64gpu"])]))
            what, _ = MUTATIONS[kind]([job], draw)
            if (job.get("apiVersion"), job.get("kind")) != ("ray.io/v1", "RayJob") or not isinstance(job.get("metadata"), dict):
                continue
            mine = [problem for problem in problems(schema, job) if not problem[0].startswith("metadata")]
            theirs = [text for text in reference.validate({("ray.io/v1", "RayJob"): schema}, job) if not text.startswith(".metadata")]
            assert bool(mine) == bool(theirs), f"{what}: this check says {mine[:2]}, the reference {theirs[:2]}"
            refused += bool(mine)
    assert refused > 20, "hardly anything was refused: the comparison says little"


def test_kueue_s_limits(requests: dict[str, Request]) -> None:
    objects = rendered(requests["cluster-64gpu"], "kueue")
    spec = ray_of(objects)["spec"]["rayClusterSpec"]
    ray_of(objects)["metadata"]["annotations"].pop("kueue.x-k8s.io/elastic-job")
    assert "spec.rayClusterSpec.enableInTreeAutoscaling" in fields(report_of(objects))
    objects = rendered(requests["cpu-smoke"], "kueue")
    spec = ray_of(objects)["spec"]["rayClusterSpec"]
    spec["workerGroupSpecs"] += [spec["workerGroupSpecs"][2] | {"groupName": f"more-{i}"} for i in range(15)]
    assert "spec.rayClusterSpec.workerGroupSpecs" in fields(report_of(objects)), "18 groups are more than Kueue takes"
    queues = list(yaml.safe_load_all((Path(__file__).resolve().parents[3] / "k8s" / "kueue" / "queues.yaml").read_text("utf-8")))
    quota = next(each for each in queues if each["kind"] == "ClusterQueue")["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    quota[0]["nominalQuota"] = "1"
    together = report_of([*rendered(requests["cpu-smoke"], "kueue"), *queues])
    (finding,) = [finding for finding in together.findings if "of its own" not in finding.message]
    assert "queue-name" in finding.path and re.search(r"ask for [\d.]+ cpu, and ClusterQueue chemr has 1", finding.message), str(finding)


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ("pool.address=null pool.role_labels=false pool.nodes_wait_s=0", "spec.entrypoint", "private cluster inside the head"),
        ("run.resume=never", "spec.entrypoint", "run.resume=auto"),
        ("pool.nodes_wait_s=0", "spec.entrypoint", "before the workers are there"),
        ("learner.device=cuda pool.learner_gpus=0", "spec.entrypoint", "pool.learner_gpus=0"),
        ("data.cache_dir=/tmp/cache", "volumeMounts", "data.cache_dir=/tmp/cache"),
        ("policy.path=models/mine", "spec.entrypoint", "policy.path=models/mine is relative"),
        ("pool.learnrs=3", "spec.entrypoint", "did you mean 'pool.learners'"),
    ],
)
def test_a_run_that_cannot_go_well_in_these_pods_is_refused(requests: dict[str, Request], more: str, field: str, words: str) -> None:
    objects = rendered(requests["cpu-smoke"])
    ray_of(objects)["spec"]["entrypoint"] += f" {more}"
    found = report_of(objects).findings
    assert any(finding.path.endswith(field) and words in finding.message for finding in found), [str(finding) for finding in found]


def test_files_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("kind: [", "utf-8")
    assert main(["k8s", "check", str(tmp_path / "bad.yaml")]) == 2
    assert "bad.yaml" in capsys.readouterr().err
    assert main(["k8s", "check", str(tmp_path / "none.yaml")]) == 2
    assert main(["k8s", "check"]) == 2
    assert "--all" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("kind: RayJobb\napiVersion: ray.io/v1\nmetadata: {name: x}\n", "utf-8")
    assert main(["k8s", "check", str(tmp_path / "bad.yaml")]) == 1
    assert "did you mean 'RayJob'" in capsys.readouterr().err


def policy_of(objects: list[Object], name: str) -> Object:
    return next(each for each in objects if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == name)


NETWORK: dict[str, tuple[Callable[[list[Object]], Any], str]] = {
    "inside without egress": (lambda objects: policy_of(objects, "chemr-inside")["spec"].update(egress=[]), "reach the run's pods"),
    "inside without ingress": (
        lambda objects: policy_of(objects, "chemr-inside")["spec"].update(ingress=[]),
        "be reached by the run's pods",
    ),
    "no inside": (lambda objects: objects.remove(policy_of(objects, "chemr-inside")), "the run's pods"),
    "another run's inside": (
        lambda objects: policy_of(objects, "chemr-inside")["spec"]["podSelector"]["matchLabels"].update({"chemr-run": "other"}),
        "the run's pods",
    ),
    "no name service": (lambda objects: objects.remove(policy_of(objects, "chemr-dns")), "no name server"),
    "no name service over UDP": (lambda objects: policy_of(objects, "chemr-dns")["spec"]["egress"][0]["ports"].pop(0), "port 53, UDP"),
    "no operator": (lambda objects: objects.remove(policy_of(objects, "chemr-operator")), "do not let the operator"),
    "Helm's operator only": (lambda objects: policy_of(objects, "chemr-operator")["spec"]["ingress"][0]["from"].pop(0), "name=kuberay, "),
    "another port for the operator": (
        lambda objects: policy_of(objects, "chemr-operator")["spec"]["ingress"][0]["ports"][0].update(port=8000),
        "do not let the operator",
    ),
}


@pytest.mark.parametrize("name", NETWORK)
def test_policies_that_cut_a_run_off_are_refused(requests: dict[str, Request], name: str) -> None:
    change, words = NETWORK[name]
    objects = list(rendered(requests["cpu-smoke"]))
    change(objects)
    found = [str(finding) for finding in report_of(objects).findings if "NetworkPolicies" in finding.message]
    assert found and words in found[0], found


def test_without_policies_nothing_is_said_of_them(requests: dict[str, Request]) -> None:
    objects = [each for each in rendered(requests["cpu-smoke"]) if each["kind"] != "NetworkPolicy"]
    assert [finding for finding in report_of(objects).findings if "NetworkPolicies" in finding.message] == []


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda spec, _: spec["containers"][0]["securityContext"].update(privileged=True), "securityContext.privileged", "has the node"),
        (lambda spec, _: spec["containers"][0].pop("securityContext"), "allowPrivilegeEscalation", "must be false"),
        (lambda spec, _: spec.update(hostNetwork=True), "hostNetwork", "share it with the node"),
        (lambda _, cluster: cluster.update(rayVersion="2.55.0"), "rayVersion", "chemr:cpu has Ray"),
        (lambda spec, _: spec["containers"][0].update(image="rayproject/ray:2.59.1-py311"), "rayVersion", "has Ray 2.59.1"),
        (lambda spec, _: spec["containers"][0].update(image="r.example:5000/rayproject/ray-ml:2.59.1@sha256:0"), "rayVersion", "2.59.1"),
        (lambda _, cluster: cluster["workerGroupSpecs"][1].update(groupName="learner"), "[1].groupName", "count the pods of both"),
    ],
)
def test_what_the_operator_accepts_and_a_run_should_not_have(
    requests: dict[str, Request], change: Callable[[Object, Object], Any], field: str, words: str
) -> None:
    objects = rendered(requests["cpu-smoke"])
    cluster = ray_of(objects)["spec"]["rayClusterSpec"]
    change(cluster["headGroupSpec"]["template"]["spec"], cluster)
    found = [finding for finding in report_of(objects).findings if finding.path.endswith(field)]
    assert found and re.search(words, found[0].message), report_of(objects).findings


def test_an_image_whose_ray_is_not_known_is_noted(requests: dict[str, Request]) -> None:
    objects = rendered(requests["cpu-smoke"])
    ray_of(objects)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/ours:7"
    report = report_of(objects)
    assert report.findings == [] and any("registry.example/ours:7 is not known here" in note for note in report.notes)


def test_a_job_in_a_cluster_that_it_selects_is_no_error(requests: dict[str, Request]) -> None:
    objects = rendered(requests["cpu-smoke"])
    job = ray_of(objects)
    job["spec"] = {"entrypoint": job["spec"]["entrypoint"], "clusterSelector": {"ray.io/cluster": "mine"}, "submissionMode": "HTTPMode"}
    report = report_of([job])
    assert report.findings == [] and any("clusterSelector names" in note for note in report.notes)


def test_kueue_counts_the_containers_that_kuberay_adds_and_keeps_a_name(requests: dict[str, Request]) -> None:
    objects = list(rendered(requests["cpu-smoke"], "kueue"))
    queues = list(yaml.safe_load_all((Path(__file__).resolve().parents[3] / "k8s" / "kueue" / "queues.yaml").read_text("utf-8")))
    quota = next(each for each in queues if each["kind"] == "ClusterQueue")["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    cluster = ray_of(objects)["spec"]["rayClusterSpec"]
    pods = [(1, cluster["headGroupSpec"]), *((group["replicas"], group) for group in cluster["workerGroupSpecs"])]
    own = sum(count * int(pod["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]) for count, pod in pods)
    for cores, enough in ((own, False), (own + 1, True)):
        quota[0]["nominalQuota"] = str(cores)
        found = [finding for finding in report_of([*objects, *queues]).findings if "queue-name" in finding.path]
        assert (found == []) is enough, f"{cores} cores: {found}"
    cluster["workerGroupSpecs"][2]["groupName"] = "head"
    assert "spec.rayClusterSpec.workerGroupSpecs[2].groupName" in fields(report_of(objects))
