"""SIGTERM as a notice, not an end: how an actor's process learns that it is about to be taken away (a spot instance, a node drain).

Ray's own handler ends the process at once. Python allows handlers to be set in the main thread only, where Ray waits for work and asks
Python for signals every few milliseconds; a synchronous actor's constructor runs there, an asyncio actor's code never does. From other
threads the handler is therefore installed by ``Py_AddPendingCall``, whose calls the interpreter makes in its main thread
(docs.python.org/3/c-api/threads.html#c.Py_AddPendingCall; tried with Python 3.11 and Ray 2.60). Members say in their health answers that
they were told to leave; the fleet then drains them. A second SIGTERM ends the process as Ray's handler would have.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from types import FrameType
from typing import Any

import ray


class TerminationNotice:
    """``received`` turns true with the first SIGTERM after ``listen``."""

    def __init__(self) -> None:
        self.received = False
        self._install: Any = None  # the callback must outlive the call

    def listen(self) -> None:
        """Outside of an actor (a test, a script) signals belong to somebody else: nothing happens."""
        if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
            return
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)
            return

        def install(_: object) -> int:
            signal.signal(signal.SIGTERM, self._note)
            return 0

        self._install = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(install)
        ctypes.pythonapi.Py_AddPendingCall(self._install, None)

    def served(self) -> None:
        """There is nothing left to drain: the next SIGTERM (Ray sends one when it shuts down) ends the process."""
        self.received = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise SystemExit(128 + number)
        self.received = True
