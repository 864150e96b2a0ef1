"""Manifests follow from the configuration, and the checked-in folder is what would be made today."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from chemr.cli import main
from chemr.config import ConfigError, load
from chemr.k8s.check import combinations
from chemr.k8s.errors import K8sError
from chemr.k8s.kustomize import LOADER, build
from chemr.k8s.render import render, write_folder
from chemr.k8s.request import COMPONENTS, Request, read_request
from chemr.k8s.tree import INTERACTIVE, OVERLAYS, tree
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
        built = build(ROOT / "k8s" / "overlays" / overlay, [ROOT / "k8s" / "components" / name for name in names])
        mine = sorted(rendered(requests[overlay], *names), key=key)
        theirs = sorted((document for _, document in built.objects), key=key)
        assert theirs == mine, f"{overlay} with {names}: kustomize's objects differ from render's"
        assert built.warnings == []


def test_every_overlay_with_every_set_of_components_passes_the_check(releases: dict) -> None:
    assert len(releases) >= 2, "the schemas should be of two releases of KubeRay"
    count = 0
    for title, built in combinations(ROOT / "k8s"):
        count += 1
        objects = [document for _, document in built.objects]
        for release, schemas in releases.items():
            report = report_of(objects, schemas)
            assert report.findings == [], f"{title}, {release}: {report.findings[0]}"
            unread = [note for note in report.notes if "not checked" in note]
            assert unread == [], f"{title}, {release}: {unread}"
    assert count == (len(OVERLAYS) + 1) * 5 * 4, f"{count} combinations: not every set of components was built"


def test_what_kueue_is_given_has_room_for_every_overlay(requests: dict[str, Request]) -> None:
    queues = [document for document in yaml.safe_load_all((ROOT / "k8s" / "kueue" / "queues.yaml").read_text("utf-8")) if document]
    for name in OVERLAYS:
        report = report_of([*rendered(requests[name], "kueue"), *queues])
        assert fields(report) == [], f"{name} does not fit the queue: {report.findings[0]}"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_kubectl_builds_what_the_reader_builds(tmp_path: Path) -> None:
    parts = {"resources": ["overlays/cluster-64gpu"], "components": ["components/kueue", "components/monitoring"]}
    content = {field: [os.path.relpath(ROOT / "k8s" / path, tmp_path.resolve()) for path in paths] for field, paths in parts.items()}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content), "utf-8")
    run = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
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
        group["groupName"]: group for group in ray_of(render(replace(request, config=more)))["spec"]["rayClusterSpec"]["workerGroupSpecs"]
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
    assert "driver-metrics" not in str(objects) and fields(report_of(objects)) == []


def head_ports(spec: dict) -> list[dict]:
    ports: list[dict] = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    return ports


def test_the_command_line_writes_a_folder_that_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["k8s", "render", "experiment=smoke", "overlay=cpu-smoke", "components=kueue", "run.name=Mine_1", "--out", str(out)]) == 0
    job = yaml.safe_load((out / "rayjob-chemr-mine-1.yaml").read_text("utf-8"))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "chemr"
    assert main(["k8s", "check", str(out)]) == 0, capsys.readouterr().err
    text = (out / "rayjob-chemr-mine-1.yaml").read_text("utf-8").replace("pool.learners=2", "pool.learners=4")
    (out / "rayjob-chemr-mine-1.yaml").write_text(text, "utf-8")
    capsys.readouterr()
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
    objects = rendered(requests["single-gpu"], *itertools.chain(COMPONENTS[4:]))
    write_folder(objects, tmp_path)
    assert [document for _, document in build(tmp_path).objects] == objects
