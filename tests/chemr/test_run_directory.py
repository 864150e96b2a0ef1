"""A run's directory: a name is not reused by accident, and two drivers never write into it at once."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chemr.run_directory import Resume, RunDirectory, RunDirectoryError


def test_a_used_name_is_refused_and_the_message_says_how_to_go_on(tmp_path: Path) -> None:
    first = RunDirectory.open(tmp_path / "run", Resume.never, 2)
    first.write_config("x: 1\n")
    first.close()
    with pytest.raises(RunDirectoryError, match=r"run\.resume=auto"):
        RunDirectory.open(tmp_path / "run", Resume.never, 2)
    RunDirectory.open(tmp_path / "run", Resume.auto, 2).close()


def test_two_drivers_cannot_share_a_run(tmp_path: Path) -> None:
    first = RunDirectory.open(tmp_path / "run", Resume.auto, 2)
    with pytest.raises(RunDirectoryError, match="in use by process"):
        RunDirectory.open(tmp_path / "run", Resume.auto, 2)
    first.close()
    RunDirectory.open(tmp_path / "run", Resume.auto, 2).close()


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    directory = RunDirectory.open(tmp_path / "run", Resume.never, 2)
    directory.write_json("summary.json", {"a": 1})
    with pytest.raises(ValueError):
        directory.write_json("summary.json", {"a": float("nan")})
    assert '"a": 1' in (directory.path / "summary.json").read_text(), "a failed write must leave the previous content"
    directory.close()


def hold(path: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Another process that has the run for a while; returns once it has."""
    code = (
        "import sys, time; from pathlib import Path; from chemr.run_directory import Resume, RunDirectory\n"
        f"held = RunDirectory.open(Path({str(path)!r}), Resume.auto, 2); print('held', flush=True); time.sleep({seconds})"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    return holder


async def test_a_lock_that_is_still_held_is_waited_for_and_the_person_is_told(tmp_path: Path) -> None:
    """As a pod that is being ended holds it, or a file server for a node that is lost."""
    said: list[str] = []
    holder = hold(tmp_path / "run", seconds=2.0)
    directory = await RunDirectory.wait_for(tmp_path / "run", Resume.auto, 2, wait_s=120.0, say=said.append)
    assert holder.wait(timeout=30) == 0
    (line,) = said
    assert f"process {holder.pid} on {socket.gethostname()}" in line and "run.lock_wait_s" in line
    assert (tmp_path / "run" / "run.lock").read_text() == f"{os.getpid()} {socket.gethostname()}"
    directory.close()


async def test_a_wait_that_is_over_names_process_and_host(tmp_path: Path) -> None:
    holder = hold(tmp_path / "run", seconds=600.0)
    try:
        with pytest.raises(RunDirectoryError, match=rf"process {holder.pid} on {socket.gethostname()}.*run\.lock_wait_s=0\.2"):
            await RunDirectory.wait_for(tmp_path / "run", Resume.auto, 2, wait_s=0.2, say=lambda line: None)
    finally:
        holder.kill()
        holder.wait()


async def test_a_name_that_is_used_is_refused_without_a_wait(tmp_path: Path) -> None:
    first = RunDirectory.open(tmp_path / "run", Resume.never, 2)
    first.write_config("x: 1\n")
    said: list[str] = []
    with pytest.raises(RunDirectoryError, match=r"run\.resume=auto"):
        await RunDirectory.wait_for(tmp_path / "run", Resume.never, 2, wait_s=600.0, say=said.append)
    assert not said
    first.close()


def test_the_lock_of_an_earlier_version_names_its_process(tmp_path: Path) -> None:
    first = RunDirectory.open(tmp_path / "run", Resume.auto, 2)
    (tmp_path / "run" / "run.lock").write_text("4711")
    with pytest.raises(RunDirectoryError, match="in use by process 4711;"):
        RunDirectory.open(tmp_path / "run", Resume.auto, 2)
    first.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO, errno.ESTALE])
def test_storage_without_locks_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(RunDirectoryError, match="cannot be locked"):
        RunDirectory.open(tmp_path / "run", Resume.auto, 2)


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match=r"choose another run\.root"):
        RunDirectory.open(tmp_path / "file" / "run", Resume.auto, 2)


def test_the_configuration_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory.open(tmp_path / "run", Resume.never, 2)
    directory.write_config("x: 1\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        directory.write_config("x: 2\n")
    assert (directory.path / "config.yaml").read_text() == "x: 1\n", "a run that goes on is compared with it"
    directory.close()


def test_the_results_of_a_run_that_goes_on_are_kept_beside_the_new_ones(tmp_path: Path) -> None:
    directory = RunDirectory.open(tmp_path / "run", Resume.never, 2)
    directory.write_json("summary.json", {"a": 1})
    assert directory.retire_summary("grpo-200") == "summary-grpo-200.json"
    assert not (directory.path / "summary.json").exists() and directory.read_json("summary-grpo-200.json") == {"a": 1}
    directory.close()
