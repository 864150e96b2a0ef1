"""Everything a teacher ever answered, so that nothing is paid for twice.

One JSON object a line, appended and synced before anybody uses it: key, model, conversation, sampling, sample, reply. A process that is
killed leaves at most half a last line, which was never used; it is cut off at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from chemr.mining.errors import MiningInputError
from chemr.mining.teacher import ChatReply, ChatRequest


@dataclass(slots=True)
class Usage:
    """Answers and tokens, as the servers counted them."""

    responses: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, reply: ChatReply) -> None:
        self.responses += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens

    def cost(self, price_in: float | None, price_out: float | None) -> float | None:
        """At prices per million tokens; None without prices."""
        if price_in is None or price_out is None:
            return None
        return (self.prompt_tokens * price_in + self.completion_tokens * price_out) / 1e6


class ResponseStore:
    """The store of one folder. Holding it open holds its lock: one process writes at a time.

    Args:
        path: the file; created when missing.
        clock: seconds since 1970, for the time in a record.

    Raises:
        MiningInputError: another process has it open, or a line in it (not the last) is broken.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._places: dict[str, tuple[int, int]] = {}  # key -> where its line is: texts stay on disk
        self.usage: dict[str, Usage] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise MiningInputError(f"{path} is in use by another process; wait for it to end, or give this one another folder") from None
        try:
            self._index()
        except BaseException:
            self._file.close()
            raise

    def _index(self) -> None:
        self._file.seek(0)
        start = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):  # its writer was killed
                if not _is_record(line):
                    self._file.truncate(start)
                    break
                self._file.write(b"\n")  # only the line break is missing: what was paid for is kept
                self._file.flush()
                line += b"\n"
            try:
                record = json.loads(line)
                key, reply = record["key"], ChatReply(**record["reply"])
            except (ValueError, KeyError, TypeError) as error:
                raise MiningInputError(
                    f"{self.path}, line {number}: is not a stored response ({type(error).__name__}: {error}); restore the file, or remove "
                    "that line, whose request will then be asked (and paid) again"
                ) from None
            self._note(key, record["model"], reply, start, len(line))
            start += len(line)
        self._file.seek(0, os.SEEK_END)

    def _note(self, key: str, model: str, reply: ChatReply, start: int, size: int) -> None:
        if key not in self._places:
            self._places[key] = (start, size)
        self.usage.setdefault(model, Usage()).add(reply)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def reply(self, key: str) -> ChatReply:
        """The stored reply. Raises KeyError when there is none."""
        return ChatReply(**self.record(key)["reply"])

    def record(self, key: str) -> dict[str, Any]:
        """All that is stored under ``key``. Raises KeyError when there is nothing."""
        start, size = self._places[key]
        found: dict[str, Any] = json.loads(os.pread(self._file.fileno(), size, start))
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        for key in self._places:
            yield self.record(key)

    def add(self, model: str, request: ChatRequest, reply: ChatReply, seconds: float) -> str:
        """Append one response, on disk when this returns; returns its key.

        Raises:
            ValueError: there is one already: a response was asked for twice, which is a bug of the caller.
        """
        key = request.key(model)
        if key in self._places:
            raise ValueError(f"response {key} is stored already; a request must not be made twice")
        record = {
            "key": key,
            "time": round(self._clock(), 3),
            "seconds": round(seconds, 3),
            "model": model,
            "purpose": request.purpose,
            "uid": request.example.uid,
            "task": request.example.task,
            "messages": [dict(message) for message in request.messages],
            "sampling": asdict(request.sampling),
            "sample": request.sample,
            "reply": asdict(reply),
        }
        line = json.dumps(record, ensure_ascii=False, sort_keys=True).encode("utf-8", errors="replace") + b"\n"
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:  # a full disk: half a line would spoil the next one
            self._file = self._reopened(start)
            raise
        self._note(key, model, reply, start, len(line))
        return key

    def _reopened(self, size: int) -> IO[bytes]:
        """The file cut back to ``size`` bytes, without what the failed write left in the buffer."""
        descriptor = os.dup(self._file.fileno())  # shares the lock
        with contextlib.suppress(OSError):  # closing tries to write the buffer once more
            self._file.close()
        os.ftruncate(descriptor, size)
        return os.fdopen(descriptor, "a+b")

    def total(self) -> Usage:
        """Over all models."""
        total = Usage()
        for usage in self.usage.values():
            total.responses += usage.responses
            total.prompt_tokens += usage.prompt_tokens
            total.completion_tokens += usage.completion_tokens
        return total

    def close(self) -> None:
        self._file.close()


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
