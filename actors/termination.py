"""SIGTERM as a notice, not an end: how an actor's process learns that it is about to be taken away (a spot instance, a node drain).

Ray runs an actor's constructor, and its own wait for work, in the main thread of the worker process, and hands Python pending signals
every few milliseconds there, also while an asyncio actor computes in its other thread; so a handler set in the constructor is called.
Ray's own handler would end the process at once. Members say in their health answers that they were told to leave; the fleet then drains
them. A second SIGTERM ends the process as Ray's handler would have.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

import ray


class TerminationNotice:
    """``received`` turns true with the first SIGTERM after ``listen``."""

    def __init__(self) -> None:
        self.received = False

    def listen(self) -> None:
        """Outside of an actor's main thread (a test, a script) signals belong to somebody else: nothing happens."""
        in_actor = ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None
        if in_actor and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise SystemExit(128 + number)
        self.received = True
