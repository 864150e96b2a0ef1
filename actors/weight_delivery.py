"""How the bytes of a version come to a generator: out of a broadcast it is invited to, else out of the object store, once for all
generators of its node.

They end in a shared-memory file whose content is proved to be what was published, before an engine hears of it; or, with the transport
*direct*, in memory that the engine's processes have beside the model's.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import ray

from actors.collective import CollectiveError, Offer, receive
from actors.fleet_losses import is_lost
from actors.node_weights import Filling, Lease, NodeWeights
from actors.weight_file import WeightFile
from actors.weights import (
    ByteArray,
    VersionLostError,
    WeightManifest,
    WeightsCorruptError,
    WeightsNotDeliveredError,
    bucket_starts,
    content_digest,
    copy_buckets,
    tensor_view,
)

if TYPE_CHECKING:
    from actors.engine import Engine

T = TypeVar("T")
POLL_SECONDS = 0.01
# Pulls are asked for at the same moment: a generator that is invited to a broadcast has begun its node's file by then.
INVITED_FIRST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where a version lies, for the engine; the seconds it took by part; why it was not received by broadcast (see PullAck). ``lease``
    keeps the file as it is while the engine loads it, None if it lies elsewhere."""

    file: WeightFile
    lease: Lease | None
    seconds: dict[str, float]
    fallback: str = ""


class WeightDelivery:
    """The deliveries of one generator, one at a time.

    Args:
        name: of the generator.
        folder: the run's folder in this node's shared memory.
        fetch_timeout_s: for a bucket to come out of the object store after the one before it.
    """

    def __init__(self, name: str, folder: Path, fetch_timeout_s: float) -> None:
        self._name = name
        self._node = NodeWeights(folder / "weights")
        self._fetch_timeout_s = fetch_timeout_s
        self._offer: Offer | None = None  # the one last taken up

    async def bring(self, manifest: WeightManifest, engine: Engine) -> Delivered:
        """The version's bytes, verified.

        Raises:
            WeightsCorruptError: what arrived is not what was published.
            VersionLostError: the object store has lost it.
            WeightsNotDeliveredError: the object store did not deliver in time, or there is no room for it.
            EngineFailedError: the engine failed while it should have received.
        """
        try:
            return await self._bring(manifest, engine)
        except OSError as error:
            raise WeightsNotDeliveredError(
                f"generator {self._name}: version {manifest.version} ({manifest.nbytes >> 20} MiB) cannot be written: "
                f"{error.strerror or error}"
            ) from error

    def loaded(self, delivered: Delivered) -> None:
        """The engine has loaded it, or never will: the file may be written again."""
        if delivered.lease is not None:
            delivered.lease.release()

    def forget(self) -> None:
        """Gives mapped memory back."""
        self._node.forget()

    async def _bring(self, manifest: WeightManifest, engine: Engine) -> Delivered:
        offer = manifest.offer
        rank = None if offer is None else offer.rank_of(self._name, os.getpid())
        if offer is None or offer == self._offer:  # a broadcast comes once
            return await self._shared(manifest)
        if rank is None:
            return await self._shared(manifest, others_first_s=0.0 if offer.engine_processes else INVITED_FIRST_SECONDS)
        self._offer = offer
        began = time.perf_counter()
        try:
            if offer.engine_processes:
                file = await engine.receive(offer, rank, ray.util.get_node_ip_address(), manifest.layout, manifest.digest)
                return Delivered(file, None, {"receive": time.perf_counter() - began})
            lease = await self._receive(manifest, offer, rank)
        except CollectiveError as error:
            failed = time.perf_counter() - began
            delivered = await self._shared(manifest)
            return replace(delivered, seconds={"receive": failed} | delivered.seconds, fallback=str(error))
        return Delivered(lease.file, lease, {"receive": time.perf_counter() - began})

    # --- out of a broadcast

    async def _receive(self, manifest: WeightManifest, offer: Offer, rank: int) -> Lease:
        """Takes part, whoever else of this node does: the others wait for each of them."""
        filling = self._node.begin(manifest.digest, manifest.layout)
        starts = bucket_starts(manifest.layout)
        data = np.empty(starts[-1], np.uint8) if filling is None else filling.data
        places = [tensor_view(data[starts[slot.bucket] + slot.offset :][: slot.bytes]) for slot in manifest.layout]

        def take_part() -> None:
            found = content_digest(manifest.layout, receive(offer, rank, ray.util.get_node_ip_address(), places))
            if found != manifest.digest:
                raise CollectiveError(f"version {manifest.version} was published with digest {manifest.digest} and arrived with {found}")

        # A broadcast that was given up may still write to its memory.
        await self._filled(filling, take_part, spoilt=True)
        if filling is not None:
            return filling.finish()
        place = await self._place(manifest, offer.timeout_s)
        if isinstance(place, Lease):
            return place
        await self._filled(place, lambda: np.copyto(place.data, data))
        return place.finish()

    # --- out of the object store

    async def _shared(self, manifest: WeightManifest, others_first_s: float = 0.0) -> Delivered:
        """The node's file, which this generator brings unless another one does."""
        began = time.perf_counter()
        place = await self._place(manifest, 2.0 * self._fetch_timeout_s, others_first_s)
        if isinstance(place, Lease):
            return Delivered(place.file, place, {"wait": time.perf_counter() - began})
        try:
            buckets = await self._buckets(manifest)
        except BaseException:
            place.abandon()
            raise
        fetched = time.perf_counter()

        def write() -> None:
            found = content_digest(manifest.layout, copy_buckets(manifest.layout, buckets, place.data))
            if found != manifest.digest:
                raise WeightsCorruptError(
                    f"generator {self._name}: version {manifest.version} was published with digest {manifest.digest} and arrived with "
                    f"{found}"
                )

        await self._filled(place, write)
        lease = place.finish()
        return Delivered(lease.file, lease, {"fetch": fetched - began, "write": time.perf_counter() - fetched})

    async def _place(self, manifest: WeightManifest, patience_s: float, others_first_s: float = 0.0) -> Lease | Filling:
        """The version as it is on this node, or a file to bring it into."""
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            if (lease := self._node.ready(manifest.digest, manifest.layout)) is not None:
                return lease
            if waited >= others_first_s and (filling := self._node.begin(manifest.digest, manifest.layout)) is not None:
                return filling
            if waited > patience_s:
                raise WeightsNotDeliveredError(
                    f"generator {self._name}: version {manifest.version} did not come to this node within {patience_s:g} s: another "
                    "generator is still bringing one, or engines still load older ones"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _filled(self, filling: Filling | None, work: Callable[[], None], spoilt: bool = False) -> None:
        """Does the work in a thread. Whatever happens, the file is let go of only when the thread has ended."""
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(running)
        except BaseException:
            if filling is not None:
                running.add_done_callback(lambda done: filling.abandon(spoilt))
                if running.done():
                    await asyncio.sleep(0)  # the callback's turn
            raise

    async def _buckets(self, manifest: WeightManifest) -> list[list[ByteArray]]:
        """Mapped from the object store without a copy. A slow network is no failure: the limit is for each bucket, and what arrived stays
        here for the next try."""
        arrived: list[list[ByteArray]] = []
        for bucket in manifest.buckets:
            try:
                arrived.append(await asyncio.wait_for(bucket, self._fetch_timeout_s) if inspect.isawaitable(bucket) else bucket)
            except (TimeoutError, ray.exceptions.RayError) as error:
                what = f"generator {self._name}: bucket {len(arrived) + 1} of {len(manifest.buckets)} of version {manifest.version} "
                if is_lost(error):
                    raise VersionLostError(f"{what}is gone from the object store: {error}") from error
                reason = f"within {self._fetch_timeout_s:g} s of the one before" if isinstance(error, TimeoutError) else f": {error}"
                raise WeightsNotDeliveredError(f"{what}did not arrive {reason}") from error
        return arrived
