"""Reads a ``.wandb`` file without wandb's own reader: a log as LevelDB writes it, of protobuf records."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32_768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def payloads(content: bytes) -> Iterator[bytes]:
    """The records of the log, each checked against its checksum."""
    assert content[:4] == b":W&B" and struct.unpack("<HB", content[4:7]) == (0xBEE1, 0), f"not a .wandb file: {content[:7]!r}"
    place, parts = 7, []
    while place < len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            assert not any(content[place : place + left]), "the rest of a block is not padded with zeros"
            place += left
            continue
        checksum, length, kind = struct.unpack("<IHB", content[place : place + 7])
        data = content[place + 7 : place + 7 + length]
        assert zlib.crc32(content[place + 6 : place + 7 + length]) == checksum, f"damaged at byte {place}"
        assert (kind in (FULL, FIRST)) == (not parts), f"piece of kind {kind} at byte {place} belongs to nothing"
        parts.append(data)
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []
        place += 7 + length
    assert not parts, "the last record has no end"


def wandb_records(path: Path) -> list[Any]:
    """The protobuf messages (``wandb_internal.Record``) of a file."""
    from wandb.proto.wandb_internal_pb2 import Record

    return [Record.FromString(payload) for payload in payloads(path.read_bytes())]


def history(records: list[Any]) -> list[dict[str, Any]]:
    """What ``run.log`` was given, row for row; nested keys joined with a slash where they are paths."""
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows
