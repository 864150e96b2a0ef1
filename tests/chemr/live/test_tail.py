"""Following a file that is being written: every record once, none before it is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chemr.live.tail import CHUNK_BYTES, LinesTail, is_metrics
from chemr.run_notes import is_note
from chemr.tracking.metrics_log import MetricsLog


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def steps(tail: LinesTail) -> list[int]:
    return [record["step"] for record in tail.read()]


def test_nothing_is_read_of_a_file_that_is_not_there_yet(file: Path) -> None:
    tail = LinesTail(file, is_metrics)
    assert steps(tail) == []
    file.write_text('{"step": 1}\n', encoding="utf-8")
    assert steps(tail) == [1] and steps(tail) == []


def test_a_half_written_line_waits_until_it_is_whole(file: Path) -> None:
    line = json.dumps({"step": 2, "name": "é" * 40}, ensure_ascii=False).encode() + b"\n"
    tail = LinesTail(file, is_metrics)
    file.write_bytes(b'{"step": 1}\n')
    assert steps(tail) == [1]
    for end in range(1, len(line)):
        file.write_bytes(b'{"step": 1}\n' + line[:end])
        assert steps(tail) == [], f"{end} bytes of a record were taken for a record"
    file.write_bytes(b'{"step": 1}\n' + line)
    assert steps(tail) == [2] and tail.damaged == 0 and tail.generation == 0


def test_no_byte_is_read_twice(file: Path) -> None:
    file.write_bytes(b"".join(b'{"step": %d}\n' % step for step in range(1, 5001)))
    tail = LinesTail(file, is_metrics)
    assert len(steps(tail)) == 5000
    # The old records are overwritten in place: if they were read again, it would be seen.
    with file.open("r+b") as opened:
        opened.write(b"#" * 1000)
    with file.open("ab") as opened:
        opened.write(b'{"step": 5001}\n')
    assert steps(tail) == [5001] and tail.damaged == 0


def test_a_line_longer_than_a_piece_is_one_record(file: Path) -> None:
    file.write_text(json.dumps({"step": 1, "text": "x" * (2 * CHUNK_BYTES)}) + '\n{"step": 2}\n', encoding="utf-8")
    assert steps(LinesTail(file, is_metrics)) == [1, 2]


def test_a_run_that_goes_back_to_a_checkpoint_is_read_from_the_beginning(file: Path) -> None:
    log = MetricsLog(file)
    for step in range(1, 11):
        log.append(step, 0.0, 0.0, {"x": 1.0})
    tail = LinesTail(file, is_metrics)
    assert len(steps(tail)) == 10
    log.rewind(4)
    log.append(5, 0.0, 0.0, {"x": 2.0})
    assert steps(tail) == [1, 2, 3, 4, 5] and tail.generation == 1
    log.append(6, 0.0, 0.0, {"x": 2.0})
    log.close()
    assert steps(tail) == [6] and tail.generation == 1


def test_lines_that_are_no_records_are_counted_and_left_out(file: Path) -> None:
    file.write_bytes(b'{"step": 1}\nnot json\n[1]\n{"step": "x"}\n\xff\xfe\n\n{"step": 2}\n')
    tail = LinesTail(file, is_metrics)
    assert steps(tail) == [1, 2] and tail.damaged == 4


def test_notes_are_followed_the_same_way(file: Path) -> None:
    tail = LinesTail(file, is_note)
    file.write_text('{"time": 1.5, "kind": "note", "text": "a"}\n{"text": "no time"}\n', encoding="utf-8")
    assert [note["text"] for note in tail.read()] == ["a"] and tail.damaged == 1
