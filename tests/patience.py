"""How patient the tests are.

A deadline in a test catches a hang, never slowness, so it may be very long: it costs nothing where nothing hangs. ``WAIT_S`` is for
whatever must happen at some time, ``START_S`` for processes that start (an engine is 16 seconds of processor time, mostly imports).

A short deadline *of the product*, which a test wants to strike, must not strike the healthy on a busy machine: it is multiplied by
``PATIENCE``, which is 1 on a quiet machine and is measured once in a process. Set CHEMR_TEST_PATIENCE to decide it yourself.
"""

from __future__ import annotations

import os
import time

WAIT_S = 180.0
START_S = 600.0
MEASURED_S = 0.2  # of processor time
MOST = 8.0


def slowness(processor_s: float = MEASURED_S) -> float:
    """Seconds on the clock for one second of processor time: 1 where a core is free, 2.5 beside four busy processes on two cores."""
    began, until = time.monotonic(), time.thread_time() + processor_s
    while time.thread_time() < until:
        pass
    return max(1.0, (time.monotonic() - began) / processor_s)


def patience(slow: float) -> float:
    """The factor for short deadlines. Twice the slowness: what a test starts competes with itself, too, and the load may grow."""
    return 1.0 if slow < 1.2 else min(MOST, 2.0 * slow)


PATIENCE = float(os.environ.get("CHEMR_TEST_PATIENCE") or patience(slowness()))
os.environ["CHEMR_TEST_PATIENCE"] = f"{PATIENCE:g}"  # for the processes that tests start: one measurement for all
