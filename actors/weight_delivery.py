"""How the bytes of a version come to a generator: out of a broadcast it is invited to, else out of the object store.

Both ways end in a shared-memory file whose content is proved to be what was published, before the engine hears of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import ray

from actors.collective import CollectiveError, Offer, receive
from actors.weight_file import SharedFile
from actors.weights import ByteArray, WeightManifest, WeightsCorruptError, bucket_starts, content_digest, copy_buckets


@dataclass(frozen=True, slots=True)
class Delivered:
    """A version's bytes in shared memory, the seconds that took by part, and why they were not received by broadcast (see PullAck)."""

    file: SharedFile
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

    async def bring(self, manifest: WeightManifest) -> Delivered:
        """The version's bytes, verified.

        Raises:
            WeightsCorruptError: what arrived is not what was published.
            TimeoutError: the object store did not deliver in time.
        """
        # Taken out while it is in use: a delivery that is given up half-way leaves its file to whoever may still read or write it.
        kept, self._kept = self._kept, None
        offer = manifest.offer
        rank = None if offer is None else offer.rank_of(self._name, os.getpid())
        if offer is None or rank is None:
            return await self._fetch(manifest, kept)
        began = time.perf_counter()
        try:
            file = await asyncio.to_thread(self._receive, manifest, offer, rank, kept)
        except CollectiveError as error:
            delivered = await self._fetch(manifest, None)  # into a new file: a broadcast that was given up may still write the other
            return Delivered(delivered.file, {"receive": time.perf_counter() - began} | delivered.seconds, fallback=str(error))
        return Delivered(file, {"receive": time.perf_counter() - began})

    def keep(self, file: SharedFile) -> None:
        """Nobody reads the file any more: use it for the next delivery."""
        self._kept = file

    def forget(self) -> None:
        """The folder is gone, and the file with it."""
        self._kept = None

    def _receive(self, manifest: WeightManifest, offer: Offer, rank: int, kept: SharedFile | None) -> SharedFile:
        file = SharedFile.fitting(kept, self._path, manifest.layout)
        starts = bucket_starts(manifest.layout)
        places = [file.data[starts[slot.bucket] + slot.offset :][: slot.bytes] for slot in manifest.layout]
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
        return Delivered(file, {"fetch": fetched - began, "write": time.perf_counter() - fetched})

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
