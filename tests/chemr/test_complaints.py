"""What a person can do something about is one line and a status; a bug keeps its traceback."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from chemr.cli import main
from chemr.complaints import REMEDIES, complaint
from chemr.conf_files import ConfFileError
from chemr.export import ModelNotWritten, export_model


@pytest.mark.parametrize("number", sorted(REMEDIES))
def test_what_the_system_refuses_names_the_path_and_a_remedy(number: int) -> None:
    line = complaint(OSError(number, os.strerror(number), "/data/x"))
    assert line is not None and line.startswith("/data/x: ") and "; " in line and "\n" not in line


def test_a_write_that_knows_no_path_still_says_what_is_wrong() -> None:
    assert "No space left" in (complaint(OSError(errno.ENOSPC, "No space left on device")) or "")


def test_the_error_of_an_actor_is_that_of_its_cause() -> None:
    wrapped = RuntimeError("ray::LearnerWorker.export_hf()")
    wrapped.cause = OSError(errno.ENOSPC, "No space left on device", "/out/model.safetensors")  # type: ignore[attr-defined]
    assert (complaint(wrapped) or "").startswith("/out/model.safetensors: ")


@pytest.mark.parametrize(
    "bug",
    [KeyError("x"), ValueError("x"), AssertionError(), OSError("ours"), FileNotFoundError(errno.ENOENT, "nowhere"), ConnectionError("x"),
     TypeError("x"), ImportError("cannot import name 'x' from 'chemr'")],
)  # fmt: skip
def test_a_bug_is_no_complaint(bug: Exception) -> None:
    assert complaint(bug) is None


def test_a_missing_library_of_the_system_sends_to_doctor() -> None:
    error = ImportError("libXrender.so.1: cannot open shared object file: No such file or directory")
    line = complaint(error)
    assert line is not None and "libXrender.so.1" in line and "chemr doctor" in line


def test_yaml_is_said_with_file_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [\n")
    with pytest.raises(yaml.YAMLError) as caught, (tmp_path / "x.yaml").open() as file:
        yaml.safe_load(file)
    assert "x.yaml:2:1: not YAML" in (complaint(caught.value) or "")
    assert complaint(ConfFileError("as it is")) == "as it is"


def raising(error: BaseException) -> Any:
    def dry_run(config: Any) -> list[str]:
        raise error

    return dry_run


def test_a_command_that_meets_a_full_disk_ends_with_status_1_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chemr.dry_run.dry_run", raising(OSError(errno.ENOSPC, "No space left on device", "/runs/a/metrics.jsonl")))
    assert main(["train", "--dry-run", "experiment=smoke"]) == 1
    assert capsys.readouterr().err.startswith("chemr train: /runs/a/metrics.jsonl: No space left on device; make room")


def test_a_bug_shows_where_it_is_and_so_does_everything_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chemr.dry_run.dry_run", raising(KeyError("x")))
    with pytest.raises(KeyError):
        main(["train", "--dry-run", "experiment=smoke"])
    monkeypatch.setattr("chemr.dry_run.dry_run", raising(OSError(errno.ENOSPC, "No space left on device", "/x")))
    monkeypatch.setenv("CHEMR_TRACEBACK", "1")
    with pytest.raises(OSError, match="No space"):
        main(["train", "--dry-run", "experiment=smoke"])


@pytest.mark.parametrize(("target", "words"), [(os.devnull, ""), ("/dev/full", "No space left on device")])
def test_output_that_finds_no_room_or_no_reader_is_no_traceback(target: str, words: str) -> None:
    with open(target, "w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "chemr.cli", "completion", "bash"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=240,
            check=False,
        )
    assert "Traceback" not in done.stderr and words in done.stderr, done.stderr
    assert (done.returncode == 0) is (not words)


def test_an_export_to_a_full_disk_names_it_and_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def export_hf(folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise RuntimeError("SafetensorError: I/O error")

    learners = cast(Any, SimpleNamespace(export_hf=export_hf))
    monkeypatch.setattr("chemr.export.storage_failure", lambda error, folder: "the disk is full; make room")
    with pytest.raises(ModelNotWritten, match=f"{tmp_path}/out/model was not written: the disk is full"):
        asyncio.run(export_model(learners, cast(Any, None), tmp_path / "out" / "model", "", 8))
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr("chemr.export.storage_failure", lambda error, folder: "")
    with pytest.raises(RuntimeError, match="SafetensorError"):
        asyncio.run(export_model(learners, cast(Any, None), tmp_path / "out" / "model", "", 8))
