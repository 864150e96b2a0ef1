"""OPSIN, the name reader (Lowe et al., J. Chem. Inf. Model. 51, 739, 2011), as one JVM that reads a line and answers with a line.

The JVM is a child of the scoring zygote, so it is killed like a worker and dies with it. One name is in it at a time: it gets the next one
only after the line for the last one came back, and it is replaced when that takes too long. A line break in a name therefore cannot
shift the answers of its neighbours (REWARDS T10); names with control characters do not get here at all (:mod:`rewards.iupac_name`).

The jar is that of the PyPI package ``py2opsin``; that package itself is never imported, for it starts a JVM for every call.
"""

from __future__ import annotations

import importlib.util
import select
import shutil
import socket
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

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
    """The JVM died, was silent for too long or sent something that is not one line. It has to be replaced."""

    def __init__(self, message: str, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


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
    """The pool's end of a JVM. Not thread-safe."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        """Waits until the JVM reads names. Raises ReaderLostError."""
        self.pid = pid
        self._connection = connection
        self._unanswered = False
        if self._exchange("methane", START_TIMEOUT_S) != "C":
            raise ReaderLostError("it does not know methane")

    def read(self, name: str, deadline_s: float) -> str:
        """The SMILES of a one-line name, empty if OPSIN cannot read it. Raises ReaderLostError."""
        return self._exchange(name, deadline_s)

    def close(self) -> None:
        """Closes the connection; whoever started the JVM ends it."""
        self._connection.close()

    def _exchange(self, name: str, deadline_s: float) -> str:
        if self._unanswered:  # an interrupt came between a name and its line
            raise ReaderLostError("an earlier name is still unanswered, so lines can no longer be told apart")
        self._unanswered = True
        deadline = time.monotonic() + deadline_s
        received = b""
        try:
            self._connection.sendall(name.encode() + b"\n")
            waiting = select.poll()
            waiting.register(self._connection, select.POLLIN)
            while not received.endswith(b"\n"):
                if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000.0):
                    raise ReaderLostError(f"no line within {deadline_s:g} s", timed_out=True)
                part = self._connection.recv(_MAX_LINE_BYTES)
                received += part
                if not part or len(received) > _MAX_LINE_BYTES:
                    raise ReaderLostError("it ended" if not part else f"more than {_MAX_LINE_BYTES} bytes for one name")
        except OSError as error:
            raise ReaderLostError(f"it cannot be reached: {error}") from error
        line = received[:-1]
        if b"\n" in line:
            raise ReaderLostError("two lines for one name")
        self._unanswered = False
        return line.decode(errors="replace").strip()
