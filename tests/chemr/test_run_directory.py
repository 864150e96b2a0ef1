"""A run's directory: a name is not reused by accident, and two drivers never write into it at once."""

from __future__ import annotations

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
