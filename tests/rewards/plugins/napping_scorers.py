"""Scorers that take the time a test wants, and leave a trace when they finish."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rewards.registry import scorer
from rewards.verdict import Reason, Verdict


@scorer("nap")
def nap(answer, inputs, reference):
    """Sleeps ``seconds``, then adds a line to the file ``trace``, if there is one."""
    time.sleep(inputs["seconds"])
    if "trace" in inputs:
        with Path(inputs["trace"]).open("a") as file:
            file.write(f"{answer} {os.getpid()}\n")
    return Verdict(1.0, Reason.CORRECT)
