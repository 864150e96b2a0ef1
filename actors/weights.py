"""How one version of the weights travels: contiguous byte buckets, a layout that says what lies where, a hash and a probe.

The learner packs ``(HF name, tensor)`` pairs into buckets and puts them into the object store; a :class:`WeightManifest` with the
references goes to every generator. A generator maps the buckets, writes them to a :class:`WeightFile` in shared memory that its engine
processes read, and acknowledges with a :class:`PullAck`. Nothing here needs Ray; torch is imported only where tensors are touched.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

ByteArray = npt.NDArray[np.uint8]

ALIGNMENT = 64  # bytes; a cache line, and a multiple of every dtype's size
TIED = frozenset({"lm_head.weight"})
DTYPES = frozenset({"float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64", "int32", "int16", "int8", "uint8", "bool"})


class WeightsCorruptError(ValueError):
    """The bytes that arrived are not the bytes that were published. The engine has not been touched; pulling again is safe."""


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
    """One published version. ``buckets`` are object-store references (or arrays, in tests); small enough to send to everyone."""

    version: int
    layout: tuple[TensorSlot, ...]
    buckets: tuple[Any, ...]  # ray.ObjectRef of ByteArray
    sha256: str  # content_hash(layout, buckets)
    probe: Probe | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of tensor data, padding not counted."""
        return sum(slot.bytes for slot in self.layout)


@dataclass(frozen=True, slots=True)
class PullAck:
    """A generator's word that it serves ``version``.

    ``sha256`` is of the bytes it loaded. ``probe_error`` is max |log-prob − expected| over the probe, None when the manifest has none.
    ``seconds`` are wall times of the parts: fetch, write, pause, load, resume, probe. Only pause + load + resume hold generation up.
    """

    generator: str
    version: int
    sha256: str
    probe_error: float | None
    nbytes: int
    seconds: Mapping[str, float] = field(default_factory=dict)


# --- packing -------------------------------------------------------------------------------------------------------------------------


def pack_buckets(
    named_tensors: Iterable[tuple[str, torch.Tensor]], bucket_bytes: int = 256 << 20
) -> tuple[tuple[TensorSlot, ...], list[ByteArray]]:
    """Copies tensors into as few contiguous buckets as their order allows.

    Args:
        named_tensors: iterated once, in order; a tensor may live on any device and is only needed until the next one is asked for.
        bucket_bytes: upper limit of a bucket; a larger tensor gets a bucket of its own.

    Returns:
        The layout (in the order of the tensors) and the buckets, each a one-dimensional uint8 array. The bytes are a pure function of
        names, dtypes, shapes and values: padding is zero.

    Raises:
        ValueError: for a name that comes twice, a dtype outside :data:`DTYPES`, no tensors at all or a bucket size below 1.
    """
    if bucket_bytes < 1:
        raise ValueError(f"bucket_bytes is {bucket_bytes}; a bucket holds at least 1 byte")
    layout: list[TensorSlot] = []
    buckets: list[ByteArray] = []
    pending: list[tuple[int, ByteArray]] = []
    names: set[str] = set()
    end = 0

    def flush() -> None:
        bucket = np.zeros(end, dtype=np.uint8)
        for offset, data in pending:
            bucket[offset : offset + data.size] = data
        buckets.append(bucket)
        pending.clear()

    for name, tensor in named_tensors:
        if name in names:
            raise ValueError(f"weight {name!r} comes twice; a name must be unique within one version")
        names.add(name)
        data = _bytes_of(name, tensor)
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        if pending and offset + data.size > bucket_bytes:
            flush()
            offset = end = 0
        layout.append(TensorSlot(name, _dtype_name(tensor), tuple(tensor.shape), len(buckets), offset, data.size))
        pending.append((offset, data))
        end = offset + data.size
    if not layout:
        raise ValueError("there are no weights to pack: the iterator of named tensors was empty")
    flush()
    return tuple(layout), buckets


def unpack_buckets(layout: Sequence[TensorSlot], buckets: Sequence[ByteArray]) -> Iterator[tuple[str, torch.Tensor]]:
    """The inverse of :func:`pack_buckets`: yields ``(name, tensor)`` in layout order; the tensors are views of the buckets (no copy).

    Raises:
        WeightsCorruptError: when a slot lies outside its bucket or its size does not follow from dtype and shape.
    """
    import torch

    for slot in layout:
        dtype: torch.dtype = getattr(torch, slot.dtype)
        expected = int(np.prod(slot.shape, dtype=np.int64)) * dtype.itemsize
        if slot.bytes != expected or slot.bucket >= len(buckets) or slot.offset + slot.bytes > buckets[slot.bucket].size:
            raise WeightsCorruptError(f"{slot} does not fit: {slot.shape} of {slot.dtype} has {expected} bytes; {_sizes(buckets)}")
        if slot.bytes == 0:
            yield slot.name, torch.empty(slot.shape, dtype=dtype)
            continue
        data = buckets[slot.bucket][slot.offset : slot.offset + slot.bytes]
        yield slot.name, torch.frombuffer(data.data, dtype=dtype).view(slot.shape)


def content_hash(layout: Sequence[TensorSlot], buckets: Sequence[ByteArray]) -> str:
    """SHA-256 over the layout and the SHA-256 of every bucket, in hex. Buckets are hashed in parallel (hashlib drops the GIL)."""
    if len(buckets) == 1:
        digests = [hashlib.sha256(buckets[0].data).digest()]
    else:
        with ThreadPoolExecutor(max_workers=min(4, len(buckets) or 1), thread_name_prefix="hash") as pool:
            digests = list(pool.map(lambda bucket: hashlib.sha256(bucket.data).digest(), buckets))
    whole = hashlib.sha256(json.dumps([asdict(slot) for slot in layout], sort_keys=True).encode())
    for digest in digests:
        whole.update(digest)
    return whole.hexdigest()


def probe_error(probe: Probe, logprobs: Sequence[float]) -> float:
    """max |log-prob − expected| over the probe; infinity when any of them is not finite (NaN would compare as fine).

    Raises:
        ValueError: when the lengths differ.
    """
    if len(logprobs) != len(probe.logprobs):
        raise ValueError(f"the probe expects {len(probe.logprobs)} log-probs, got {len(logprobs)}")
    difference = np.abs(np.asarray(logprobs, dtype=np.float64) - np.asarray(probe.logprobs, dtype=np.float64))
    return float(difference.max()) if bool(np.isfinite(difference).all()) else float("inf")


def checkpoint_shapes(model_dir: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights in a model folder, from the headers of its safetensors files (nothing is loaded).

    Raises:
        FileNotFoundError: when the folder has no safetensors files.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(model_dir.glob("*.safetensors")):
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
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


# --- the file between an actor and its engine processes ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WeightFile:
    """Buckets end to end in one file in shared memory (``/dev/shm`` on a real system), with the layout that reads them.

    The actor writes it before generation is paused and removes it after the load; engine processes map it.
    """

    path: str
    layout: tuple[TensorSlot, ...]
    bucket_bytes: tuple[int, ...]

    @classmethod
    def write(cls, path: Path, layout: Sequence[TensorSlot], buckets: Sequence[ByteArray]) -> WeightFile:
        """Writes the buckets to ``path`` (mode 0600), which must not exist: a leftover is never taken for fresh weights.

        Raises:
            FileExistsError: when the path is taken.
            OSError: when shared memory is full (the half-written file is removed).
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for bucket in buckets:
                    _write_all(file.fileno(), bucket)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return cls(str(path), tuple(layout), tuple(bucket.size for bucket in buckets))

    def map(self) -> list[ByteArray]:
        """The buckets as private (copy-on-write) maps of the file; they stay valid after the file is unlinked.

        Raises:
            WeightsCorruptError: when the file has another size than was written.
        """
        total = sum(self.bucket_bytes)
        found = os.stat(self.path).st_size
        if found != total:
            raise WeightsCorruptError(f"weight file {self.path} has {found} bytes, {total} were written: it was changed or cut off")
        with open(self.path, "rb") as file:
            # ACCESS_COPY: torch wants a writable buffer; a write would stay in this process.
            data = np.frombuffer(mmap.mmap(file.fileno(), total, access=mmap.ACCESS_COPY), dtype=np.uint8)
        ends = np.cumsum(self.bucket_bytes)
        return [data[int(end) - size : int(end)] for size, end in zip(self.bucket_bytes, ends, strict=True)]

    def unlink(self) -> None:
        Path(self.path).unlink(missing_ok=True)

    def to_message(self) -> dict[str, Any]:
        """Plain lists and dicts: what survives vLLM's RPC unchanged."""
        return {
            "path": self.path,
            "layout": [[s.name, s.dtype, list(s.shape), s.bucket, s.offset, s.bytes] for s in self.layout],
            "bucket_bytes": list(self.bucket_bytes),
        }

    @classmethod
    def from_message(cls, path: str, layout: Sequence[Sequence[Any]], bucket_bytes: Sequence[int]) -> WeightFile:
        slots = tuple(TensorSlot(name, dtype, tuple(shape), bucket, offset, size) for name, dtype, shape, bucket, offset, size in layout)
        return cls(path, slots, tuple(bucket_bytes))


# --- details -------------------------------------------------------------------------------------------------------------------------


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bytes_of(name: str, tensor: torch.Tensor) -> ByteArray:
    import torch

    if _dtype_name(tensor) not in DTYPES:
        raise ValueError(f"weight {name!r} has dtype {tensor.dtype}; known dtypes: {', '.join(sorted(DTYPES))}")
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    data: ByteArray = flat.view(torch.uint8).numpy()
    # A tensor on the CPU shares its memory with the model, and its owner may free or change it before the bucket is flushed.
    return data.copy() if flat.data_ptr() == tensor.data_ptr() else data


def _write_all(descriptor: int, data: ByteArray) -> None:
    view = data.data
    while view:
        view = view[os.write(descriptor, view) :]


def _sizes(buckets: Sequence[ByteArray]) -> str:
    return f"there are {len(buckets)} buckets of {[bucket.size for bucket in buckets]} bytes"
