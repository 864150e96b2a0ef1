"""One version of the weights: buckets of tensors, a layout that says what lies where, a digest and a probe.

The learner hands its tensors to the object store as they lie in memory (one pass over the bytes, no staging copy); a
:class:`WeightManifest` with the references goes to every generator. One generator of each node maps the buckets and copies them into a file
that all engines there read (the second pass, digested on the way; :mod:`actors.node_weights`); each acknowledges with a :class:`PullAck`.
Nothing here needs Ray; torch is imported only where tensors are touched.
"""

from __future__ import annotations

import itertools
import json
import os
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

from actors.failures import ActorFailure
from learner.model_files import tensor_shapes

if TYPE_CHECKING:
    import torch

    from actors.collective import Offer

ByteArray = npt.NDArray[np.uint8]

ALIGNMENT = 64  # bytes; a cache line, and a multiple of every dtype's size
PIECE_BYTES = 1 << 20  # copied, then digested while still in the cache
ALONE_BYTES = 8 << 20  # a tensor that may change and is as large as this goes on at once instead of being copied for its bucket
TIED = frozenset({"lm_head.weight"})
DTYPES = frozenset({"float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64", "int32", "int16", "int8", "uint8", "bool"})


class WeightsNotDeliveredError(ActorFailure):
    """A version did not reach a generator. The engine has not been touched and serves on; pulling again is safe."""


class WeightsCorruptError(WeightsNotDeliveredError, ValueError):
    """The bytes that arrived are not the bytes that were published."""


class VersionLostError(WeightsNotDeliveredError):
    """The bytes of a version are gone, with the node that published them: nobody can pull it any more, only publish again."""


@dataclass(frozen=True, slots=True)
class TensorSlot:
    """Where one tensor lies: ``bytes`` bytes from ``offset`` in bucket ``bucket``, of torch dtype ``dtype`` and ``shape``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bucket: int
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A fixed sequence and what the learner computes for it, so that a generator can prove that it now computes the same.

    ``logprobs[i]`` is log π(token_ids[i + 1] | token_ids[: i + 1]) at temperature 1, so there is one less than tokens.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.token_ids) < 2 or len(self.logprobs) != len(self.token_ids) - 1:
            raise ValueError(
                f"a probe of {len(self.token_ids)} tokens has {len(self.logprobs)} log-probs: it needs at least 2 tokens, and one log-prob "
                "for every token but the first"
            )


@dataclass(frozen=True, slots=True)
class WeightManifest:
    """One published version. ``buckets`` are object-store references (or lists of arrays, in tests); small enough to send to everyone."""

    version: int
    layout: tuple[TensorSlot, ...]
    buckets: tuple[Any, ...]  # ray.ObjectRef of list[ByteArray]: the runs of each bucket
    digest: str  # content_digest(layout, digests of all tensors)
    probe: Probe | None = None
    offer: Offer | None = None  # the same bytes may also be had in a broadcast, by those invited

    @property
    def nbytes(self) -> int:
        """Bytes of tensor data, padding not counted."""
        return sum(slot.bytes for slot in self.layout)

    @property
    def dtypes(self) -> list[str]:
        """Of the tensors, as the learner has them."""
        return sorted({slot.dtype for slot in self.layout})


@dataclass(frozen=True, slots=True)
class PullAck:
    """A generator's word that it serves ``version``.

    ``digest`` is of the bytes it loaded. ``probe_error`` and ``probe_mean`` are the largest and the mean |log-prob − expected| over the
    probe, None when the manifest has none.
    ``seconds`` are wall times of the parts: fetch and write (or receive, of a broadcast; or wait, for another generator of the node that
    does it), pause, load, probe. Only pause + load hold generation up. ``lag`` is how many versions newer this one is than the one it
    served until now. ``fallback`` says why the bytes came from the store although it was invited to a broadcast; empty otherwise.
    """

    generator: str
    version: int
    digest: str
    probe_error: float | None
    nbytes: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    lag: int = 0
    fallback: str = ""
    probe_mean: float | None = None


# --- packing -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bucket:
    """Some tensors of a version: where they lie in it, and its bytes as aligned runs (uint8, end to end) of one tensor or of several that
    lie in memory as they do in the bucket. The object store copies few long runs twice as fast as many short ones."""

    slots: tuple[TensorSlot, ...]
    runs: tuple[ByteArray, ...]


def pack_buckets(
    named_tensors: Iterable[tuple[str, torch.Tensor]], bucket_bytes: int = 256 << 20, lasting: bool = False
) -> Iterator[Bucket]:
    """Groups tensors into as few buckets as their order allows.

    Args:
        named_tensors: iterated once, in order; a tensor may live on any device.
        bucket_bytes: upper limit of a bucket; a larger tensor gets a bucket of its own.
        lasting: the tensors keep their memory and their values until the last bucket was used, so nothing has to be copied here. Else a
            tensor only has to last until the next one is asked for, small ones are copied, and at most ``bucket_bytes`` at a time.

    Yields:
        Buckets, to be used before the next one is asked for. The slots of all of them are the layout, in the order of the tensors.

    Raises:
        ValueError: for a name that comes twice, a dtype outside :data:`DTYPES`, no tensors at all or a bucket size below 1.
    """
    if bucket_bytes < 1:
        raise ValueError(f"bucket_bytes is {bucket_bytes}; a bucket holds at least 1 byte")
    pending: list[_Packed] = []
    names: set[str] = set()
    index = end = 0

    for name, tensor in named_tensors:
        if name in names:
            raise ValueError(f"weight {name!r} comes twice; a name must be unique within one version")
        names.add(name)
        data, storage = _bytes_of(name, tensor)
        at_once = storage is not None and not lasting and data.size >= ALONE_BYTES
        offset = _aligned(end)
        if pending and (at_once or offset + data.size > bucket_bytes):
            yield _bucket(pending)
            pending = []
            index, offset = index + 1, 0
        if storage is not None and not lasting and not at_once:
            data, storage = data.copy(), None
        slot = TensorSlot(name, _dtype_name(tensor), tuple(tensor.shape), index, offset, data.size)
        pending.append(_Packed(slot, data, storage))
        end = offset + data.size
        if at_once:
            yield _bucket(pending)
            pending = []
            index, end = index + 1, 0
    if not names:
        raise ValueError("there are no weights to pack: the iterator of named tensors was empty")
    if pending:
        yield _bucket(pending)


def tensor_bytes(layout: Sequence[TensorSlot], buckets: Sequence[Sequence[ByteArray]]) -> list[ByteArray]:
    """The bytes of every tensor (uint8 [slot.bytes]), in layout order, as views of the buckets' runs.

    Raises:
        WeightsCorruptError: when the runs are not those of the layout.
    """
    starts = [[0, *itertools.accumulate(_aligned(run.size) for run in runs)] for runs in buckets]
    first = min((slot.bucket for slot in layout), default=0)  # a bucket's slots may come alone
    found: list[ByteArray] = []
    for slot in layout:
        bucket = slot.bucket - first
        index = bisect_right(starts[bucket], slot.offset, hi=len(buckets[bucket])) - 1 if bucket < len(buckets) else -1
        place = buckets[bucket][index][slot.offset - starts[bucket][index] :][: slot.bytes] if index >= 0 else None
        if place is None or place.size != slot.bytes:
            raise WeightsCorruptError(
                f"tensor {slot.name} is not in the {len(buckets)} buckets that arrived: {slot} lies outside their runs"
            )
        found.append(place)
    return found


def bucket_starts(layout: Sequence[TensorSlot]) -> list[int]:
    """Where each bucket begins when all of them lie end to end, aligned; one more entry says where the last one ends. Bytes."""
    sizes: dict[int, int] = {}
    for slot in layout:
        sizes[slot.bucket] = max(sizes.get(slot.bucket, 0), slot.offset + slot.bytes)
    starts = [0]
    for index in range(len(sizes)):
        starts.append(starts[-1] + _aligned(sizes.get(index, 0)))
    return starts


def unpack(layout: Sequence[TensorSlot], data: ByteArray | torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields ``(name, tensor)`` in layout order out of buckets that lie end to end; the tensors are views of ``data`` (no copy), which is
    uint8, as an array or as a tensor on any device.

    Raises:
        WeightsCorruptError: when a slot lies outside the data or its size does not follow from dtype and shape.
    """
    import torch

    memory = tensor_view(data) if isinstance(data, np.ndarray) else data
    size = memory.numel()
    starts = bucket_starts(layout)
    for slot in layout:
        dtype: torch.dtype = getattr(torch, slot.dtype)
        expected = int(np.prod(slot.shape, dtype=np.int64)) * dtype.itemsize
        start = starts[slot.bucket] + slot.offset if slot.bucket + 1 < len(starts) else size
        if slot.bytes != expected or start + slot.bytes > size:
            raise WeightsCorruptError(f"{slot} does not fit: {slot.shape} of {slot.dtype} has {expected} bytes; there are {size}")
        yield slot.name, memory[start : start + slot.bytes].view(dtype).view(slot.shape)


def tensor_view(data: ByteArray) -> torch.Tensor:
    """A uint8 tensor on these bytes, without a copy. They may be read-only; then whoever writes to it writes to what is mapped."""
    import torch

    if not data.size:
        return torch.empty(0, dtype=torch.uint8)  # frombuffer refuses to look at nothing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(data.data, dtype=torch.uint8)


def copy_threads() -> int:
    """Threads that copy or digest weights side by side: what this process may run on, at most 4 (memory is the limit then)."""
    return min(4, len(os.sched_getaffinity(0)))


def copy_buckets(layout: Sequence[TensorSlot], buckets: Sequence[Sequence[ByteArray]], target: ByteArray) -> list[bytes]:
    """Copies buckets end to end into ``target`` and returns the digest of each tensor's bytes as they lie there: one pass over memory.

    Raises:
        WeightsCorruptError: when the arrays are not those of the layout.
    """
    starts = bucket_starts(layout)
    if starts[-1] > target.size:
        raise WeightsCorruptError(f"the layout has {starts[-1]} bytes, there is room for {target.size}")
    parts = tensor_bytes(layout, buckets)

    def copy(index: int) -> bytes:
        slot, part = layout[index], parts[index]
        place = target[starts[slot.bucket] + slot.offset :][: slot.bytes]
        digest = xxhash.xxh3_128()
        for start in range(0, slot.bytes, PIECE_BYTES):
            piece = place[start : start + PIECE_BYTES]
            np.copyto(piece, part[start : start + PIECE_BYTES])
            digest.update(piece.data)
        return digest.digest()

    digests = [b""] * len(parts)
    largest_first = sorted(range(len(parts)), key=lambda index: -layout[index].bytes)
    with ThreadPoolExecutor(max_workers=copy_threads(), thread_name_prefix="weights") as pool:
        for index, digest in zip(largest_first, pool.map(copy, largest_first), strict=True):
            digests[index] = digest
    return digests


def tensor_digest(data: ByteArray) -> bytes:
    """XXH3-128 of a tensor's bytes. It finds what was damaged or mixed up, 20 times as fast as SHA-256; it is no protection from someone
    who wants a collision, who would have to be inside the cluster already."""
    return xxhash.xxh3_128_digest(data.data)


def content_digest(layout: Sequence[TensorSlot], digests: Sequence[bytes]) -> str:
    """The digest of a version, in hex: XXH3-128 over the layout and the digest of every tensor."""
    rows = [[slot.name, slot.dtype, slot.shape, slot.bucket, slot.offset, slot.bytes] for slot in layout]
    return xxhash.xxh3_128_hexdigest(json.dumps(rows).encode() + b"".join(digests))


@dataclass(frozen=True, slots=True)
class ProbeDifference:
    """|log-prob − expected| over a probe, nats: its mean, by which an update is judged (one rare token may be far off where numbers are
    coarse), and the largest."""

    mean: float
    largest: float


def probe_difference(probe: Probe, logprobs: Sequence[float]) -> ProbeDifference:
    """How far ``logprobs`` are from the probe's; infinitely far when any of them is not finite (NaN would compare as fine).

    Raises:
        ValueError: when the lengths differ.
    """
    if len(logprobs) != len(probe.logprobs):
        raise ValueError(f"the probe expects {len(probe.logprobs)} log-probs, got {len(logprobs)}")
    difference = np.abs(np.asarray(logprobs, dtype=np.float64) - np.asarray(probe.logprobs, dtype=np.float64))
    if not bool(np.isfinite(difference).all()):
        return ProbeDifference(float("inf"), float("inf"))
    return ProbeDifference(float(difference.mean()), float(difference.max()))


def checkpoint_shapes(model_dir: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights in a model folder, from the headers of its safetensors files (nothing is loaded).

    Raises:
        FileNotFoundError: when the folder has no safetensors files.
        ValueError: one of them is not whole.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(model_dir.glob("*.safetensors")):
        shapes |= tensor_shapes(path)
    if not shapes:
        raise FileNotFoundError(f"{model_dir} holds no *.safetensors files; save the model with save_pretrained")
    return shapes


def require_same_weights(expected: Mapping[str, tuple[int, ...]], layout: Sequence[TensorSlot]) -> None:
    """Raises ValueError unless the layout has exactly the names and shapes of the checkpoint the engine was started on.

    vLLM itself would only log a missing weight and keep the old one. A tied ``lm_head.weight`` may come or not.
    """
    found = {slot.name: slot.shape for slot in layout}
    missing = sorted(expected.keys() - found.keys() - TIED)
    unknown = sorted(found.keys() - expected.keys() - TIED)
    reshaped = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    if missing or unknown or reshaped:
        raise ValueError(
            "the published weights are not those of this model: "
            + "; ".join(
                f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
                for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", reshaped))
                if names
            )
        )


# --- details -------------------------------------------------------------------------------------------------------------------------


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@dataclass(frozen=True, slots=True)
class _Packed:
    slot: TensorSlot
    data: ByteArray
    storage: int | None  # address of the memory that the tensor shares with others, None when the bytes are a copy


def _bytes_of(name: str, tensor: torch.Tensor) -> tuple[ByteArray, int | None]:
    """The tensor's bytes in host memory, and the address of the memory it lies in if that is its own."""
    import torch

    if _dtype_name(tensor) not in DTYPES:
        raise ValueError(f"weight {name!r} has dtype {tensor.dtype}; known dtypes: {', '.join(sorted(DTYPES))}")
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    data: ByteArray = flat.view(torch.uint8).numpy()
    return data, flat.untyped_storage().data_ptr() if flat.data_ptr() == tensor.data_ptr() else None


def _bucket(pending: Sequence[_Packed]) -> Bucket:
    runs: list[list[_Packed]] = []
    for packed in pending:
        if runs and _goes_on(runs[-1][0], packed):
            runs[-1].append(packed)
        else:
            runs.append([packed])
    return Bucket(tuple(packed.slot for packed in pending), tuple(_joined(run) for run in runs))


def _goes_on(first: _Packed, packed: _Packed) -> bool:
    """Whether both lie in one piece of memory, at the distance that they have in the bucket."""
    distance = packed.data.ctypes.data - first.data.ctypes.data
    return (
        packed.data.size > 0
        and first.storage is not None
        and first.storage == packed.storage
        and distance == packed.slot.offset - first.slot.offset
    )


def _joined(run: Sequence[_Packed]) -> ByteArray:
    """The memory from the first tensor of a run to the end of the last, as one array."""
    first, last = run[0], run[-1]
    nbytes = last.slot.offset + last.slot.bytes - first.slot.offset
    return np.lib.stride_tricks.as_strided(first.data, (nbytes,), (1,), writeable=False) if len(run) > 1 else first.data


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
