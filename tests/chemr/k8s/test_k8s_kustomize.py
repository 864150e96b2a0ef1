"""JSON6902 patches: what they make, what they refuse, and why a merge patch is not used."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from chemr.k8s.errors import K8sError
from chemr.k8s.kustomize import apply_operations, build, operations_between
from chemr.k8s.request import Request
from tests.chemr.k8s.manifests import ray_of, rendered, report_of


def groups(job: dict[str, Any]) -> list[str]:
    return [group["groupName"] for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]


def overlay_of(job: dict[str, Any], patch: str, folder: Path) -> Any:
    (folder / "job.yaml").write_text(yaml.safe_dump(job), "utf-8")
    (folder / "patch.yaml").write_text(patch, "utf-8")
    kustomization = {"resources": ["job.yaml"], "patches": [{"path": "patch.yaml", "target": {"kind": "RayJob"}}]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    return build(folder)


def test_a_merge_patch_on_worker_groups_deletes_the_others_and_is_reported(requests: dict[str, Request], tmp_path: Path) -> None:
    job = ray_of(rendered(requests["cpu-smoke"]))
    patch = {"kind": "RayJob", "spec": {"rayClusterSpec": {"workerGroupSpecs": [{"groupName": "generator", "replicas": 3}]}}}
    built = overlay_of(job, yaml.safe_dump(patch), tmp_path)
    ((_, changed),) = built.objects
    assert groups(changed) == ["generator"], "kustomize replaces lists of custom resources, and the reader should, too"
    ((_, _, field, message),) = built.warnings
    assert field == "spec.rayClusterSpec.workerGroupSpecs" and "deletes learner, reward" in message
    assert any("deletes learner" in str(finding) for finding in report_of_built(built)), "the check should say it"


def report_of_built(built: Any) -> list[Any]:
    from chemr.k8s.check import check

    return check(built).findings


def test_a_json_patch_keeps_the_groups_and_its_test_guards_their_order(requests: dict[str, Request], tmp_path: Path) -> None:
    job = ray_of(rendered(requests["cpu-smoke"]))
    where = "/spec/rayClusterSpec/workerGroupSpecs/1"
    guarded = [
        {"op": "test", "path": f"{where}/groupName", "value": "generator"},
        {"op": "replace", "path": f"{where}/replicas", "value": 3},
    ]
    ((_, changed),) = overlay_of(job, yaml.safe_dump(guarded), tmp_path).objects
    assert (
        groups(changed) == ["learner", "generator", "reward"] and changed["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]["replicas"] == 3
    )
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"].reverse()
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"].pop()
    with pytest.raises(K8sError, match=r"the test of .*/1/groupName fails"):
        apply_operations({**job, "spec": {"rayClusterSpec": {"workerGroupSpecs": [{"groupName": "a"}, {"groupName": "b"}]}}}, guarded)


def test_the_patch_between_two_objects_makes_the_one_of_the_other(requests: dict[str, Request]) -> None:
    jobs = {name: ray_of(rendered(request)) for name, request in requests.items() if name != "interactive"}
    for old in jobs.values():
        for new in jobs.values():
            assert apply_operations(old, operations_between(old, new)) == new
    draw = random.Random(7)

    def value(depth: int) -> Any:
        if depth == 0 or draw.random() < 0.3:
            return draw.choice([1, "x", True, None, [1, 2], {}])
        if draw.random() < 0.5:
            return {draw.choice("a/b~c"): value(depth - 1) for _ in range(3)}
        return [{"name": name, "v": value(depth - 1)} for name in draw.sample("abcd", 3)]

    for _ in range(300):
        old, new = {"r": value(3)}, {"r": value(3)}
        assert apply_operations(old, operations_between(old, new)) == new, f"wrong patch from {old} to {new}"


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ([{"op": "replace", "path": "/a/x", "value": 1}], "nothing at /a/x"),
        ([{"op": "remove", "path": "/l/3"}], "3"),
        ([{"op": "test", "path": "/a/b", "value": 2}], "found 1, expected 2"),
        ([{"op": "move", "path": "/a/b", "from": "/l"}], "unknown op 'move'"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(operations: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(K8sError, match=words):
        apply_operations({"a": {"b": 1}, "l": [1, 2]}, operations)


def test_a_field_that_the_reader_does_not_know_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\n", "utf-8")
    with pytest.raises(K8sError, match="namePrefix"):
        build(tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [none.yaml]\n", "utf-8")
    with pytest.raises(K8sError, match=r"none\.yaml"):
        build(tmp_path)


def test_the_report_of_a_good_set_has_no_findings(requests: dict[str, Request]) -> None:
    report = report_of(rendered(requests["cpu-smoke"]))
    assert report.findings == []
    assert any("--schemas" in note for note in report.notes), "what was not checked should be said"
