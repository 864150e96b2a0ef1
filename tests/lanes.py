"""``python -m tests.lanes``: the whole suite in two pytest processes side by side.

A pool waits for much of its time (for processes that start, for deadlines), so whatever trains on none runs beside it, on the other core.
Two training runs side by side would be a different test. The second lane's output comes when the first lane is done.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

NOTHING_COLLECTED = 5  # pytest's status when options leave a lane no test


def main() -> int:
    command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    with tempfile.TemporaryFile() as output:
        rest = subprocess.Popen([*command, "-m", "not pools"], stdout=output, stderr=subprocess.STDOUT)
        try:
            pools = subprocess.run([*command, "-m", "pools"], check=False).returncode
            rest.wait()
        finally:
            if rest.poll() is None:
                rest.terminate()
                rest.wait()
            output.seek(0)
            print(output.read().decode(errors="replace"), flush=True)
    statuses = {status for status in (pools, rest.returncode) if status != NOTHING_COLLECTED}
    return max(statuses, key=abs, default=NOTHING_COLLECTED)


if __name__ == "__main__":
    sys.exit(main())
