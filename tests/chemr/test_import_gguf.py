"""What is no model is refused in words. A real file is converted by hand (docs/smollm2.md): none is small enough to be a test."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from chemr.cli import main


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
