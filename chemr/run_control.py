"""Between operators and the loops of a run: pause, resume, checkpoint now, drain.

Operators ask at any time; the loops do it where their books are in order, between two steps. A run that nobody asks for anything passes
through here in microseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from actors.clock import monotonic
from actors.control.run_status import NotNowError, Phase
from chemr.checkpoints import Checkpoint
from chemr.step_clock import StepClock

if TYPE_CHECKING:
    from chemr.stages.grpo_state import GrpoState

T = TypeVar("T")
Save = Callable[[], Awaitable[Checkpoint | None]]  # None: it could not be written, and the run goes on

POLL_S = 0.1  # how often a pause or a drain looks whether anything is still in flight


class RunDrained(Exception):  # not an error: the run ended in order, at somebody's request
    """The run was asked to end. ``checkpoint`` holds all of it, or is empty when it was told to hurry. ``evicted``: its process had to go,
    by nobody's wish to end the run, which is to be started again."""

    def __init__(self, message: str, checkpoint: str = "", *, evicted: bool) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint
        self.evicted = evicted


class RunControl:
    """One run's requests, in the event loop of the run.

    Loops call ``admission`` before a new prompt and ``between_steps`` or ``take`` before a step; what writes checkpoints brackets them with
    ``checkpoint_begins`` and ``checkpoint_written``.
    """

    def __init__(self, clock: StepClock, drain_s: float, say: Callable[[str], None]) -> None:
        """``drain_s``: seconds a drain waits for groups in flight. ``say``: tells the person who watches the run."""
        self.grpo: GrpoState | None = None  # the stage's books while it runs, for those who look
        self.newest_checkpoint = ""
        self.last_boundary = monotonic()
        self._clock = clock
        self._drain_s = drain_s
        self._say = say
        self._open = asyncio.Event()
        self._open.set()
        self._changed = asyncio.Event()
        self._paused = False
        self._drain_since: float | None = None
        self._evicted = False  # who asked first for the drain that goes on says so
        self._hurry = asyncio.Event()
        self._ended = False
        self._in_flight: Callable[[], int] | None = None  # while a loop stands between two steps
        self._wanted: list[asyncio.Future[str]] = []  # checkpoints
        self._drains: list[asyncio.Future[str]] = []

    # what operators ask

    @property
    def phase(self) -> Phase:
        if self._ended:
            return Phase.ended
        if self._drain_since is not None:
            return Phase.draining
        if self._paused:
            return Phase.paused if self._in_flight is not None and self._in_flight() == 0 else Phase.pausing
        return Phase.running

    async def pause(self) -> None:
        """Returns when nothing is in flight any more. Raises NotNowError when the run goes on or ends before."""
        self._refuse_at_the_end()
        if not self._paused:
            self._say("pause asked for: no new prompts; after the step in progress the run waits for `chemr resume`")
        self._paused = True
        self._open.clear()
        self._changed.set()
        while self.phase is Phase.pausing:
            await asyncio.sleep(POLL_S)
        if self.phase is not Phase.paused:
            raise NotNowError(f"the run did not come to rest: it is {self.phase}")

    def resume(self) -> bool:
        """Returns whether there was a pause."""
        self._refuse_at_the_end()
        if not self._paused:
            return False
        self._say("resumed")
        self._paused = False
        self._open.set()
        self._changed.set()
        return True

    async def checkpoint(self) -> str:
        """Returns the folder of a checkpoint that was begun after this call."""
        self._refuse_at_the_end()
        return await self._promise(self._wanted)

    async def drain(self, evicted: bool = False) -> str:
        """Returns the folder of the last checkpoint. ``evicted``: see :class:`RunDrained`."""
        if self._ended:
            raise NotNowError("the run has ended")
        self._begin_drain(evicted)
        return await self._promise(self._drains)

    def on_sigterm(self) -> None:
        """The first asks for a drain, the second for the end at once. Signals come from what takes the process away."""
        if self._drain_since is None:
            self._begin_drain(evicted=True)
        else:
            self._hurry.set()

    @contextlib.contextmanager
    def draining_on_sigterm(self) -> Iterator[None]:
        """SIGTERM means drain while the block runs. Does nothing outside the main thread, where signals cannot be handled."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGTERM, self.on_sigterm)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            if before is not None:
                signal.signal(signal.SIGTERM, before)

    def end(self) -> None:
        """The run is over: whoever still waits is told so."""
        self._ended = True
        self._open.set()
        _refuse([*self._wanted, *self._drains], "the run ended before it came to that")

    # what loops do

    async def admission(self) -> None:
        """Before a new prompt: waits for the end of a pause, and for ever once the run is being drained."""
        await self._open.wait()

    @property
    def admits(self) -> bool:
        return self._open.is_set()

    async def between_steps(self, save: Save) -> None:
        """Before a step of a loop that has nothing in flight. Raises RunDrained."""
        await self._stand(save, None, lambda: 0)

    async def take(self, save: Save, groups: Coroutine[Any, Any, T], in_flight: Callable[[], int]) -> T:
        """Before a step that trains on ``groups``, while ``in_flight()`` are generated. Raises RunDrained, and what ``groups`` raises.

        Consumes: requests of operators. Waits for: the groups, and for ``resume`` while the run is paused. Unblocked by: either; a drain,
        when what is in flight does not fill another step or its time is over. Produces: the groups; checkpoints that were asked for.
        """
        taking = asyncio.ensure_future(groups)
        try:
            await self._stand(save, taking, in_flight)
            return taking.result()
        finally:
            taking.cancel()

    async def until_hurried(self) -> None:
        """Consumes: a second SIGTERM. Waits for: it. Unblocked by: nothing else. Produces: the end of the run at once, wherever it is."""
        await self._hurry.wait()
        last = self.newest_checkpoint or "none in this process"
        raise RunDrained(
            f"ended at once by a second signal; newest checkpoint: {last}; continue with run.resume=auto", evicted=self._evicted
        )

    def checkpoint_begins(self) -> int:
        """How many requests the checkpoint that begins now will fulfil."""
        return len(self._wanted)

    def checkpoint_written(self, fulfils: int, path: Path) -> None:
        self.newest_checkpoint = str(path)
        fulfilled, self._wanted = self._wanted[:fulfils], self._wanted[fulfils:]
        for promise in fulfilled:
            if not promise.done():  # whoever asked may have gone
                promise.set_result(str(path))

    # how

    async def _stand(self, save: Save, taking: asyncio.Future[T] | None, in_flight: Callable[[], int]) -> None:
        self._in_flight = in_flight
        self.last_boundary = monotonic()
        try:
            while True:
                if taking is not None and taking.done():
                    taking.result()  # a failure is not to wait for the end of a pause
                if self._wanted:
                    await self._save_as_asked(save)
                elif self._drain_since is not None:
                    if await self._another_step(taking, in_flight, self._drain_since + self._drain_s):
                        return
                    await self._end_the_drain(save)
                elif self._paused:
                    with self._clock.share("paused"):
                        await self._change(taking)
                elif taking is None or taking.done():
                    return
                else:
                    await self._change(taking)
        finally:
            self._in_flight = None
            self.last_boundary = monotonic()

    async def _another_step(self, taking: asyncio.Future[T] | None, in_flight: Callable[[], int], deadline: float) -> bool:
        """While draining: whether what is in flight fills one more step in time."""
        while taking is not None and monotonic() < deadline:
            idle = in_flight() == 0  # seen before the wait, in which groups that are complete reach whoever takes them
            await asyncio.wait({taking}, timeout=POLL_S)
            if taking.done() or idle:
                return taking.done()
        return False

    async def _change(self, taking: asyncio.Future[T] | None) -> None:
        """Waits for a request, or for ``taking`` to be done unless it is."""
        self._changed.clear()  # no await since the loop looked: a request cannot slip through
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            open_ones: set[asyncio.Future[Any]] = {changed} if taking is None or taking.done() else {changed, taking}
            await asyncio.wait(open_ones, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    def _begin_drain(self, evicted: bool) -> None:
        if self._drain_since is None:
            why = "the process is told to go" if evicted else "drain asked for"
            self._say(f"{why}: finishing what is in flight, then a checkpoint and the end")
            self._drain_since, self._evicted = monotonic(), evicted
        self._open.clear()
        self._changed.set()

    async def _save_as_asked(self, save: Save) -> None:
        asked = list(self._wanted)
        with self._clock.share("checkpoint"):
            await save()
        _refuse(asked, "the checkpoint could not be written; the run goes on and says why")
        self._wanted = [promise for promise in self._wanted if not promise.done()]

    async def _end_the_drain(self, save: Save) -> None:
        """Raises RunDrained once all is saved. What cannot be saved is not given up: then the drain is called off."""
        checkpoint = await save()
        if checkpoint is None:
            self._say("the drain is called off, since its checkpoint could not be written; the run goes on")
            self._drain_since = None
            if not self._paused:
                self._open.set()
            _refuse(self._drains, "the checkpoint could not be written, so the run goes on; it says why")
            self._drains.clear()
            return
        path = str(checkpoint.path)
        for promise in self._drains:
            if not promise.done():  # whoever asked may have gone
                promise.set_result(path)
        raise RunDrained(
            f"drained at step {checkpoint.step}: all is in {path}; continue with the same command and run.resume=auto",
            path,
            evicted=self._evicted,
        )

    async def _promise(self, waiting: list[asyncio.Future[str]]) -> str:
        promise: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting.append(promise)
        self._changed.set()
        return await promise

    def _refuse_at_the_end(self) -> None:
        if self.phase in (Phase.draining, Phase.ended):
            raise NotNowError("the run is being drained" if self.phase is Phase.draining else "the run has ended")


def _refuse(promises: list[asyncio.Future[str]], why: str) -> None:
    for promise in promises:
        if not promise.done():
            promise.set_exception(NotNowError(why))
