"""A run that is killed while it writes sampled trajectories leaves no file that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from chemr.trajectory_log import TrajectoryLog

NOBODY: Any = None  # no group is added, so no tokenizer is asked


def log_with_rows(folder: Path) -> TrajectoryLog:
    log = TrajectoryLog(folder, NOBODY, every=1)
    log._rows = [{"uid": "a", "completion": "CCO"}]
    return log


def test_the_file_is_moved_into_place_when_it_is_whole(tmp_path: Path) -> None:
    log_with_rows(tmp_path).finish_step(3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003.parquet"]
    assert pq.read_table(tmp_path / "step-000003.parquet").to_pylist() == [{"uid": "a", "completion": "CCO"}]


def test_a_kill_before_the_move_leaves_no_parquet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chemr.whole_file.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        log_with_rows(tmp_path).finish_step(3)
    assert not list(tmp_path.glob("*.parquet")), "readers of trajectories take every *.parquet for whole"
