"""Runs jobs on untrusted text in a child process that is killed when a job hangs, crashes or eats memory.

RDKit cannot be interrupted from within its process (REWARDS §5). The published evaluations call it without any guard, and a guard would
change figures, so here the only limits are a deadline and an address space, both far beyond what an honest prediction needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rewards.benchmark.errors import BenchmarkChildError
from rewards.confinement import child_environment

START_TIMEOUT_S = 120.0
PATIENT_TIMEOUTS = 8
SHORT_DEADLINE_S = 2.0  # after so many time-outs the file is hostile; no honest prediction takes a tenth of this


@dataclass(frozen=True, slots=True)
class JobFailure:
    """A job without a result. ``reason`` is ``timeout``, ``crash``, ``memory`` or ``error``; ``note`` explains it to people."""

    reason: str
    note: str


class Child:
    """One evaluating process, started when first needed and again after every kill. Not thread-safe; use it as a context manager."""

    def __init__(self, deadline_s: float, memory_bytes: int) -> None:
        """``deadline_s``: wall seconds of one job; ``memory_bytes``: address space of the child (0: no limit)."""
        self._deadline_s = deadline_s
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._timeouts = 0
        self._prepared: list[tuple[str, Mapping[str, Any]]] = []

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def prepare(self, job: str, argument: Mapping[str, Any]) -> None:
        """Runs ``job`` in every process before anything else, outside all deadlines: imports and tables take long on a busy machine.

        Raises:
            BenchmarkChildError: it fails, so nothing that follows could work.
        """
        self._prepared.append((job, argument))
        if self._process is not None:
            self._run_prepared(self._process, job, argument)

    def run(self, job: str, argument: Mapping[str, Any], deadline_s: float | None = None) -> Any | JobFailure:
        """The JSON result of one job, or why there is none.

        Args:
            job: ``module.function`` of a ``*_jobs`` module of this package.
            argument: its keyword arguments, JSON.
            deadline_s: instead of the child's own deadline.

        Raises:
            BenchmarkChildError: the child cannot be started.
        """
        if deadline_s is None:
            deadline_s = self._deadline_s if self._timeouts < PATIENT_TIMEOUTS else min(SHORT_DEADLINE_S, self._deadline_s)
        process = self._process or self._start()
        deadline = time.monotonic() + deadline_s
        message = json.dumps([job, dict(argument)]).encode() + b"\n"
        reply = self._exchange(process, message, deadline)
        if reply is None:
            self._timeouts += 1
            self.close()
            return JobFailure("timeout", f"no result within {deadline_s:g} s")
        if not reply:
            code = self.close()
            return JobFailure("crash", f"the process ended (exit status {code})")
        status, value = json.loads(reply)
        return value if status == "ok" else JobFailure(status, value)

    def close(self) -> int | None:
        """Kills the child and what it started; returns its exit status. May be called again."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "rewards.benchmark.child_main", str(self._memory_bytes), str(os.getpid())]
        # A session of its own: killing the group also ends the loader processes that `fcd` forks.
        process = subprocess.Popen(
            command, env=child_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
        )
        self._process = process
        ready = self._exchange(process, b"", time.monotonic() + START_TIMEOUT_S)
        if not ready:
            code = self.close()
            raise BenchmarkChildError(
                f"`{' '.join(command[:3])}` did not start (exit status {code}); its own message is on stderr. "
                "Check that RDKit can be imported by this interpreter."
            )
        for job, argument in self._prepared:
            self._run_prepared(process, job, argument)
        return process

    def _run_prepared(self, process: subprocess.Popen[bytes], job: str, argument: Mapping[str, Any]) -> None:
        message = json.dumps([job, dict(argument)]).encode() + b"\n"
        reply = self._exchange(process, message, time.monotonic() + START_TIMEOUT_S)
        status, value = json.loads(reply) if reply else ("error", "no answer" if reply is None else "the process ended")
        if status != "ok":
            self.close()
            raise BenchmarkChildError(f"the evaluating process cannot run {job}: {value}")

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], message: bytes, deadline: float) -> bytes | None:
        """Sends ``message`` and reads one line. ``None``: the deadline passed; ``b""``: the child is gone.

        Both directions are served in turn: a child that writes to a full pipe while we write to one would wait for ever otherwise.
        """
        assert process.stdin is not None
        assert process.stdout is not None
        inlet, outlet = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(inlet, False)
        received = bytearray()
        waiting = select.poll()
        waiting.register(outlet, select.POLLIN)
        if message:
            waiting.register(inlet, select.POLLOUT)
        unsent = memoryview(message)
        while not received.endswith(b"\n"):
            events = waiting.poll(max(0.0, deadline - time.monotonic()) * 1000.0)
            if not events:
                return None
            for descriptor, _ in events:
                if descriptor == outlet:
                    piece = os.read(outlet, 1 << 20)
                    if not piece:
                        return b""
                    received += piece
                else:
                    try:
                        unsent = unsent[os.write(inlet, unsent) :]
                    except BrokenPipeError:
                        return b""
                    if not unsent:
                        waiting.unregister(inlet)
        return bytes(received)
