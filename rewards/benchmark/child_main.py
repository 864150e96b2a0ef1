"""``python -m rewards.benchmark.child_main MEMORY_BYTES PARENT_PID``: the other end of :mod:`rewards.benchmark.child`.

One JSON line in, ``["module.function", {arguments}]``; one out, ``["ok", result]`` or ``["memory" | "error", note]``.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys

from rewards.confinement import confine

_PR_SET_PDEATHSIG = 1


def main() -> None:
    memory_bytes, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        return
    confine()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent, which then kills us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not break the protocol
    replies.write("ready\n")
    replies.flush()
    for line in sys.stdin:
        replies.write(_reply(line) + "\n")
        replies.flush()


def _reply(line: str) -> str:
    job, arguments = json.loads(line)
    module, _, function = job.partition(".")
    if not module.endswith("_jobs"):
        raise ValueError(f"{job!r} is not a job")
    call = getattr(importlib.import_module(f"rewards.benchmark.{module}"), function)
    try:
        return json.dumps(["ok", call(**arguments)])
    except MemoryError:
        return json.dumps(["memory", "not enough memory within the limit"])
    except Exception as error:  # noqa: BLE001 - whatever a prediction provokes in a library is a result about that prediction
        return json.dumps(["error", f"{type(error).__name__}: {error}"[:500]])


if __name__ == "__main__":
    main()
