"""Loops that live together end together, and the cause comes through."""

from __future__ import annotations

import asyncio

import pytest

from chemr.supervision import LoopEnded, run_until_done


async def forever() -> None:
    await asyncio.Event().wait()


async def test_background_loops_are_cancelled_when_the_stage_is_done() -> None:
    cancelled = []

    async def background() -> None:
        try:
            await forever()
        finally:
            cancelled.append(True)

    await run_until_done(asyncio.sleep(0.01), background=background())
    assert cancelled, "the background loop must have been cancelled and awaited"


async def test_a_loop_that_returns_early_is_an_error_that_names_it() -> None:
    with pytest.raises(LoopEnded, match="submit"):
        await run_until_done(forever(), submit=asyncio.sleep(0))


async def test_the_cause_of_a_failed_loop_propagates_out_of_its_task_group() -> None:
    async def fails() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(explode())
            await forever()

    async def explode() -> None:
        raise KeyError("the cause")

    with pytest.raises(KeyError, match="the cause"):
        await run_until_done(forever(), loop=fails())
