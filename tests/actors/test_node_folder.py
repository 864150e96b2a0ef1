"""A run's folder in shared memory: the last who uses it removes it, and after a kill the next who comes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from actors.node_folder import NodeFolder, remove_engine, remove_node_folder, segment_prefix, sweep_node

HOLDER = """
import sys, time
from pathlib import Path
from actors.node_folder import NodeFolder
folder = NodeFolder(Path(sys.argv[1]))
print("joined", flush=True)
time.sleep(600)
"""


def a_process_in(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert process.stdout is not None and process.stdout.readline() == "joined\n"
    return process


def test_the_folder_is_private_and_goes_with_the_last_who_leaves(tmp_path: Path) -> None:
    path = tmp_path / "chemr-00000001"
    first, second = NodeFolder(path), NodeFolder(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (path / "weights").write_bytes(b"x")
    first.leave()
    first.leave()
    assert (path / "weights").exists(), "another one still uses it"
    second.leave()
    assert not path.exists()


def test_a_folder_in_use_is_never_swept_and_one_whose_users_were_killed_is(tmp_path: Path) -> None:
    path, engine = tmp_path / "chemr-00000002", tmp_path / "chemr-00000002" / "generator-0"
    process = a_process_in(path)
    engine.mkdir()
    (engine / "vllm_dist_1234").touch()
    segments = [tmp_path / f"{segment_prefix(engine)}abcd", tmp_path / "vllm_dist_1234-tp:0-[0-1]-cpushm_0"]
    foreign = [tmp_path / "psm_12345678", tmp_path / "vllm_dist_9999-tp:0-[0-1]-cpushm_0", tmp_path / "chemr-notes.txt"]
    for file in [*segments, *foreign]:
        file.touch()
    assert sweep_node(tmp_path) == [] and path.exists() and all(file.exists() for file in segments)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert sweep_node(tmp_path) == [path]
    assert not path.exists() and not any(file.exists() for file in segments), "its engines' segments go with it"
    assert all(file.exists() for file in foreign), "what is somebody else's stays"


def test_segments_without_their_folder_are_swept(tmp_path: Path) -> None:
    orphan = tmp_path / "chemr-0000000a-generator-3-77aa"
    orphan.touch()
    assert sweep_node(tmp_path) == [orphan] and not orphan.exists()


def test_folders_without_our_lock_file_and_links_are_not_touched(tmp_path: Path) -> None:
    other, target = tmp_path / "chemr-someone", tmp_path / "precious"
    other.mkdir()
    target.mkdir()
    (target / "users").touch()
    (tmp_path / "chemr-00000003").symlink_to(target)
    assert sweep_node(tmp_path) == [] and other.is_dir() and (target / "users").exists()


def test_an_engine_s_leftovers_go_without_its_neighbour_s(tmp_path: Path) -> None:
    engines = [tmp_path / "chemr-00000004" / name for name in ("generator-1", "generator-10")]
    segments = [tmp_path / f"{segment_prefix(engine)}ff" for engine in engines]
    for engine, segment in zip(engines, segments, strict=True):
        engine.mkdir(parents=True)
        segment.touch()
    remove_engine(engines[0])
    assert [engine.exists() for engine in engines] == [False, True] and [segment.exists() for segment in segments] == [False, True]
    remove_node_folder(engines[0].parent)
    assert not segments[1].exists()


def test_joining_outlasts_a_sweeper_that_comes_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    path, real, swept = tmp_path / "chemr-00000005", fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not swept and operation == fcntl.LOCK_SH:
            swept.append(True)
            remove_node_folder(path)  # between the opening of the lock file and its lock
        real(descriptor, operation)

    monkeypatch.setattr("actors.node_folder.fcntl.flock", late)
    folder = NodeFolder(path)
    assert swept and path.is_dir() and sweep_node(tmp_path) == [], "the folder is there, and held"
    folder.leave()
