"""Loops that live and die together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

E = TypeVar("E", bound=Exception)


class LoopEnded(RuntimeError):
    """A loop that should outlive the stage ended before it: nothing would ever wake the others again."""


async def run_until_done(main: Coroutine[Any, Any, None], **background: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end beside loops that must not end before it; then cancel them.

    Raises:
        LoopEnded: a background loop returned first.
        Exception: whatever the first loop to fail raised; all others are cancelled and awaited before it propagates.
    """
    main_task = asyncio.create_task(main, name="main")
    tasks = {asyncio.create_task(loop, name=name) for name, loop in background.items()}
    try:
        done, _ = await asyncio.wait({main_task, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done - {main_task}:
            ended.result()  # raises what the loop died of
            raise LoopEnded(f"the {ended.get_name()} loop ended while the stage was still running")
        main_task.result()
    except ExceptionGroup as group:
        raise first_cause(group) from group
    finally:
        for task in (main_task, *tasks):
            task.cancel()
        await asyncio.gather(main_task, *tasks, return_exceptions=True)


def first_cause(group: ExceptionGroup[E]) -> E:
    """The first leaf of a TaskGroup's exceptions: the cause that recovery decides by."""
    first = group.exceptions[0]
    return first_cause(first) if isinstance(first, ExceptionGroup) else first
