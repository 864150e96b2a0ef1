"""The loop of a scoring worker: one job in, one reply out, until the socket closes or it is time to make place for a fresh process."""

from __future__ import annotations

import json
import resource
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewards.errors import BadReferenceError
from rewards.scoring import score_answer
from rewards.verdict import Reason, Verdict

MAX_MESSAGE_BYTES = 128 * 1024
"""Of one job or one reply. Above the socket's own limit (``net.core.wmem_default``, 208 kB) a datagram would be refused."""

_MAX_NOTE_CHARS = 2_000


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
        return json.dumps([v.value, v.reason, dict(v.parts), v.seconds, self.note, self.leaving]).encode()

    @classmethod
    def decode(cls, message: bytes) -> Reply:
        value, reason, parts, seconds, note, leaving = json.loads(message)
        return cls(Verdict(value, Reason(reason), parts, seconds), note, leaving)


def encode_job(task: str, answer: str, inputs: Mapping[str, Any], reference: Mapping[str, Any]) -> bytes:
    """A job as ASCII JSON, which also carries lone surrogates. Equal jobs have equal encodings.

    Raises:
        TypeError: inputs or reference hold something that is not JSON.
    """
    return json.dumps([task, answer, dict(inputs), dict(reference)], sort_keys=True, separators=(",", ":")).encode()


def serve_jobs(connection: socket.socket, limits: WorkerLimits) -> None:
    """Answers jobs one by one. Returns when the other end closes, after a MemoryError, or when a recycling limit is reached."""
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for served in range(1, limits.recycle_jobs + 1):
        message = connection.recv(MAX_MESSAGE_BYTES)
        if not message:
            return
        verdict, note = _score(message)
        peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        leaving = served == limits.recycle_jobs or peak_rss > limits.recycle_rss_bytes or verdict.reason is Reason.MEMORY
        connection.send(Reply(verdict, note, leaving).encode())
        if leaving:
            return


def _score(message: bytes) -> tuple[Verdict, str]:
    started = time.perf_counter()
    try:
        task, answer, inputs, reference = json.loads(message)
        found = score_answer(task, answer, inputs, reference)
        value = None if found.value is None else float(found.value)  # a plugin's NumPy scalars would not survive the way back
        verdict = Verdict(value, found.reason, {str(name): float(part) for name, part in found.parts.items()})
    except BadReferenceError as error:
        verdict, note = Verdict(None, Reason.BAD_REFERENCE), str(error)
    except MemoryError:
        verdict, note = Verdict(None, Reason.MEMORY), ""
    # The border of the sandbox: whatever a scorer raises is a bug of ours, which is reported and counted, and never becomes a zero.
    except Exception:  # noqa: BLE001
        verdict, note = Verdict(None, Reason.SCORER_BUG), traceback.format_exc()
    else:
        note = ""
    seconds = time.perf_counter() - started
    return Verdict(verdict.value, verdict.reason, verdict.parts, seconds), note[-_MAX_NOTE_CHARS:]
