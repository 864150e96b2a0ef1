"""Asks a teacher many requests, once each: stored ones are not asked, and whatever arrives is stored before anything else happens."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chemr.mining.errors import TeacherStopped
from chemr.mining.responses import ResponseStore
from chemr.mining.teacher import ChatReply, ChatRequest, ChatTeacher, RequestFailed


@dataclass
class Asked:
    """What became of a batch of requests.

    Attributes:
        keys: for each request, the key of its stored response; None where there is none.
        new: responses that were asked for now.
        failures: reasons of those that failed, and how often.
    """

    keys: list[str | None]
    new: int = 0
    failures: Counter[str] = field(default_factory=Counter)


async def ask_all(
    teacher: ChatTeacher,
    store: ResponseStore,
    requests: Sequence[ChatRequest],
    concurrency: int,
    give_up_after: int,
    on_answer: Callable[[int, int], None] | None = None,
    on_stop: Callable[[int], None] | None = None,
) -> Asked:
    """Every request's response, from the store or from the teacher.

    Consumes: requests that are not stored. Waits for: the teacher, whose own time-outs bound every wait. Unblocked by: a reply, a failure.
    Produces: stored responses.

    When something ends it early (a stop of the teacher, an interrupt), no further request is begun, and those in flight are waited for
    and stored: they will be billed. A second interrupt ends that too.

    Args:
        concurrency: requests in flight at once.
        give_up_after: failures in a row, without a response between them, after which it is no use to go on.
        on_answer: called with (responses so far, responses to be asked for).
        on_stop: called with the number of requests in flight when it ends early.

    Raises:
        TeacherStopped: the teacher's own stop, ``give_up_after`` failures in a row, or a store that cannot be written.
    """
    asked = Asked([None] * len(requests))
    places: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        places.setdefault(request.key(teacher.model), []).append(place)
    wanted = [requests[where[0]] for key, where in places.items() if key not in store]
    queue = iter(wanted)
    stopped = False
    in_a_row = 0

    async def worker() -> None:
        nonlocal stopped
        try:
            await answer_in_turn()
        except BaseException:
            stopped = True  # at once: nobody else begins a request
            raise

    async def answer_in_turn() -> None:
        nonlocal in_a_row
        while not stopped and (request := next(queue, None)) is not None:
            began = time.monotonic()
            try:
                reply = await teacher.answer(request)
            except RequestFailed as failure:
                asked.failures[str(failure)] += 1
                in_a_row += 1
                if in_a_row >= give_up_after:
                    raise TeacherStopped(
                        f"{in_a_row} requests in a row failed, the last with: {failure}. What was answered is kept; "
                        "the same command goes on from there"
                    ) from failure
                continue
            _store(store, teacher.model, request, reply, time.monotonic() - began)
            in_a_row = 0
            asked.new += 1
            if on_answer is not None:
                on_answer(asked.new, len(wanted))

    workers = [asyncio.create_task(worker()) for _ in range(min(concurrency, len(wanted)))]
    try:
        if workers:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
    finally:
        stopped = True
        flying = [task for task in workers if not task.done()]
        try:
            if flying:
                if on_stop is not None:
                    on_stop(len(flying))
                await asyncio.wait(flying)
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    for key, where in places.items():
        for place in where:
            asked.keys[place] = key if key in store else None
    return asked


def _store(store: ResponseStore, model: str, request: ChatRequest, reply: ChatReply, seconds: float) -> None:
    try:
        store.add(model, request, reply, seconds)
    except OSError as error:
        raise TeacherStopped(f"{store.path} cannot be written ({error}); make room, then start the same command again") from error
