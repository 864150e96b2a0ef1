"""Where a run's control service listens, and how its clients find it: ``control.json`` in the run's folder."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

NOTE = "control.json"
LONGEST_SOCKET_PATH = 107  # of a Unix socket on Linux


@dataclass(frozen=True, slots=True)
class ControlNote:
    """Address and token of a live run's control service. Readable by its owner only.

    Attributes:
        address: ``host:port`` or ``unix:PATH``.
        token: the bearer token; None when it is in the environment variable ``token_env``, or when a client certificate takes its place.
        tls: whether the service speaks TLS.
        host, pid, started: the driver: its machine, process, and the process's start in clock ticks since the machine's.
    """

    address: str
    token: str | None
    token_env: str | None
    tls: bool
    host: str
    pid: int
    started: int

    @classmethod
    def of_this_process(cls, address: str, token: str | None, token_env: str | None, tls: bool) -> ControlNote:
        return cls(address, token, token_env, tls, socket.gethostname(), os.getpid(), _started(os.getpid()) or 0)

    def write(self, run_dir: Path) -> None:
        """Atomically, and never readable by others. Raises OSError."""
        aside = run_dir / f"{NOTE}.tmp"
        aside.unlink(missing_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        aside.replace(run_dir / NOTE)

    @classmethod
    def read(cls, run_dir: Path) -> ControlNote | None:
        """None when there is none: the run has ended in order, or its control service is off. Raises OSError, ValueError."""
        path = run_dir / NOTE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except TypeError as error:
            raise ValueError(f"{path} was written by another version of chemr: {error}") from error

    def driver_alive(self) -> bool | None:
        """Whether the driver runs; None when it is on another machine and cannot be seen from here."""
        if self.host != socket.gethostname():
            return None
        return _started(self.pid) == self.started


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did (no change of the wall clock matters); None when there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] == "Z" else int(after_name[19])


def check_address(address: str) -> None:
    """Raises ValueError saying what an address looks like."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > LONGEST_SOCKET_PATH:
            raise ValueError(f"{address!r}: a Unix socket needs an absolute path of at most {LONGEST_SOCKET_PATH} bytes")
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is neither HOST:PORT (port 0 takes a free one) nor unix:/PATH")


def is_local(address: str) -> bool:
    """Whether only this machine can reach it."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
