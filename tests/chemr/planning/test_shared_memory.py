"""How much of /dev/shm a node needs, from the policy and the pool, and who says so before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from actors.shared_memory import GIB, MIB, needed
from chemr.cli import main
from chemr.config import ChemrConfig, load
from chemr.k8s.errors import K8sError
from chemr.k8s.request import read_request
from chemr.planning.shared_memory import machine_shortage, node_needs, version_bytes

EIGHT_B = "policy.path=/runs/models/qwen3-8b"  # not here: known by its name


def config_of(*overrides: str) -> ChemrConfig:
    return load(list(overrides), files_here=False)[0]


def test_generators_of_a_node_share_a_file_and_several_of_them_need_a_second_one_for_a_moment() -> None:
    store, version = 32 * GIB, 16 * GIB
    assert [needed(store, version, count).weights for count in (0, 1, 2, 8)] == [0, version, 2 * version, 2 * version]
    assert needed(store, version, 8).total < 65 * GIB, "eight generators of an 8B model: 160 GiB when each kept its own"
    assert needed(0, 0, 2, tensor_parallel=2).engines == 2 * 3 * 240 * MIB
    assert (needed(0, 0, 0, gpu_ranks=1).learners, needed(0, 0, 0, gpu_ranks=4).learners) == (0, 4 * 64 * MIB)
    assert (
        str(needed(store, version, 1))
        == "48.0 GiB: 32.0 for Ray's object store, 16.0 for the weights, which all generators of a node share"
    )


@pytest.mark.parametrize(("dtype", "each"), [("fp32", 4), ("bf16", 2)])
def test_a_version_has_the_learner_s_dtype_wherever_the_policy_s_size_comes_from(tmp_path: Path, dtype: str, each: int) -> None:
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"a": torch.zeros(10, 3), "b": torch.zeros(7, dtype=torch.bfloat16)}, folder / "model.safetensors")
    learner = (f"learner.dtype={dtype}", "learner.zero_stage=2", "learner.gradient_dtype=fp32")
    assert version_bytes(config_of(*learner, f"policy.path={folder}")) == 37 * each
    assert version_bytes(config_of(*learner, EIGHT_B)) == pytest.approx(8.19e9 * each, rel=0.01)
    assert version_bytes(config_of(*learner, "policy.path=/models/mine")) is None
    scratch = version_bytes(config_of(*learner))
    assert scratch is not None and 1e5 * each < scratch < 1e7 * each


def test_a_machine_that_is_too_small_is_told_what_is_missing_and_what_helps() -> None:
    config = config_of(EIGHT_B, "learner.dtype=bf16", "learner.zero_stage=2", "learner.gradient_dtype=fp32", "pool.generators=2")
    needs = node_needs(config, 256 * MIB, 2, 1)
    assert needs is not None and machine_shortage(config, needs.total) is None
    said = machine_shortage(config, needs.total - 1)
    assert said is not None and "30.5 for the weights" in said and "lower pool.object_store_mb=256 or enlarge /dev/shm" in said
    unknown = config_of("policy.path=/models/mine")
    assert machine_shortage(unknown, 256 * MIB) is None and machine_shortage(unknown, 255 * MIB)


def test_a_dry_run_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil
    from types import SimpleNamespace

    real = shutil.disk_usage
    small = SimpleNamespace(total=300 * MIB, used=0, free=100 * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small if str(path) == "/dev/shm" else real(path))
    assert main(["train", "experiment=smoke", f"run.root={tmp_path}", "--dry-run"]) == 2
    assert "/dev/shm" in capsys.readouterr().err


NODE = ["overlay=node-8gpu", EIGHT_B]


def test_render_refuses_pods_whose_shared_memory_is_too_small_for_the_policy() -> None:
    read_request(NODE)
    with pytest.raises(
        K8sError, match=r"cluster\.groups\.generator\.shm_gb=40, and with policy\.path=\S+ /dev/shm of a pod needs 62\.5 GiB"
    ):
        read_request([*NODE, "cluster.groups.generator.shm_gb=40"])
    read_request(["overlay=node-8gpu", "cluster.groups.generator.shm_gb=40"])  # of a policy that nobody here knows


def test_check_says_it_of_a_manifest_and_notes_what_it_cannot_see(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s", "render", *NODE, "--out", str(tmp_path / "out")]) == 0
    assert main(["k8s", "check", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    for file in (tmp_path / "out").rglob("*.yaml"):
        text = file.read_text()
        if "sizeLimit" in text:
            documents = [document for document in yaml.safe_load_all(text) if document]
            shrink(documents)
            file.write_text(yaml.safe_dump_all(documents))
    capsys.readouterr()
    assert main(["k8s", "check", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "emptyDir.sizeLimit" in said and "40.0 GiB, and with policy.path=/runs/models/qwen3-8b /dev/shm of a pod needs 62.5 GiB" in said
    assert main(["k8s", "render", "overlay=node-8gpu", "--out", str(tmp_path / "unknown")]) == 0
    assert main(["k8s", "check", str(tmp_path / "unknown")]) == 0
    assert "/dev/shm of generator has room for 8.6 billion parameters" in capsys.readouterr().out


def shrink(node: object) -> None:
    """/dev/shm of every pod with 64 GiB of it has 40."""
    if isinstance(node, dict):
        if node.get("sizeLimit") == "64Gi":
            node["sizeLimit"] = "40Gi"
        for value in node.values():
            shrink(value)
    elif isinstance(node, list):
        for value in node:
            shrink(value)
