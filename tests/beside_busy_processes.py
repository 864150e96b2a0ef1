"""``python -m tests.beside_busy_processes COMMAND...`` runs a command while other processes keep the machine busy (`make test-loaded`).

Two busy processes a core, as many as a shared machine may have. They are ended by their pids, and end by themselves when this process is
killed. The status is the command's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# It ends with whoever started it: the read end of a pipe that nobody writes to becomes readable when its writer is gone.
BUSY = "import select\nwhile not select.select([0], [], [], 0)[0]:\n    sum(range(100_000))"


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[list[int]]:
    """Pids of ``count`` processes that use all the processor time they get."""
    with contextlib.ExitStack() as stack:
        pids = []
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-S", "-c", BUSY], stdin=subprocess.PIPE)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            pids.append(process.pid)
        yield pids


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.beside_busy_processes", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--busy", type=int, default=2 * len(os.sched_getaffinity(0)), help="how many (two a core)")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("which command? For example: python -m tests.beside_busy_processes python -m pytest -n 2")
    with busy_processes(options.busy) as pids:
        print(f"beside {len(pids)} busy processes: {' '.join(map(str, pids))}", flush=True)
        return subprocess.run(options.command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
