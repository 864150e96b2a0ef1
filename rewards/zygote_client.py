"""The parent's side of the zygote: starts it, asks it for workers, has workers ended, notices that it is gone."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from rewards.confinement import PluginAccess, child_environment
from rewards.errors import ScorerPoolError
from rewards.worker import WorkerLimits

START_TIMEOUT_S = 120.0  # an import of RDKit from a cold network disk on a busy machine
REQUEST_TIMEOUT_S = 20.0


class ZygoteLostError(Exception):
    """The zygote died or stopped answering; all its workers are gone too. The pool starts a new one."""


class Zygote:
    """A running ``python -m rewards.zygote``. Not thread-safe; the pool serialises its calls."""

    def __init__(self, limits: WorkerLimits, plugins: Sequence[str], access: PluginAccess) -> None:
        """Starts the process and waits until everything is imported. Raises ScorerPoolError if it ends or is silent before that."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "rewards.zygote", "--control-fd", str(theirs.fileno()), "--parent-pid", str(os.getpid())]
        command += ["--memory-bytes", str(limits.memory_bytes), "--recycle-rss-bytes", str(limits.recycle_rss_bytes)]
        command += ["--recycle-jobs", str(limits.recycle_jobs), *(f"--plugin={name}" for name in plugins)]
        command += ["--network"] if access.network else []
        with theirs:
            self._process = subprocess.Popen(
                command,
                env=child_environment(access.environment),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._unanswered = True
        try:
            facts = json.loads(self._receive(START_TIMEOUT_S, what="start")[0])
            self.tasks: tuple[str, ...] = tuple(facts.pop("tasks"))
            self.chemistry: dict[str, Any] = facts  # RDKit's version and settings over there
        except ZygoteLostError as error:
            code = self.close()
            raise ScorerPoolError(
                f"the scoring process `{' '.join(command[:3])}` did not start ({error}; exit code {code}); its own message is on stderr. "
                "Check that RDKit can be imported by this interpreter and that all plugins exist."
            ) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def spawn(self) -> tuple[int, socket.socket, int]:
        """A fresh worker: its pid, a connection that accepts jobs at once, a descriptor of its progress. Raises ZygoteLostError."""
        message, descriptors = self._request(b"spawn")
        return int(message), socket.socket(fileno=descriptors[0]), descriptors[1]

    def start_reader(self, jar: str) -> tuple[int, socket.socket]:
        """A fresh JVM with OPSIN: its pid and a stream of lines, which are answered once it is up. Raises ZygoteLostError."""
        message, descriptors = self._request(f"reader {jar}".encode())
        return int(message), socket.socket(fileno=descriptors[0])

    def end(self, pid: int) -> int:
        """Kills a worker (a dead one is fine) and returns its wait status. Raises ZygoteLostError."""
        return int(self._request(f"end {pid}".encode())[0])

    def close(self) -> int | None:
        """Ends the zygote and all of its workers; waits for it. Returns its exit code. May be called again."""
        self._control.close()
        try:
            return self._process.wait(timeout=REQUEST_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Ends it without asking: for a zygote that is lost. Its workers die with it."""
        self._process.kill()
        self.close()

    def _request(self, message: bytes) -> tuple[bytes, list[int]]:
        if self._unanswered:  # a time-out or an interrupt (Ctrl-C) came between an earlier request and its reply
            raise ZygoteLostError("an earlier request is still unanswered, so replies can no longer be told apart")
        self._unanswered = True
        try:
            self._control.send(message)
        except OSError as error:
            raise ZygoteLostError(f"it cannot be reached: {error}") from error
        return self._receive(REQUEST_TIMEOUT_S, what=message.decode())

    def _receive(self, timeout_s: float, what: str) -> tuple[bytes, list[int]]:
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        if not waiting.poll(timeout_s * 1000.0):
            raise ZygoteLostError(f"it did not answer within {timeout_s:g} s ({what})")
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 64 * 1024, 2)
        except ConnectionResetError:
            message, descriptors = b"", []
        if not message:
            raise ZygoteLostError("it closed its control socket")
        self._unanswered = False
        return message, descriptors
