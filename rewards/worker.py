"""The loop of a scoring worker: jobs in, replies out, until the socket closes or it is time to make place for a fresh process."""

from __future__ import annotations

import json
import mmap
import resource
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rewards.errors import BadReferenceError
from rewards.scoring import score_answer
from rewards.verdict import Reason, Verdict

MAX_MESSAGE_BYTES = 128 * 1024
"""Of one datagram of jobs or replies. Above the socket's own limit (``net.core.wmem_default``, 208 kB) a datagram would be refused."""

PROGRESS_BYTES = 16
"""Shared with the pool: the number of jobs begun and, in nanoseconds of CLOCK_MONOTONIC, when the last one was; two native words."""

HEADROOM_BYTES = 64 << 20

FLUSH_S = 0.02  # verdicts wait at most about this long for those of their neighbours
FLUSH_BYTES = 32 * 1024

_MAX_NOTE_CHARS = 2_000

_encode = json.JSONEncoder(separators=(",", ":")).encode
_encode_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """``memory_bytes`` of address space; a worker is replaced after ``recycle_jobs`` or when its peak RSS passes ``recycle_rss_bytes``."""

    memory_bytes: int
    recycle_rss_bytes: int
    recycle_jobs: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One worker's verdict. ``note`` explains a failure to people; ``leaving`` says that the worker ends after this reply."""

    verdict: Verdict
    note: str = ""
    leaving: bool = False

    def encode(self) -> bytes:
        v = self.verdict
        return _encode([v.value, v.reason, v.parts, v.seconds, self.note, self.leaving]).encode()

    @classmethod
    def decode(cls, message: str) -> Reply:
        value, reason, parts, seconds, note, leaving = json.loads(message)
        return cls(Verdict(value, Reason(reason), parts, seconds), note, leaving)


def encode_row(inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """A row's part of its jobs. Raises TypeError if it holds something that is not JSON."""
    return _encode_sorted([dict(inputs), dict(reference)])


def encode_job(task: str, answer: str, row: str) -> bytes:
    """A job as one line of ASCII: its own JSON, a tab, the JSON of its row (:func:`encode_row`). Equal jobs have equal encodings.

    JSON escapes control characters, so tab and line break separate, and lone surrogates travel too.
    """
    return f"{_encode([task, answer])}\t{row}".encode()


def decode_job(line: str) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Task, answer, inputs and reference of :func:`encode_job`."""
    job, _, row = line.partition("\t")
    return (*json.loads(job), *_decode_row(row))


@lru_cache(maxsize=2)
def _decode_row(row: str) -> list[dict[str, Any]]:
    """Remembered, because the samples of a group come one after the other and share their row."""
    return json.loads(row)


def serve_jobs(connection: socket.socket, progress: mmap.mmap, limits: WorkerLimits) -> None:
    """Answers datagrams of jobs, one per line, in order. Several verdicts share a datagram unless that would keep them waiting.

    Returns when the other end closes, after a MemoryError, or when a recycling limit is reached.
    """
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bytearray(HEADROOM_BYTES)  # mapped and given back: a limit without room to work in ends the worker here, before it has a job
    begun, began_ns = memoryview(progress).cast("q")[:1], memoryview(progress).cast("q")[1:2]
    served = 0
    while message := connection.recv(MAX_MESSAGE_BYTES):
        replies: list[bytes] = []
        size, flushed = 0, time.monotonic()
        for line in message.decode().split("\n"):
            began_ns[0] = time.monotonic_ns()  # before the count: whoever sees the count sees at least this time
            served += 1
            begun[0] = served
            verdict, note = _score_line(line)
            peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            leaving = served >= limits.recycle_jobs or peak_rss > limits.recycle_rss_bytes or verdict.reason is Reason.MEMORY
            reply = Reply(verdict, note, leaving).encode()
            replies.append(reply)
            size += len(reply)
            if leaving:
                connection.send(b"\n".join(replies))
                return
            if size > FLUSH_BYTES or time.monotonic() - flushed > FLUSH_S:
                connection.send(b"\n".join(replies))
                replies, size, flushed = [], 0, time.monotonic()
        if replies:
            connection.send(b"\n".join(replies))


def _score_line(line: str) -> tuple[Verdict, str]:
    """The verdict and, for a failure, what to tell people. Raises nothing but what ends the process."""
    started = time.perf_counter()
    try:
        found = score_answer(*decode_job(line))
        value = None if found.value is None else float(found.value)  # a plugin's NumPy scalars would not survive the way back
        parts = {str(name): float(part) for name, part in found.parts.items()}
        return Verdict(value, found.reason, parts, time.perf_counter() - started), ""
    except BadReferenceError as error:
        reason, note = Reason.BAD_REFERENCE, str(error)
    except MemoryError:
        reason, note = Reason.MEMORY, ""
    # The border of the sandbox: whatever a scorer raises is a bug of ours, which is reported and counted, and never becomes a zero.
    except Exception:  # noqa: BLE001
        reason, note = Reason.SCORER_BUG, traceback.format_exc()
    return Verdict(None, reason, seconds=time.perf_counter() - started), note[-_MAX_NOTE_CHARS:]
