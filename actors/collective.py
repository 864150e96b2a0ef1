"""One broadcast of a version to all generators that serve at that moment: the transports *collective* and *direct*.

Rank 0 of the learner has published the version in the object store before, and broadcasts it in a thread of its own, so it trains on
meanwhile and the store has the bytes for whoever is not part of the group: newcomers, and everybody when the broadcast fails. The group is
made anew for every version, of the generators that live at that moment, and is gone afterwards.

*collective* (gloo between host memories): a generator's actor receives, into the file that its engine reads. *direct* (NCCL between GPUs,
gloo between CPUs): every process of its engine receives for itself, into memory beside the model's. Either way the engine samples on, and
a lost member or a time-out never leaves a half-loaded model, which a broadcast into the model's own tensors would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from actors.failure_signs import FailureKind
from actors.weights import tensor_digest

if TYPE_CHECKING:
    import torch


class CollectiveError(RuntimeError):
    """The broadcast did not get through: a member was lost or late. Nothing was loaded; the version is in the object store."""

    kind = FailureKind.INFRASTRUCTURE


@dataclass(frozen=True, slots=True)
class Offer:
    """An invitation to one broadcast.

    Attributes:
        host, port: where the group meets; of the learner's rank 0.
        receivers: (name, pid) of the generators in it, in the order of their ranks. A replacement has another pid and so no part in it.
        timeout_s: for the whole, from the moment a member enters it.
        engine_processes: of each generator, which take part themselves, a rank each (transport *direct*). 0: its actor does, with one rank.
        device: "cpu": gloo between host memories. "cuda": NCCL between GPUs.
    """

    host: str
    port: int
    receivers: tuple[tuple[str, int], ...]
    timeout_s: float
    engine_processes: int = 0
    device: str = "cpu"

    @property
    def size(self) -> int:
        """Members of the group, the sender included."""
        return 1 + len(self.receivers) * max(1, self.engine_processes)

    def rank_of(self, name: str, pid: int) -> int | None:
        """The (first) rank of a generator in the group, None when it is not invited."""
        if (name, pid) not in self.receivers:
            return None
        return 1 + self.receivers.index((name, pid)) * max(1, self.engine_processes)


class Broadcaster:
    """The sending side: meets the receivers, sends once. Arguments as the attributes of :class:`Offer`.

    Raises:
        CollectiveError: when no port can be opened.
    """

    def __init__(
        self, host: str, receivers: Sequence[tuple[str, int]], timeout_s: float, engine_processes: int = 0, device: str = "cpu"
    ) -> None:
        from learner.distributed import listening_store

        offer = Offer(host, 0, tuple(receivers), timeout_s, engine_processes, device)
        with _collective_errors(f"opening a group at {host}"):
            self._store = listening_store(host, 0, offer.size, timeout_s)
        self.offer = replace(offer, port=self._store.port)

    def send(self, parts: Sequence[torch.Tensor]) -> None:
        """Broadcast these bytes (uint8 on the offer's device), one part after the other.

        Raises:
            CollectiveError: when a receiver does not come, is lost or is late.
        """
        deadline = time.monotonic() + self.offer.timeout_s
        with _collective_errors(f"sending to {len(self.offer.receivers)} generators"):
            group = _join(self._store, 0, self.offer, self.offer.host)
            for part in parts:
                _broadcast(group, part, deadline)
            # The store lives here: it must outlast the slowest receiver's way into the group, which the last broadcast does not prove.
            _wait(group, group.barrier(_options("BarrierOptions", deadline)), deadline)


def receive(offer: Offer, rank: int, host: str, places: Sequence[torch.Tensor]) -> list[bytes]:
    """Take part as ``rank``: fill ``places`` (uint8 on the offer's device) in the order of :meth:`Broadcaster.send`.

    Args:
        host: this node's address, by which the other members reach it.

    Returns:
        The digests of what arrived in host memory; none of what arrived on a GPU.

    Raises:
        CollectiveError: when a member does not come, is lost or is late; some places may have been written.
    """
    deadline = time.monotonic() + offer.timeout_s
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="digest") as digester, _collective_errors(f"receiving as rank {rank}"):
        timeout = timedelta(seconds=offer.timeout_s)
        store = torch_distributed().TCPStore(offer.host, offer.port, offer.size, is_master=False, timeout=timeout, wait_for_workers=False)
        group = _join(store, rank, offer, host)
        digests = []
        for place in places:
            _broadcast(group, place, deadline)
            if offer.device == "cpu":
                digests.append(digester.submit(tensor_digest, place.numpy()))
        _wait(group, group.barrier(_options("BarrierOptions", deadline)), deadline)
        return [digest.result() for digest in digests]


def _join(store: Any, rank: int, offer: Offer, host: str) -> Any:
    timeout = timedelta(seconds=offer.timeout_s)
    if offer.device == "cuda":
        nccl = torch_distributed().ProcessGroupNCCL
        options = nccl.Options()
        options._timeout = timeout
        return nccl(store, rank, offer.size, options)
    gloo = torch_distributed().ProcessGroupGloo
    options = gloo._Options()
    options._devices = [gloo.create_device(hostname=host)]
    options._timeout = timeout
    return gloo(store, rank, offer.size, options)


def _broadcast(group: Any, data: torch.Tensor, deadline: float) -> None:
    if data.numel():
        options = _options("BroadcastOptions", deadline)
        options.rootRank = options.rootTensor = 0
        _wait(group, group.broadcast([data], options), deadline)


def _wait(group: Any, work: Any, deadline: float) -> None:
    """gloo keeps to the time in its options. NCCL does not, and its watchdog would end the whole process: so it is watched from here."""
    if group.name() == "nccl":
        while not work.is_completed():
            if time.monotonic() > deadline:
                group.abort()
                raise CollectiveError("its time was over")
            time.sleep(0.001)
    work.wait()


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
