"""How the bytes of a version come to a generator: out of a broadcast it is invited to, else out of the object store.

They end in a shared-memory file whose content is proved to be what was published, before the engine hears of it; or, with the transport
*direct*, in memory that the engine's processes have beside the model's.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from actors.collective import CollectiveError, Offer, receive
from actors.weight_file import SharedFile, WeightFile
from actors.weights import ByteArray, WeightManifest, WeightsCorruptError, bucket_starts, content_digest, copy_buckets, tensor_view

if TYPE_CHECKING:
    from actors.engine import Engine


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where a version lies, for the engine; the seconds it took by part; why it was not received by broadcast (see PullAck). ``kept``
    is the shared memory that may be written again once the engine has loaded it, None if it lies elsewhere."""

    file: WeightFile
    kept: SharedFile | None
    seconds: dict[str, float]
    fallback: str = ""


class WeightDelivery:
    """The deliveries of one generator, one at a time.

    Args:
        name: of the generator.
        folder: its private folder in shared memory.
        fetch_timeout_s: for getting all buckets out of the object store.
    """

    def __init__(self, name: str, folder: Path, fetch_timeout_s: float) -> None:
        self._name = name
        self._path = folder / "weights"
        self._fetch_timeout_s = fetch_timeout_s
        self._kept: SharedFile | None = None

    async def bring(self, manifest: WeightManifest, engine: Engine) -> Delivered:
        """The version's bytes, verified.

        Raises:
            WeightsCorruptError: what arrived is not what was published.
            TimeoutError: the object store did not deliver in time.
            EngineFailedError: the engine failed while it should have received.
        """
        # Taken out while it is in use: a delivery that is given up half-way leaves its file to whoever may still read or write it.
        kept, self._kept = self._kept, None
        offer = manifest.offer
        rank = None if offer is None else offer.rank_of(self._name, os.getpid())
        if offer is None or rank is None:
            return await self._fetch(manifest, kept)
        began = time.perf_counter()
        direct = offer.engine_processes > 0
        try:
            if direct:
                file = await engine.receive(offer, rank, ray.util.get_node_ip_address(), manifest.layout, manifest.digest)
            else:
                kept = await asyncio.to_thread(self._receive, manifest, offer, rank, kept)
                file = kept.of(manifest.layout)
        except CollectiveError as error:
            # Into a new file if the broadcast was into the other: one that was given up may still write there.
            delivered = await self._fetch(manifest, kept if direct else None)
            return replace(delivered, seconds={"receive": time.perf_counter() - began} | delivered.seconds, fallback=str(error))
        return Delivered(file, kept, {"receive": time.perf_counter() - began})

    def keep(self, delivered: Delivered) -> None:
        """The engine has loaded it: use its file for the next delivery."""
        self._kept = delivered.kept

    def forget(self) -> None:
        """The folder is gone, and the file with it."""
        self._kept = None

    def _receive(self, manifest: WeightManifest, offer: Offer, rank: int, kept: SharedFile | None) -> SharedFile:
        file = SharedFile.fitting(kept, self._path, manifest.layout)
        starts = bucket_starts(manifest.layout)
        places = [tensor_view(file.data[starts[slot.bucket] + slot.offset :][: slot.bytes]) for slot in manifest.layout]
        found = content_digest(manifest.layout, receive(offer, rank, ray.util.get_node_ip_address(), places))
        if found != manifest.digest:
            raise CollectiveError(f"version {manifest.version} was published with digest {manifest.digest} and arrived with {found}")
        return file

    async def _fetch(self, manifest: WeightManifest, kept: SharedFile | None) -> Delivered:
        began = time.perf_counter()
        try:
            buckets: list[list[ByteArray]] = await asyncio.wait_for(_buckets(manifest), self._fetch_timeout_s)
        except TimeoutError as error:
            raise TimeoutError(
                f"generator {self._name}: the {len(manifest.buckets)} buckets of version {manifest.version} did not arrive within "
                f"{self._fetch_timeout_s:g} s"
            ) from error
        fetched = time.perf_counter()
        file = await asyncio.to_thread(self._write, manifest, buckets, kept)
        return Delivered(file.of(manifest.layout), file, {"fetch": fetched - began, "write": time.perf_counter() - fetched})

    def _write(self, manifest: WeightManifest, buckets: list[list[ByteArray]], kept: SharedFile | None) -> SharedFile:
        file = SharedFile.fitting(kept, self._path, manifest.layout)
        found = content_digest(manifest.layout, copy_buckets(manifest.layout, buckets, file.data))
        if found != manifest.digest:
            raise WeightsCorruptError(
                f"generator {self._name}: version {manifest.version} was published with digest {manifest.digest} and arrived with {found}"
            )
        return file


async def _buckets(manifest: WeightManifest) -> list[list[ByteArray]]:
    """Mapped from the object store without a copy."""
    return [await bucket if isinstance(bucket, ray.ObjectRef) else bucket for bucket in manifest.buckets]
