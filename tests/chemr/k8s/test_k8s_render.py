"""Manifests follow from the configuration, and the checked-in folder is what would be made today."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from chemr.cli import command_parser, main
from chemr.config import ConfigError, load
from chemr.k8s.check import check, combinations
from chemr.k8s.errors import K8sError
from chemr.k8s.kustomize import LOADER, Built, build
from chemr.k8s.render import render, write_folder
from chemr.k8s.request import COMPONENTS, Request, read_request
from chemr.k8s.tree import FOLDERS, INTERACTIVE, OVERLAYS, tree
from tests.chemr.k8s.manifests import fields, ray_of, rendered, report_of

ROOT = Path(__file__).resolve().parents[3]


def key(document: dict) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_the_checked_in_folder_is_what_is_made_from_the_configuration(requests: dict[str, Request]) -> None:
    made = tree(requests)
    folder = ROOT / "k8s"
    different = [name for name, text in made.items() if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text]
    assert different == [], f"k8s/ is out of date ({different[:3]}); run `chemr k8s render --tree k8s`"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")}
    by_hand = {"monitoring/alerts.yaml"}  # what is alarming does not follow from a run's configuration
    assert there - by_hand == made.keys(), f"files that nothing makes: {sorted(there - by_hand - made.keys())}"


@pytest.mark.parametrize("overlay", [*OVERLAYS, INTERACTIVE])
def test_a_kustomize_overlay_with_components_gives_the_objects_that_render_gives(requests: dict[str, Request], overlay: str) -> None:
    for names in ((), ("kueue", "monitoring"), ("volcano", "reward-service"), ("yunikorn",), ("kai",)):
        request = replace(requests[overlay], components=names)
        for part, below in FOLDERS.items():
            folder = ROOT / "k8s" / below
            if part == "surroundings" and overlay == INTERACTIVE:
                continue  # a cluster to work on by hand has those of any run
            components = [path for name in names if (path := folder / "components" / name).is_dir()]
            built = build(folder / "overlays" / overlay, components)
            mine = sorted(json.loads(json.dumps(render(request, part))), key=key)
            theirs = sorted((document for _, document in built.objects), key=key)
            assert theirs == mine, f"{part} of {overlay} with {names}: kustomize's objects differ from render's"
            assert built.warnings == []


@pytest.mark.parametrize("overlay", [*OVERLAYS, INTERACTIVE])
def test_a_head_that_has_to_go_drains_its_run_as_one_that_is_to_be_started_again(requests: dict[str, Request], overlay: str) -> None:
    request = requests[overlay]
    (ray,) = (document for document in render(request, "run") if document["kind"] in ("RayJob", "RayCluster"))
    spec = ray["spec"].get("rayClusterSpec", ray["spec"])["headGroupSpec"]["template"]["spec"]
    (_, _, command) = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    words = shlex.split(command)
    assert words[:2] == ["chemr", "drain"] and Path(words[2]) == request.config.run.path, "the run that this head's driver trains"
    options = command_parser().parse_args(words[1 : words.index("||")])
    assert options.evicted, "without it the driver ends with 0, and a job that is complete is never repeated"
    assert options.timeout < spec["terminationGracePeriodSeconds"], "it is done before the kubelet loses patience"


def test_every_overlay_with_every_set_of_components_passes_the_check(releases: dict) -> None:
    assert len(releases) >= 2, "the schemas should be of two releases of KubeRay"
    runs = spaces = 0
    for title, built, beside in combinations(ROOT / "k8s"):
        runs, spaces = (runs, spaces + 1) if title.startswith("surroundings") else (runs + 1, spaces)
        for release, schemas in releases.items():
            report = check(built, schemas, beside)
            assert report.findings == [], f"{title}, {release}: {report.findings[0]}"
            unread = [note for note in report.notes if "not checked" in note]
            assert unread == [], f"{title}, {release}: {unread}"
    assert (runs, spaces) == ((len(OVERLAYS) + 1) * 5, (len(OVERLAYS) + 1) * 5 * 4), "not every set of components was built"


def names_of(objects: list[dict]) -> set[tuple[str, str]]:
    return {key(document) for document in objects}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_two_runs_share_no_object_and_deleting_one_leaves_what_both_need(overlay: str) -> None:
    arguments = [f"overlay={overlay}", "components=kueue,monitoring,reward-service", "cluster.autoscale=true"]
    first, second = (read_request([*arguments, f"run.name={name}"]) for name in ("first", "second"))
    mine, other = render(first, "run"), render(second, "run")
    assert names_of(mine) & names_of(other) == set(), "one run would overwrite the other's objects"
    assert all(document["metadata"]["name"].startswith(first.name) for document in mine)
    shared = {"PersistentVolumeClaim", "PriorityClass", "LocalQueue", "ServiceAccount", "PodMonitor", "Deployment"}
    assert not shared & {document["kind"] for document in mine}, "`kubectl delete -k` of a run would take it from all"
    around = render(first, "surroundings")
    assert around == render(second, "surroundings"), "the surroundings are no run's"
    assert shared <= {document["kind"] for document in around}
    for document in mine:
        selector = document["spec"].get("podSelector") or document["spec"].get("selector")
        if selector:
            assert selector["matchLabels"]["chemr-run"] == first.name, f"{key(document)} selects pods of other runs"


def test_a_priority_class_of_another_name_is_used_and_never_made() -> None:
    request = read_request(["overlay=cpu-smoke", "cluster.priority_class=high"])
    objects = rendered(request)
    assert [document for document in objects if document["kind"] == "PriorityClass"] == [], "high is a class of the whole cluster"
    used = {pod["spec"]["priorityClassName"] for pod in pods_of(ray_of(objects)["spec"])}
    assert used == {"high"}
    report = report_of(objects)
    assert report.findings == [] and any("PriorityClass high" in note for note in report.notes)


def test_a_set_that_holds_a_run_and_what_all_runs_share_is_refused(requests: dict[str, Request]) -> None:
    together = list(rendered(requests["cpu-smoke"], "kueue"))
    found = {finding.owner: finding.message for finding in report_of(together).findings}
    assert found.keys() == {"PersistentVolumeClaim/chemr-runs", "PriorityClass/chemr-training", "LocalQueue/chemr"}
    assert "checkpoints of every run" in found["PersistentVolumeClaim/chemr-runs"]


def pods_of(spec: dict) -> list[dict]:
    cluster = spec.get("rayClusterSpec", spec)
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_and_the_way_out_are_the_drivers_alone(requests: dict[str, Request], overlay: str) -> None:
    objects = rendered(requests[overlay])
    head, *workers = pods_of(ray_of(objects)["spec"])
    assert head["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "chemr-secrets", "optional": True}}]
    assert all("envFrom" not in container for pod in workers for container in pod["spec"]["containers"]), "of generators and reward workers"
    outside = next(document for document in objects if document["metadata"]["name"] == "chemr-outside")
    labels = [pod["metadata"]["labels"] for pod in (head, *workers)]
    reached = [selects(outside["spec"]["podSelector"], each) for each in labels]
    assert reached == [True] + [False] * len(workers), "port 443 is open for the driver only"


def selects(selector: dict, labels: dict) -> bool:
    return all(labels.get(name) == value for name, value in selector["matchLabels"].items())


@pytest.mark.parametrize(
    "labels",
    [
        # ray-operator/config/manager of KubeRay 1.7; its Helm chart; the chart with nameOverride, with componentOverride
        {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"},
        {
            "app.kubernetes.io/name": "kuberay-operator",
            "app.kubernetes.io/component": "kuberay-operator",
            "app.kubernetes.io/instance": "k",
        },
        {"app.kubernetes.io/name": "ray", "app.kubernetes.io/component": "kuberay-operator", "app.kubernetes.io/instance": "k"},
        {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/component": "ray", "app.kubernetes.io/instance": "k"},
    ],
)
def test_the_operator_reaches_the_head_however_it_was_installed(requests: dict[str, Request], labels: dict) -> None:
    operator = next(document for document in rendered(requests["cpu-smoke"]) if document["metadata"]["name"] == "chemr-operator")
    (rule,) = operator["spec"]["ingress"]
    assert any(selects(peer["podSelector"], labels) for peer in rule["from"])
    pod = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator"}  # KubeRay's own Ray pods
    assert not any(selects(peer["podSelector"], pod) for peer in rule["from"])


@pytest.mark.parametrize("overlay", [*OVERLAYS, INTERACTIVE])
def test_a_head_leaves_a_node_that_is_gone_before_the_operator_gives_the_job_up(requests: dict[str, Request], overlay: str) -> None:
    head = pods_of(ray_of(rendered(requests[overlay]))["spec"])[0]
    for state in ("unreachable", "not-ready"):
        found = [each for each in head["spec"]["tolerations"] if each["key"] == f"node.kubernetes.io/{state}"]
        assert [each["effect"] for each in found] == ["NoExecute"] and found[0]["tolerationSeconds"] <= 120


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_gpu_nodes_have_longer_to_come_up(requests: dict[str, Request], overlay: str) -> None:
    job = ray_of(rendered(requests[overlay]))
    gpus = "nvidia.com/gpu" in str(job)
    assert (job["spec"]["preRunningDeadlineSeconds"] >= 7200) == gpus
    assert ("pool.nodes_wait_s=7200" in job["spec"]["entrypoint"]) == gpus


def test_what_kueue_is_given_has_room_for_every_overlay(requests: dict[str, Request]) -> None:
    queues = [document for document in yaml.safe_load_all((ROOT / "k8s" / "kueue" / "queues.yaml").read_text("utf-8")) if document]
    for name in OVERLAYS:
        objects = rendered(requests[name], "kueue")
        report = check(Built([("run", each) for each in objects[objects.shared :]]), None, [*objects[: objects.shared], *queues])
        assert fields(report) == [], f"{name} does not fit the queue: {report.findings[0]}"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_kubectl_builds_what_the_reader_builds(tmp_path: Path) -> None:
    parts = {"resources": ["overlays/cluster-64gpu", "surroundings/overlays/cluster-64gpu"], "components": ["components/kueue"]}
    parts["components"] += ["surroundings/components/kueue", "surroundings/components/monitoring"]
    content = {field: [os.path.relpath(ROOT / "k8s" / path, tmp_path.resolve()) for path in paths] for field, paths in parts.items()}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content), "utf-8")
    run = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    theirs = sorted(yaml.load_all(run.stdout, LOADER), key=key)
    assert sorted((document for _, document in build(tmp_path).objects), key=key) == theirs


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_entrypoint_composes_to_the_configuration_that_the_groups_were_made_from(requests: dict[str, Request], overlay: str) -> None:
    request = requests[overlay]
    job = ray_of(rendered(request))
    program, command, *overrides = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("chemr", "train")
    assert load(overrides, files_here=False)[0] == request.config, (
        "the pods would run another configuration than the one they were sized for"
    )
    assert request.config.run.root == "/runs" and str(request.config.run.resume) == "auto" and request.config.pool.address == "auto"


def test_groups_follow_the_numbers_of_actors(requests: dict[str, Request]) -> None:
    request = requests["cpu-smoke"]
    more = replace(request.config, pool=replace(request.config.pool, learners=5, generators=3, generator_cpus=2.5, reward_workers=4))
    groups = {
        group["groupName"]: group
        for group in ray_of(render(replace(request, config=more), "run"))["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    }
    assert {name: group["replicas"] for name, group in groups.items()} == {"learner": 3, "generator": 3, "reward": 4}, (
        "2 learners fit a pod"
    )
    limits = groups["generator"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["cpu"] == "3", "2.5 CPUs of an actor need a pod of 3"
    assert all(group["minReplicas"] == group["replicas"] == group["maxReplicas"] for group in groups.values()), "nothing scales by itself"


def test_autoscaling_leaves_the_learners_alone(requests: dict[str, Request]) -> None:
    spec = ray_of(rendered(requests["cluster-64gpu"]))["spec"]["rayClusterSpec"]
    sizes = {group["groupName"]: (group["minReplicas"], group["replicas"], group["maxReplicas"]) for group in spec["workerGroupSpecs"]}
    assert sizes == {"learner": (2, 2, 2), "generator": (6, 6, 8), "reward": (4, 4, 8)}
    assert spec["enableInTreeAutoscaling"] is True


def test_prometheus_finds_the_driver_where_it_listens() -> None:
    objects = rendered(read_request(["overlay=cpu-smoke", "tracking.prometheus_port=9555"]), "monitoring")
    by_kind = {document["kind"]: document for document in objects if "metrics" in document["metadata"]["name"] or "Pod" in document["kind"]}
    spec = ray_of(objects)["spec"]
    ports = {port["name"]: port["containerPort"] for port in head_ports(spec)}
    assert ports["driver-metrics"] == 9555, "the head's port should be the one that the run was told"
    scraped = {endpoint["port"] for endpoint in by_kind["PodMonitor"]["spec"]["podMetricsEndpoints"]}
    allowed = {port["port"] for rule in by_kind["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert scraped == allowed == {"metrics", "driver-metrics"}
    assert fields(report_of(objects)) == []
    spec["entrypoint"] = spec["entrypoint"].replace("prometheus_port=9555", "prometheus_port=9400")
    assert "tracking.prometheus_port=9400" in str(report_of(objects).findings[0]), "a port that the driver does not serve should be named"
    spec["entrypoint"] = spec["entrypoint"].replace("9400", "9555").replace("prometheus_address=0.0.0.0", "prometheus_address=127.0.0.1")
    assert "prometheus_address" in str(report_of(objects).findings[0])


def test_a_run_without_a_metrics_port_exposes_none() -> None:
    objects = rendered(read_request(["overlay=cpu-smoke", "tracking.prometheus_port=null"]), "monitoring")
    assert "driver-metrics" not in str(ray_of(objects)) and fields(report_of(objects)) == []


def head_ports(spec: dict) -> list[dict]:
    ports: list[dict] = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    return ports


def test_the_command_line_writes_a_folder_that_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["k8s", "render", "experiment=smoke", "overlay=cpu-smoke", "components=kueue", "run.name=Mine_1", "--out", str(out)]) == 0
    file = out / "run" / "rayjob-chemr-mine-1.yaml"
    job = yaml.safe_load(file.read_text("utf-8"))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "chemr"
    assert main(["k8s", "check", str(out)]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "2 sets" in printed and "has to exist in the cluster" not in printed, "each folder of DIR is checked beside the other"
    file.write_text(file.read_text("utf-8").replace("pool.learners=2", "pool.learners=4"), "utf-8")
    assert main(["k8s", "check", str(out)]) == 1
    assert "workerGroupSpecs[0].replicas" in capsys.readouterr().err, "the group that is too small should be named"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["overlay=cpu-smok"], ["cpu-smok", "did you mean 'cpu-smoke'"]),
        (["components=kue"], ["'kue'", "did you mean 'kueue'"]),
        (["components=kueue,volcano"], ["kueue and volcano"]),
        (["cluster.storag.size_gb=3"], ["storag"]),
        (["cluster.storage.size_gb=much"], ["size_gb"]),
        (["cluster.groups.reward.hosts.scorer=1"], ["cluster.groups.reward.hosts", "scorer"]),
        (["cluster.groups.reward.shm_gb=0.1"], ["cluster.groups.reward.object_store_gb", "shm_gb"]),
        (["cluster.groups.extra.hosts.learner=1"], ["learner is hosted by", "extra"]),
        (["cluster.groups.reward.max_actors.reward=4"], ["max_actors", "autoscale"]),
        (["cluster.deadlines.head_lost_s=300"], ["head_lost_s", "below 300"]),
        ([f"run.name={'n' * 60}"], ["47 characters"]),
        (["pool.learnrs=2"], ["learnrs", "pool.learners"]),
    ],
)
def test_a_wrong_request_is_refused_in_words(arguments: list[str], words: list[str]) -> None:
    with pytest.raises((K8sError, ConfigError)) as raised:
        read_request(arguments)
    for word in words:
        assert word in str(raised.value), f"{arguments}: the message should name {word}: {raised.value}"


def test_a_rendered_folder_is_one_of_kustomize(requests: dict[str, Request], tmp_path: Path) -> None:
    for part in FOLDERS:
        objects = render(replace(requests["single-gpu"], components=COMPONENTS[4:]), part)
        write_folder(objects, tmp_path / part)
        assert [document for _, document in build(tmp_path / part).objects] == objects


def test_a_run_printed_for_kubectl_holds_the_run_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s", "render", "overlay=cpu-smoke", "run.name=mine"]) == 0
    run = list(yaml.safe_load_all(capsys.readouterr().out))
    assert main(["k8s", "render", "overlay=cpu-smoke", "run.name=mine", "--surroundings"]) == 0
    around = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {document["metadata"]["name"] for document in run} == {
        "chemr-mine",
        *(f"chemr-mine-{part}" for part in ("inside", "head", "learner")),
    }
    assert names_of(run) & names_of(around) == set() and "PersistentVolumeClaim" in {document["kind"] for document in around}
    assert main(["k8s", "render", "--surroundings", "--out", "x"]) == 2
