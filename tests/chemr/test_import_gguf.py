"""What is no model is refused in words. A real file is converted by hand (docs/smollm2.md): none is small enough to be a test."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from chemr.cli import main
from chemr.import_gguf import GgufError, _copy


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("nothing"), "neither a .gguf file nor a wheel"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "holds 0 GGUF files"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: object, message: str) -> None:
    source = tmp_path / "model.whl"
    prepare(source)  # type: ignore[operator]
    assert main(["import-gguf", str(source), "--to", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".import-*")), "nothing half-made is left"


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    assert main(["import-gguf", str(tmp_path / "x.gguf"), "--to", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err


def packed(path: Path, content: bytes, level: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", level) as archive:
        archive.writestr("model.gguf", content)
    return path


def said(source: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["import-gguf", str(source), "--to", str(source.parent / "out")]) == 2
    message = capsys.readouterr().err
    assert len(message.strip().splitlines()) == 1, message
    assert not (source.parent / "out").exists() and not list(source.parent.glob(".import-*")), "nothing half-made is left"
    return message


def test_an_archive_that_unpacks_to_far_more_than_a_models_weights_can_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "would unpack to 50,000,000 bytes" in said(packed(tmp_path / "bomb.zip", bytes(50_000_000)), capsys)


def test_an_archive_for_which_there_is_no_room_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    assert "make room" in said(packed(tmp_path / "model.zip", b"GGUF" + os.urandom(100)), capsys)


def test_an_archive_that_holds_more_than_it_says_is_not_followed() -> None:
    with pytest.raises(GgufError, match="more than it says"):
        _copy(io.BytesIO(b"123456"), io.BytesIO(), 5)


def test_damaged_locked_and_foreign_files_are_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = packed(tmp_path / "model.zip", b"GGUF" + os.urandom(1000), zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[200] ^= 255
    archive.write_bytes(content)
    assert "cannot be unpacked" in said(archive, capsys)
    locked = bytearray(packed(tmp_path / "locked.zip", b"GGUF" + os.urandom(1000)).read_bytes())
    locked[6] |= 1  # the flag of an encrypted member, in its own header and in the directory
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    assert "cannot be unpacked" in said(tmp_path / "locked.zip", capsys)
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04")
    assert "no GGUF file" in said(tmp_path / "x.gguf", capsys)
