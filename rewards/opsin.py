"""OPSIN, the name reader (Lowe et al., J. Chem. Inf. Model. 51, 739, 2011), as one JVM that reads a line and answers with a line.

The JVM is a child of the scoring zygote, so it is killed like a worker and dies with it. One name is in it at a time: it gets the next one
only after the line for the last one came back, and it is replaced when that takes too long. A line break in a name therefore cannot
shift the answers of its neighbours (REWARDS T10); names with control characters do not get here at all (:mod:`rewards.iupac_name`).

The jar is that of the PyPI package ``py2opsin``; that package itself is never imported, for it starts a JVM for every call.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rewards.verdict import Reason

START_TIMEOUT_S = 60.0  # a JVM on a busy machine
_MAX_LINE_BYTES = 64 * 1024


class OpsinMode(StrEnum):
    """``auto`` uses OPSIN where it is installed, ``always`` insists on it, ``never`` judges names as strings only."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class OpsinInstallation:
    """``jar`` is None when names cannot be read; ``description`` says why, else the version. It belongs in a run's manifest."""

    jar: str | None
    description: str


class ReaderLostError(Exception):
    """The JVM died, was silent for too long or sent something that is not one line. It has to be replaced.

    ``reason``: whose fault it may be. None: the name is to blame and has no reading (its SMILES is longer than a line may be).
    """

    def __init__(self, message: str, reason: Reason | None = Reason.CRASH) -> None:
        super().__init__(message)
        self.reason = reason


def find_opsin(mode: OpsinMode) -> OpsinInstallation:
    """Looks for the jar and a Java runtime; starts nothing."""
    if mode is OpsinMode.NEVER:
        return OpsinInstallation(None, "off")
    package = importlib.util.find_spec("py2opsin")  # finds it without importing it
    folders = [] if package is None else [Path(folder) for folder in package.submodule_search_locations or ()]
    jars = sorted(jar for folder in folders for jar in folder.glob("opsin-cli-*.jar"))
    if not jars:
        return OpsinInstallation(None, "unavailable: no opsin-cli jar; `pip install py2opsin` brings one")
    if shutil.which("java") is None:
        return OpsinInstallation(None, "unavailable: no Java runtime on PATH; `apt-get install default-jre-headless` brings one")
    return OpsinInstallation(str(jars[-1]), jars[-1].name.removeprefix("opsin-cli-").partition("-")[0])


def java_command(jar: str) -> list[str]:
    """OPSIN from names to SMILES on standard input and output, in 256 MiB of heap."""
    options = "-Xmx256m -Xss8m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -Xshare:auto -Dfile.encoding=UTF-8"
    return ["java", *options.split(), "-jar", jar, "-osmi"]


class NameReader:
    """The pool's end of a JVM: one name under way at a time. Not thread-safe."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        """The JVM is asked for methane first; it reads names when :attr:`ready`."""
        self.pid = pid
        self.connection = connection
        self.asked = 0.0  # time.monotonic() of the last name
        self.ready = False
        self._received = b""
        self._busy = False
        self._cpu_s = 0.0
        self.ask("methane")

    @property
    def idle(self) -> bool:
        """Whether it can be asked."""
        return self.ready and not self._busy

    def ask(self, name: str) -> None:
        """Sends a one-line name. Raises ReaderLostError."""
        if self._busy:  # an interrupt came between a name and its line
            raise ReaderLostError("an earlier name is still unanswered, so lines can no longer be told apart")
        self._busy, self._received, self.asked, self._cpu_s = True, b"", time.monotonic(), _cpu_seconds(self.pid)
        try:
            self.connection.sendall(name.encode() + b"\n")
        except OSError as error:
            raise ReaderLostError(f"it cannot be reached: {error}") from error

    def collect(self) -> str | None:
        """The SMILES of the name, empty if OPSIN cannot read it; None while the line is not whole. To be called when there is something.

        Raises:
            ReaderLostError: it ended, or its line is too long or none.
        """
        try:
            part = self.connection.recv(_MAX_LINE_BYTES)
        except OSError as error:
            raise ReaderLostError(f"it cannot be reached: {error}") from error
        self._received += part
        if not part:
            raise ReaderLostError("it ended")
        if len(self._received) > _MAX_LINE_BYTES:
            raise ReaderLostError(f"more than {_MAX_LINE_BYTES} bytes for one name", reason=None if self.ready else Reason.CRASH)
        if not self._received.endswith(b"\n"):
            return None
        line = self._received[:-1]
        if b"\n" in line:
            raise ReaderLostError("two lines for one name")
        self._busy = False
        smiles = line.decode(errors="replace").strip()
        if not self.ready and smiles != "C":
            raise ReaderLostError("it does not know methane")
        return smiles

    def check_deadline(self, deadline_s: float) -> None:
        """Raises ReaderLostError once the name, or the start, takes longer. A JVM that did not work meanwhile was stopped: not the name's
        fault, so that is no TIMEOUT."""
        limit_s = deadline_s if self.ready else START_TIMEOUT_S
        if self._busy and time.monotonic() - self.asked >= limit_s:
            worked = _cpu_seconds(self.pid) - self._cpu_s > limit_s / 10
            raise ReaderLostError(f"no line within {limit_s:g} s", Reason.TIMEOUT if worked and self.ready else Reason.CRASH)

    def close(self) -> None:
        """Closes the connection; whoever started the JVM ends it."""
        self.connection.close()


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
