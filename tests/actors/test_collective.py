"""One broadcast over gloo between threads that stand for processes: what arrives, and what a missing member costs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from actors.collective import Broadcaster, CollectiveError, Offer, receive
from actors.weight_receiver import WeightReceiver
from actors.weights import ByteArray, content_digest, pack_buckets, tensor_bytes, tensor_digest, tensor_view
from tests.listening import beyond_the_machine, listeners
from tests.patience import WAIT_S

HOST = "127.0.0.1"


def some_parts() -> list[ByteArray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, size, dtype=np.uint8) for size in (5, 0, 300_000, 64)]


def views(arrays: list[ByteArray]) -> list[torch.Tensor]:
    return [tensor_view(array) for array in arrays]


@pytest.mark.parametrize("receivers", [1, 2])
def test_every_receiver_has_the_bytes_and_their_digests(receivers: int) -> None:
    parts = some_parts()
    for part in parts:
        part.flags.writeable = False  # as they are in the object store
    sender = Broadcaster(HOST, [(f"generator-{i}", i) for i in range(receivers)], timeout_s=WAIT_S)
    places = [[np.zeros_like(part) for part in parts] for _ in range(receivers)]
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(sender.send, views(parts))
        digests = list(pool.map(lambda i: receive(sender.offer, i + 1, HOST, views(places[i])), range(receivers)))
        sending.result()
    for found, digest in zip(places, digests, strict=True):
        assert all(np.array_equal(one, part) for one, part in zip(found, parts, strict=True)), "the bytes must be those that were sent"
        assert digest == [tensor_digest(part) for part in parts]


def test_a_receiver_that_never_comes_is_an_error_for_all_within_the_time_limit() -> None:
    sender = Broadcaster(HOST, [("a", 1), ("b", 2)], timeout_s=1.5)
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(sender.send, views(some_parts()))
        with pytest.raises(CollectiveError, match="receiving as rank 1"):
            receive(sender.offer, 1, HOST, views([np.zeros_like(part) for part in some_parts()]))
        with pytest.raises(CollectiveError, match="sending to 2 generators"):
            sending.result()


def test_a_sender_that_is_gone_is_an_error() -> None:
    sender = Broadcaster(HOST, [("a", 1)], timeout_s=1.0)
    offer = sender.offer
    del sender
    with pytest.raises(CollectiveError):
        receive(offer, 1, HOST, [])


def test_a_group_is_met_at_the_address_that_was_given_and_at_no_other() -> None:
    sender = Broadcaster(HOST, [("a", 1)], timeout_s=WAIT_S)
    (places,) = listeners([psutil.Process()]).values()
    assert f"{HOST}:{sender.offer.port}" in places and beyond_the_machine([psutil.Process()]) == {}


def test_only_those_invited_have_a_rank() -> None:
    offer = Offer(HOST, 1, (("generator-0", 10), ("generator-1", 11)), 1.0)
    assert offer.rank_of("generator-1", 11) == 2
    assert offer.rank_of("generator-1", 12) is None, "a replacement of that name is another process"
    direct = replace(offer, engine_processes=4)
    assert (direct.rank_of("generator-1", 11), direct.size) == (5, 9), "every engine process has a rank of its own"


def test_an_engine_process_receives_into_its_own_memory_and_says_what_failed() -> None:
    tensors = [("a", torch.arange(300.0)), ("b", torch.ones(3, 5, dtype=torch.bfloat16))]
    (bucket,) = pack_buckets(tensors)
    parts = tensor_bytes(bucket.slots, [bucket.runs])
    digest = content_digest(bucket.slots, [tensor_digest(part) for part in parts])
    receiver = WeightReceiver(torch.device("cpu"))
    assert receiver.outcome() == "no broadcast was begun"
    for published, expected in ((digest, ""), ("another", "published with digest another"), (digest, "")):
        sender = Broadcaster(HOST, [("a", 1)], timeout_s=WAIT_S, engine_processes=1)
        with ThreadPoolExecutor() as pool:
            sending = pool.submit(sender.send, views(parts))
            receiver.begin(sender.offer, 1, HOST, bucket.slots, published)
            sending.result()
        while (outcome := receiver.outcome()) is None:
            time.sleep(0.01)
        assert expected in outcome and bool(expected) == bool(outcome), f"{outcome!r}"
        if outcome:
            with pytest.raises(RuntimeError, match="no broadcast has brought"):
                receiver.tensors(bucket.slots)
        else:
            found = dict(receiver.tensors(bucket.slots))
            assert all(torch.equal(found[name], tensor) for name, tensor in tensors), "the tensors must be those that were sent"
    receiver.close()
