"""One broadcast over gloo between threads that stand for processes: what arrives, and what a missing member costs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from actors.collective import Broadcaster, CollectiveError, Offer, receive
from actors.weights import ByteArray, tensor_digest

HOST = "127.0.0.1"


def some_parts() -> list[ByteArray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, size, dtype=np.uint8) for size in (5, 0, 300_000, 64)]


@pytest.mark.parametrize("receivers", [1, 2])
def test_every_receiver_has_the_bytes_and_their_digests(receivers: int) -> None:
    parts = some_parts()
    for part in parts:
        part.flags.writeable = False  # as they are in the object store
    sender = Broadcaster(HOST, [(f"generator-{i}", i) for i in range(receivers)], timeout_s=20.0)
    places = [[np.zeros_like(part) for part in parts] for _ in range(receivers)]
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(sender.send, parts)
        digests = list(pool.map(lambda i: receive(sender.offer, i + 1, HOST, places[i]), range(receivers)))
        sending.result()
    for found, digest in zip(places, digests, strict=True):
        assert all(np.array_equal(one, part) for one, part in zip(found, parts, strict=True)), "the bytes must be those that were sent"
        assert digest == [tensor_digest(part) for part in parts]


def test_a_receiver_that_never_comes_is_an_error_for_all_within_the_time_limit() -> None:
    sender = Broadcaster(HOST, [("a", 1), ("b", 2)], timeout_s=1.5)
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(sender.send, some_parts())
        with pytest.raises(CollectiveError, match="receiving as rank 1"):
            receive(sender.offer, 1, HOST, [np.zeros_like(part) for part in some_parts()])
        with pytest.raises(CollectiveError, match="sending to 2 generators"):
            sending.result()
    assert time.monotonic() - began < 6, "a missing member must not hold the others up for longer than a few times the limit"


def test_a_sender_that_is_gone_is_an_error() -> None:
    sender = Broadcaster(HOST, [("a", 1)], timeout_s=1.0)
    offer = sender.offer
    del sender
    with pytest.raises(CollectiveError):
        receive(offer, 1, HOST, [])


def test_only_those_invited_have_a_rank() -> None:
    offer = Offer(HOST, 1, (("generator-0", 10), ("generator-1", 11)), 1.0)
    assert offer.rank_of("generator-1", 11) == 2
    assert offer.rank_of("generator-1", 12) is None, "a replacement of that name is another process"
