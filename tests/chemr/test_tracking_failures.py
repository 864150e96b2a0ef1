"""Whatever happens to a sink or its disk, the run neither stops nor waits, and metrics.jsonl has everything."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chemr.tracking import mirror as mirror_module
from chemr.tracking import tracker as tracker_module
from chemr.tracking import wandb_sink
from chemr.tracking.config import TrackingConfig, WandbMode
from chemr.tracking.metrics_log import MetricsLog, read_metrics
from chemr.tracking.mirror import Mirror
from chemr.tracking.molecule_drawings import drawings
from chemr.tracking.sink import Record
from chemr.tracking.tensorboard_sink import TensorboardSink
from chemr.tracking.tracker import Tracker, spread
from tests.chemr.wandb_file import history, wandb_records


class Recorder:
    """A sink that remembers, and does what ``behave`` says first."""

    failures = (OSError,)

    def __init__(self, behave: Any = lambda: None) -> None:
        self.seen: list[str] = []
        self._behave = behave

    def __getattr__(self, name: str) -> Any:
        def method(*arguments: Any) -> None:
            if name not in ("finish", "abandon"):
                self._behave()
            self.seen.append(name)

        return method


@pytest.fixture
def tensorboard_is(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``tensorboard_is(sink)`` puts a sink in the place of TensorBoard's."""

    def replace(sink: Any) -> TrackingConfig:
        monkeypatch.setattr(tracker_module.TensorboardSink, "start", lambda *_: sink)
        return TrackingConfig(wandb=WandbMode.off, tensorboard=True, queue=50)

    return replace


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_sink_whose_disk_is_full_is_left_alone_after_one_warning(
    tmp_path: Path, tensorboard_is: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Recorder(full)
    with Tracker(tmp_path, tensorboard_is(sink), {}) as tracker:
        for step in range(20):
            tracker.log(step, {"train/loss": 1.0})
        assert tracker.flush(10.0)
        tracker.log(20, {"train/loss": 1.0})
    records = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert len(records) == 21, "records were lost with the sink"
    assert records[-1]["tracking/dropped/tensorboard"] == 20.0, "what the sink lacks is not counted"
    warnings = [record.getMessage() for record in caplog.records if "No space left" in record.getMessage()]
    assert len(warnings) == 1, f"a person is told {len(warnings)} times"
    assert sink.seen == ["abandon"], "a sink that failed is called again"


def test_a_sink_that_hangs_stops_nothing_and_what_it_lacks_is_counted(
    tmp_path: Path, tensorboard_is: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    monkeypatch.setattr(mirror_module.Mirror.finish, "__defaults__", (0.2,))
    with Tracker(tmp_path, tensorboard_is(Recorder(release.wait)), {}) as tracker:
        for step in range(200):
            tracker.log(step, {"train/loss": 1.0})
    release.set()
    records = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert len(records) == 200, "the run waited for the sink"
    assert records[-1]["tracking/dropped/tensorboard"] in (148.0, 149.0), "50 wait, one is in hand, the rest are dropped and counted"
    assert "did not end within" in caplog.text, "nobody is told that the sink was left behind"


@pytest.mark.parametrize(
    "error",
    [TypeError("a bug"), ImportError("libXrender.so.1: cannot open"), OSError(errno.ENOSPC, "full"), KeyError("x"), MemoryError("no room")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_sink_raises_is_counted_and_told_once_and_the_next_record_goes_on(
    tmp_path: Path, tensorboard_is: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    calls = itertools.count()

    def sometimes() -> None:
        if next(calls) in (3, 4, 30):
            raise error

    sink = Recorder(sometimes)
    with Tracker(tmp_path, tensorboard_is(sink), {}) as tracker:
        for step in range(40):
            tracker.log(step, {"train/loss": 1.0})
        assert tracker.flush(180.0)
        tracker.log(40, {"train/loss": 1.0})
    assert sink.seen == [*["record"] * 38, "finish"], "every other record reaches the sink, and it is finished in order"
    counts = [record.get("tracking/dropped/tensorboard", 0.0) for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert max(counts) == 3.0, "what it lacks is counted"
    told = [record.getMessage() for record in caplog.records if "next record goes on" in record.getMessage()]
    assert len(told) == 1 and "tensorboard" in told[0] and type(error).__name__ in told[0], told


def test_a_mistake_in_every_call_is_no_reason_to_leave_a_sink_without_an_end(tmp_path: Path, tensorboard_is: Any) -> None:
    def mistake() -> None:
        raise TypeError("a bug")

    sink = Recorder(mistake)
    with Tracker(tmp_path, tensorboard_is(sink), {}) as tracker:
        for step in range(40):
            tracker.log(step, {"train/loss": 1.0})
    assert sink.seen == ["finish"] and len(list(read_metrics(tmp_path / "metrics.jsonl"))) == 40


def test_a_sink_that_fails_at_its_start_or_end_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise AttributeError("no such thing")

    mirror = Mirror("broken", broken, 10)
    mirror.send(lambda sink: sink.record(None))  # type: ignore[arg-type]
    mirror.finish(0)
    assert mirror.dropped == 1 and "broken could not start: AttributeError" in caplog.text

    class NoEnd(Recorder):
        def finish(self, exit_code: int) -> None:
            raise ValueError("no end")

    sink = NoEnd()
    mirror = Mirror("endless", lambda: sink, 10)  # type: ignore[arg-type,return-value]
    mirror.finish(0)
    assert "endless did not end in order: ValueError" in caplog.text and sink.seen == ["abandon"]


def test_an_event_file_that_lost_a_record_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboardX.event_file_writer import EventsWriter

    def read_back() -> set[str]:
        return {path.name for path in (tmp_path / "tensorboard").iterdir()}

    sink = TensorboardSink.start(tmp_path, {})
    assert sink is not None
    before = read_back()
    with monkeypatch.context() as patch:
        patch.setattr(EventsWriter, "flush", lambda writer: full())
        with pytest.raises(OSError, match="No space"):
            sink.record(Record(1, 0.0, 0.0, {"train/loss": 1.0}))
    sink.record(Record(2, 0.0, 0.0, {"train/loss": 1.0}))
    sink.finish(0)
    assert len(read_back() - before) == 1, "the next record begins a file of its own: a torn one cannot be read any further"


def test_calls_reach_a_sink_in_their_order_and_it_is_finished_once() -> None:
    sink = Recorder()
    mirror = Mirror("sink", lambda: sink, 100)  # type: ignore[arg-type,return-value]
    for name in ("record", "alert", "summary"):
        mirror.send(lambda sink, name=name: getattr(sink, name)())
    mirror.finish(0)
    assert sink.seen == ["record", "alert", "summary", "finish"] and mirror.dropped == 0


def test_a_sink_that_cannot_start_drops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    mirror = Mirror("sink", lambda: None, 2)
    for _ in range(10):
        mirror.send(lambda sink: None)
    mirror.finish(0)
    assert mirror.dropped == 0 and "lacks" not in caplog.text


class SmallDisk:
    """The file of a MetricsLog on a disk with room for so many bytes."""

    closed = False

    def __init__(self, path: Path, room: int) -> None:
        self._file = path.open("ab", buffering=0)
        self.room = room

    def write(self, content: bytes | bytearray) -> int:
        if self.room == 0:
            full()
        taken = self._file.write(bytes(content[: self.room]))
        self.room -= taken
        return taken

    def close(self) -> None:
        self._file.close()


def test_records_wait_for_room_on_a_full_disk_and_none_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    disk = SmallDisk(log.path, 100)
    log._file = disk  # type: ignore[assignment]
    for step in range(1, 6):
        log.append(step, 0.0, 0.0, {"train/loss": 1.0})
    assert len(list(read_metrics(log.path))) < 5, "the disk was not full"
    assert caplog.text.count("disk is full") == 1, "a person is told once"
    disk.room = 1 << 20
    log.append(6, 0.0, 0.0, {"train/loss": 1.0})
    log.close()
    assert [record["step"] for record in read_metrics(log.path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EROFS])
def test_records_wait_for_storage_that_fails_and_none_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    working = log._file

    class Failing:
        closed = False

        def write(self, content: bytes | bytearray) -> int:
            raise OSError(number, os.strerror(number))

        def close(self) -> None:
            pass

    log._file = Failing()  # type: ignore[assignment]
    log.append(1, 0.0, 0.0, {"train/loss": 1.0})
    assert os.strerror(number) in caplog.text and "Training goes on" in caplog.text
    if number != errno.ESTALE:  # it opens the file anew by itself
        log._file = working
    log.append(2, 0.0, 0.0, {"train/loss": 1.0})
    log.close()
    assert [record["step"] for record in read_metrics(log.path)] == [1, 2]


def test_a_real_device_without_room_stops_nothing(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    for step in range(10):
        log.append(step, 0.0, 0.0, {"train/loss": 1.0})
    log.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB, where this process may mount one."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=128k") != 0:
        pytest.skip(f"mounting a tmpfs is not allowed here: {os.strerror(ctypes.get_errno())}")
    yield folder
    assert libc.umount2(str(folder).encode(), 2) == 0, "the tmpfs is still mounted"


def test_wandb_on_a_full_disk_leaves_the_run_unharmed(tmp_path: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "wandb").symlink_to(tiny_disk)
    monkeypatch.setattr(mirror_module.Mirror.finish, "__defaults__", (10.0,))
    with Tracker(tmp_path, TrackingConfig(wandb=WandbMode.offline), {}) as tracker:
        for step in range(300):
            tracker.log(step, {f"train/{name}": step / 3 + name for name in range(40)})
        assert tracker.flush(180.0), "W&B takes its time to start on a busy machine"
    assert os.statvfs(tiny_disk).f_bavail == 0, "the disk had room; nothing was tested"
    assert len(list(read_metrics(tmp_path / "metrics.jsonl"))) == 300


def test_a_server_that_cannot_be_reached_costs_the_run_nothing_and_it_is_recorded_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_sink, "START_TIMEOUT_S", 1.0)
    for name, value in {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with Tracker(tmp_path / "mine", TrackingConfig(), {}, {"wandb_run_id": "continued"}) as tracker:
        for step in range(20):
            tracker.log(step, {"train/loss": float(step)})
        assert "could not start" not in caplog.text, "the run waited for the server"
    assert "could not start online" in caplog.text, "nobody is told why the run is offline"
    (file,) = tmp_path.glob("mine/wandb/offline-run-*-continued/*.wandb")
    assert [row["train/loss"] for row in history(wandb_records(file))] == list(range(20)), "what was logged while it tried is lost"


def test_samples_are_chosen_evenly() -> None:
    assert spread(range(10), 5) == [0, 2, 4, 6, 8] and spread(range(3), 5) == [0, 1, 2] and spread(range(3), 0) == []


def test_a_second_process_does_not_get_the_samples_of_the_first_again(tmp_path: Path, tensorboard_is: Any) -> None:
    config = tensorboard_is(Recorder())
    config.samples_per_run, config.samples_per_step = 5, 4
    state: dict[str, Any] = {}
    told = []
    for _ in range(3):
        with Tracker(tmp_path, config, {}, state) as tracker:
            tracker.samples(1, [{"sample": index} for index in range(8)])
            state = tracker.state()
            told.append(state["samples"])
    assert told == [4, 5, 5], "tracking.samples_per_run bounds the run, not the process"


def test_nothing_is_left_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setattr(tracker_module.WandbSink, "start", lambda *_: Recorder())
    with Tracker(tmp_path, TrackingConfig(wandb=WandbMode.offline), {}):
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path.resolve() / "wandb" / "data")
    assert "WANDB_DATA_DIR" not in os.environ


def test_what_a_model_wrote_is_drawn_in_a_process_that_may_be_killed(caplog: pytest.LogCaptureFixture) -> None:
    texts = ["CCO", "c1ccccc1", "no molecule", "C" * 500, "C1CC"]
    found = drawings(texts)
    assert set(found) == {"CCO", "c1ccccc1"} and all(png.startswith(b"\x89PNG") for png in found.values())
    assert drawings(["CCO"], deadline_s=0.01) == {} and "could not be drawn" in caplog.text, "a child that hangs is waited for"
    assert drawings([]) == {}
