"""Scorers that do what scorers must not do; loaded into the worker processes of a pool as a plugin."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from rewards.errors import BadReferenceError
from rewards.registry import scorer
from rewards.verdict import Reason, Verdict

FINE = Verdict(1.0, Reason.CORRECT)


@scorer("hang")
def hang(answer, inputs, reference):
    while True:
        pass


@scorer("hang_ignoring_signals")
def hang_ignoring_signals(answer, inputs, reference):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


@scorer("segfault")
def segfault(answer, inputs, reference):
    ctypes.string_at(0)
    return FINE


@scorer("killed")
def killed(answer, inputs, reference):
    os.kill(os.getpid(), signal.SIGKILL)
    return FINE


@scorer("exit")
def leave(answer, inputs, reference):
    os._exit(0)


@scorer("eat_memory")
def eat_memory(answer, inputs, reference):
    eaten = []
    while True:
        eaten.append(bytes(256 << 20))


@scorer("raise")
def fail(answer, inputs, reference):
    raise KeyError("a bug in a scorer")


@scorer("recurse")
def recurse(answer, inputs, reference):
    return recurse(answer, inputs, reference)


@scorer("bad_reference")
def bad_reference(answer, inputs, reference):
    raise BadReferenceError("this row is broken")


@scorer("not_a_number")
def not_a_number(answer, inputs, reference):
    return Verdict(float("nan"), Reason.PARTIAL)


@scorer("swell")
def swell(answer, inputs, reference):
    """Uses 200 MB for a moment."""
    return Verdict(float(bytearray(b"x") * (200 << 20) != b""), Reason.CORRECT)


@scorer("process_id")
def process_id(answer, inputs, reference):
    return Verdict(1.0, Reason.CORRECT, {"pid": os.getpid(), "stack": 0.0})


@scorer("crash_once")
def crash_once(answer, inputs, reference):
    """Crashes until the file named by the row exists."""
    marker = Path(inputs["marker"])
    if not marker.exists():
        marker.touch()
        os._exit(7)
    return FINE
