"""What a killed driver's pool leaves: processes that hide whose they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from actors import private_folder
from actors.leftovers import NOTE, PoolNote, agents_of, start_ticks, sweep
from actors.private_folder import LOCK, LONGEST_BASE, NoPrivateFolderError, PrivateFolder
from tests.patience import WAIT_S

HOLD = "import sys, time; log = open(sys.argv[1], 'a'); print('open', flush=True); time.sleep(60)"


def holding(path: Path, title: str) -> subprocess.Popen[bytes]:
    """A process of that title, without any environment, that has ``path`` open."""
    process = subprocess.Popen([title, "-c", HOLD, str(path)], executable=sys.executable, env={}, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"open\n"
    return process


def test_an_orphaned_agent_of_ray_is_ended_by_the_next_start_and_a_reader_of_its_log_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, elsewhere = tmp_path / "chemr-abcdefgh", tmp_path / "chemr-abcdefgi"
    for directory in (folder, elsewhere):
        directory.mkdir()
    agent = holding(folder / "session_1.log", "ray::DashboardAgent")
    reader = holding(folder / "session_1.log", "tail")
    others = holding(elsewhere / "session_1.log", "ray::DashboardAgent")
    script = tmp_path / "packages" / "ray" / "_private" / "log_monitor.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time; time.sleep(60)")
    monitor = subprocess.Popen([sys.executable, "-u", script, f"--session-dir={folder}/session_1"])
    try:
        run_dir = tmp_path / "run"
        gone = subprocess.Popen(["true"])
        gone.wait()
        PoolNote("no-process-has-this-id", gone.pid, -1, (str(folder),)).write(run_dir)
        assert {int(name.split()[0]) for name in sweep(run_dir)} == {agent.pid, monitor.pid}
        assert not psutil.pid_exists(agent.pid), "the agent was killed"
        assert psutil.pid_exists(reader.pid) and reader.poll() is None, "whoever reads the log is left alone"
        assert others.poll() is None, "and so is the agent of another pool"
        assert not folder.exists() and os.listdir(run_dir) == []
    finally:
        for process in (agent, reader, others, monitor):
            process.kill()
            process.communicate()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"it never happened that {what}"
        time.sleep(0.01)


def dead_driver() -> int:
    gone = subprocess.Popen(["true"])
    gone.wait()
    return gone.pid


def test_a_driver_that_is_dead_and_that_nobody_has_waited_for_is_dead(tmp_path: Path) -> None:
    driver = subprocess.Popen(["sleep", "1000"])
    started = start_ticks(driver.pid)
    assert started is not None
    note = PoolNote("x", driver.pid, started, ())
    assert note.driver_alive()
    driver.send_signal(signal.SIGSTOP)
    assert note.driver_alive(), "whoever stands still may go on"
    driver.kill()
    until(lambda: psutil.Process(driver.pid).status() == psutil.STATUS_ZOMBIE, "it was a zombie")
    try:
        assert start_ticks(driver.pid) is None and not note.driver_alive()
        note.write(tmp_path)
        assert sweep(tmp_path) == [] and os.listdir(tmp_path) == []
    finally:
        driver.wait()


def planted(tmp_path: Path, pool_id: str, live: Path) -> dict[str, Path]:
    """Paths that a note may name and that are nobody's leftovers, by what is wrong with them; each holds a file."""
    own = tmp_path / "chemr-aaaaaaaa"
    own.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "chemr-bbbbbbbb").mkdir()
    (tmp_path / "chemr-cccccccc").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "chemr-eeeeeeee").mkdir()
    (tmp_path / "chemr-eeeeeeee" / LOCK).symlink_to(tmp_path / "results" / "lock")
    (tmp_path / "results" / "lock").write_text(json.dumps({"pool_id": pool_id}))
    named = {
        "a user's own folder of such a name": own,
        "another place, without a lock": tmp_path / "elsewhere" / "chemr-bbbbbbbb",
        "a link": tmp_path / "chemr-cccccccc",
        "another name": tmp_path / "results",
        "a live pool's folder": live,
        "a lock that is a link": tmp_path / "chemr-eeeeeeee",
        "a way around": tmp_path / "chemr-aaaaaaaa" / ".." / "results",
    }
    for folder in named.values():
        (folder / "thesis.tex").write_text("years of work")
    return named


def test_a_note_that_names_anything_else_than_its_pools_folders_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pool_id = "0123456789abcdef"
    another = PrivateFolder("another")
    named = planted(tmp_path, pool_id, another.path)
    run_dir = tmp_path / "run"
    PoolNote(pool_id, dead_driver(), 0, (*map(str, named.values()), "/", str(Path.home()), "")).write(run_dir)
    assert sweep(run_dir) == []
    for why, folder in named.items():
        assert (folder / "thesis.tex").read_text() == "years of work", f"{why} was removed"
        assert why == "a way around" or f"{folder}, which is no folder of that run's pool" in caplog.text, f"{why}: nobody was told"
    assert not (run_dir / NOTE).exists()
    another.remove()


def test_somebody_elses_folder_is_not_this_pools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = PrivateFolder("0123456789abcdef")
    try:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert private_folder.pool_of(folder.path) is None
        assert psutil.Process().pid not in {process.pid for process in agents_of(folder.path)}
    finally:
        folder.remove()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pool_id": "x"}', '{"pool_id": 1, "driver_pid": 1, "driver_started": 2, "directories": 5}']
)
def test_a_note_that_is_none_is_told_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    (tmp_path / NOTE).write_text(text)
    assert sweep(tmp_path) == []
    assert "no note of a pool" in caplog.text and (tmp_path / NOTE).read_text() == text


DRIVER = """
import sys, time
from actors.private_folder import PrivateFolder
folder = PrivateFolder("fedcba9876543210")
folder.session.mkdir()
print(folder.path, flush=True)
time.sleep(600)
"""


def test_the_private_folder_of_a_killed_driver_is_swept_by_any_later_start_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    try:
        folder = Path(driver.stdout.readline().strip())
        assert folder.stat().st_mode & 0o777 == 0o700, "nobody else may enter it"
        sweep(tmp_path)
        assert (folder / "ray").is_dir(), "its driver lives"
    finally:
        driver.kill()
        driver.communicate()
    sweep(tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize("length", [LONGEST_BASE, LONGEST_BASE + 1, 78, 200])
def test_a_long_tmpdir_is_not_used_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, length: int
) -> None:
    top = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
    base = top / ("x" * (length - len(str(top)) - 1))
    base.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    folder = PrivateFolder("0123456789abcdef")
    try:
        assert folder.path.parent == (base if length <= LONGEST_BASE else Path("/tmp"))
        socket = folder.session / "session_2026-11-30_22-08-43_123456_4194304" / "sockets" / "plasma_store"
        assert len(bytes(socket)) <= 107
        told = [record.getMessage() for record in caplog.records]
        assert told == [] if length <= LONGEST_BASE else len(told) == 1 and f"has {length} bytes" in told[0], told
    finally:
        folder.remove()
        base.rmdir()
        top.rmdir()


def test_without_any_fitting_folder_it_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 20)))
    monkeypatch.setattr(private_folder, "SHORT_BASES", ("/dev/null", "/nowhere"))
    with pytest.raises(NoPrivateFolderError, match=r"TMPDIR=.*at most \d+ leave room.*set TMPDIR to a folder of your own"):
        PrivateFolder("0123456789abcdef")


def test_a_folder_where_everybody_may_rename_is_not_trusted() -> None:
    short = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
    try:
        assert private_folder.unsuitable(short) is None
        short.chmod(0o777)
        assert "everybody may rename" in (private_folder.unsuitable(short) or "")
        short.chmod(0o1777)
        assert private_folder.unsuitable(short) is None
    finally:
        short.rmdir()
