"""The *collective* transport: one broadcast of a version to all generators that serve at that moment (gloo, over host memory).

Rank 0 of the learner has published the version in the object store before, and broadcasts it from there in a thread of its own, so it
trains on meanwhile and the store has the bytes for whoever is not part of the group: newcomers, and everybody when the broadcast fails.
The group is made anew for every version, of the generators that live at that moment, and is gone afterwards.

A generator's *actor* receives, into the file that its engine reads, while the engine samples. A lost member or a time-out therefore never
leaves a half-loaded model, which a broadcast into the engine itself would (a failed update costs the engine); the pause is as short as
with *store*.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from actors.weights import ByteArray, tensor_digest, tensor_view


class CollectiveError(RuntimeError):
    """The broadcast did not get through: a member was lost or late. Nothing was loaded; the version is in the object store."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An invitation to one broadcast.

    Attributes:
        host, port: where the group meets; of the learner's rank 0.
        receivers: (name, pid) of the generators in it, by rank − 1. A replacement has another pid and so no part in it.
        timeout_s: for the whole, from the moment a member enters it.
    """

    host: str
    port: int
    receivers: tuple[tuple[str, int], ...]
    timeout_s: float

    def rank_of(self, name: str, pid: int) -> int | None:
        """The rank of a generator in the group, None when it is not invited."""
        return self.receivers.index((name, pid)) + 1 if (name, pid) in self.receivers else None


class Broadcaster:
    """The sending side: meets the receivers, sends once.

    Raises:
        CollectiveError: when no port can be opened.
    """

    def __init__(self, host: str, receivers: Sequence[tuple[str, int]], timeout_s: float) -> None:
        timeout, size = timedelta(seconds=timeout_s), len(receivers) + 1
        with _collective_errors(f"opening a group at {host}"):
            self._store = torch_distributed().TCPStore(host, 0, size, is_master=True, timeout=timeout, wait_for_workers=False)
        self.offer = Offer(host, self._store.port, tuple(receivers), timeout_s)

    def send(self, parts: Sequence[ByteArray]) -> None:
        """Broadcast these bytes, one part after the other.

        Raises:
            CollectiveError: when a receiver does not come, is lost or is late.
        """
        deadline = time.monotonic() + self.offer.timeout_s
        with _collective_errors(f"sending to {len(self.offer.receivers)} generators"):
            group = _join(self._store, 0, self.offer, self.offer.host)
            for part in parts:
                _broadcast(group, part, deadline)
            # The store lives here: it must outlast the slowest receiver's way into the group, which the last broadcast does not prove.
            group.barrier(_options("BarrierOptions", deadline)).wait()


def receive(offer: Offer, rank: int, host: str, places: Sequence[ByteArray]) -> list[bytes]:
    """Take part as ``rank``: fill ``places`` in the order of :meth:`Broadcaster.send`; returns the digests of what arrived.

    Args:
        host: this node's address, by which the other members reach it.

    Raises:
        CollectiveError: when a member does not come, is lost or is late; some places may have been written.
    """
    deadline = time.monotonic() + offer.timeout_s
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="digest") as digester, _collective_errors(f"receiving as rank {rank}"):
        timeout, size = timedelta(seconds=offer.timeout_s), len(offer.receivers) + 1
        store = torch_distributed().TCPStore(offer.host, offer.port, size, is_master=False, timeout=timeout, wait_for_workers=False)
        group = _join(store, rank, offer, host)
        digests = []
        for place in places:
            _broadcast(group, place, deadline)
            digests.append(digester.submit(tensor_digest, place))
        group.barrier(_options("BarrierOptions", deadline)).wait()
        return [digest.result() for digest in digests]


def _join(store: Any, rank: int, offer: Offer, host: str) -> Any:
    gloo = torch_distributed().ProcessGroupGloo
    options = gloo._Options()
    options._devices = [gloo.create_device(hostname=host)]
    options._timeout = timedelta(seconds=offer.timeout_s)
    return gloo(store, rank, len(offer.receivers) + 1, options)


def _broadcast(group: Any, data: ByteArray, deadline: float) -> None:
    import torch

    if data.size:
        options = _options("BroadcastOptions", deadline)
        options.rootRank = options.rootTensor = 0
        group.broadcast([tensor_view(data, torch.uint8)], options).wait()


def _options(kind: str, deadline: float) -> Any:
    left = deadline - time.monotonic()
    if left <= 0:
        raise CollectiveError("its time was over")
    options = getattr(torch_distributed(), kind)()
    options.timeout = timedelta(seconds=left)
    return options


def torch_distributed() -> Any:
    """torch.distributed, imported late; its stubs do not know all that is used here."""
    import torch.distributed

    return torch.distributed


@contextmanager
def _collective_errors(what: str) -> Iterator[None]:
    """torch reports lost and late members alike, as RuntimeError or a subclass of it."""
    try:
        yield
    except CollectiveError as error:
        raise CollectiveError(f"{what}: {error}") from error
    except RuntimeError as error:
        raise CollectiveError(f"{what}: {(str(error).splitlines() or [repr(error)])[0][:300]}") from error
