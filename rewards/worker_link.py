"""The pool's end of one worker: sends jobs several at a time, keeps who is waiting for what, and knows which job to blame.

A worker answers in the order of its jobs. Two words of memory that it shares with the pool say how many jobs it has begun and when it
began the last one, so that a death or a hang is charged to one job even though others wait behind it in the same datagram.
"""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rewards.verdict import Verdict
from rewards.worker import MAX_MESSAGE_BYTES, PROGRESS_BYTES, Reply

MAX_CHUNK_JOBS = 16
MAX_CHUNKS = 2  # one being scored, one waiting in the socket, so that the worker never waits for the pool


@dataclass(slots=True, eq=False)
class Pending:
    """One distinct answer of a batch and the places in the batch that wait for its verdict."""

    key: bytes
    message: bytes
    task: str
    places: list[int]
    tries: int = 0
    queued: bool = True  # in the batch's queue; a job handed to a second worker is in flight and queued
    verdict: Verdict | None = None


@dataclass(slots=True, eq=False)
class WorkerLink:
    """A worker of the pool. Use :meth:`connect`."""

    pid: int
    connection: socket.socket
    memory: mmap.mmap
    jobs: deque[Pending] = field(default_factory=deque)  # sent and not answered, in order
    answered: int = 0
    chunk_sizes: deque[int] = field(default_factory=deque)  # jobs of each chunk that are not answered
    last_sign: float = 0.0  # time.monotonic() of the last sending to an idle worker, or of its last reply

    @classmethod
    def connect(cls, pid: int, connection: socket.socket, progress_fd: int) -> WorkerLink:
        """Takes over both descriptors."""
        try:
            memory = mmap.mmap(progress_fd, PROGRESS_BYTES, prot=mmap.PROT_READ)
        finally:
            os.close(progress_fd)
        return cls(pid, connection, memory)

    @property
    def fresh(self) -> bool:
        """Whether it has not been sent a job yet."""
        return not self.answered and not self.jobs

    @property
    def is_needed(self) -> bool:
        """Whether it has a job that nobody has answered."""
        return any(item.verdict is None for item in self.jobs)

    @property
    def has_room(self) -> bool:
        return len(self.chunk_sizes) < MAX_CHUNKS

    def send(self, chunk: Sequence[Pending]) -> None:
        """Sends jobs. Raises BlockingIOError when its socket is full, another OSError when it is gone; nothing is sent then."""
        self.connection.send(b"\n".join(item.message for item in chunk), socket.MSG_DONTWAIT)
        if not self.jobs:
            self.last_sign = time.monotonic()
        self.jobs.extend(chunk)
        self.chunk_sizes.append(len(chunk))

    def receive(self) -> list[tuple[Pending, Reply]]:
        """The replies of one datagram with the jobs that they answer; empty when the worker has ended."""
        try:
            message = self.connection.recv(MAX_MESSAGE_BYTES)
        except ConnectionResetError:  # it ended with jobs unread: the kernel says so once, before it hands out what was said before
            message = self.connection.recv(MAX_MESSAGE_BYTES)
        self.last_sign = time.monotonic()
        answers = [(self.jobs.popleft(), Reply.decode(line)) for line in message.decode().split("\n")] if message else []
        self.answered += len(answers)
        for _ in answers:
            self.chunk_sizes[0] -= 1
            if not self.chunk_sizes[0]:
                self.chunk_sizes.popleft()
        return answers

    def begun(self) -> int:
        """How many of the unanswered jobs the worker has begun: all but the last of them are done."""
        return max(0, int.from_bytes(self.memory[:8], "little") - self.answered)

    def busy_since(self) -> float:
        """When (time.monotonic) the job began that it is at; when it last gave a sign if it has not begun the next one."""
        if not self.begun():
            return self.last_sign
        return int.from_bytes(self.memory[8:16], "little") / 1e9

    def take_jobs(self) -> tuple[Pending | None, list[Pending]]:
        """Empties it: the job to blame for its death, and the others. A worker that died between two jobs is charged to the next one."""
        jobs = list(self.jobs)
        guilty = min(max(self.begun() - 1, 0), len(jobs) - 1)
        self.jobs.clear()
        self.chunk_sizes.clear()
        if not jobs:
            return None, []
        return jobs[guilty], jobs[:guilty] + jobs[guilty + 1 :]

    def close(self) -> None:
        self.connection.close()
        self.memory.close()
